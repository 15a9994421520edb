//! A threshold set by hand stays where it was put.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "frozen-threshold",
    title: "set by hand, the threshold stays",
    article: Article::BrkVsMmap,
    claim: "Setting the threshold by hand, even to its default, turns the adjustment off: each megabyte is \
            mapped and unmapped anew.",
    env: &[("MALLOC_MMAP_THRESHOLD_", "131072")],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const ROUNDS: usize = 3;

fn child(probe: &mut Probe) {
    // The first small request brings the heap, which is not what is counted.
    Block::new(1).free();
    probe.step("three rounds");
    for _ in 0..ROUNDS {
        Block::new(MIB).free();
    }
    probe.end_steps();
    let last = Block::new(MIB);
    probe.number("last", last.address());
    probe.maps("last");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    found.needs_calls(run);
    let want = run.mapping_bytes(MIB);
    found.check_calls("three rounds", run.calls(), |calls| {
        calls.len() == 2 * ROUNDS
            && calls
                .chunks(2)
                .all(|round| maps_once(&round[..1], want) && unmaps_once(&round[1..], want))
    });
    let (last, maps) = (run.number("last")?, run.maps("last")?);
    let apart = maps.at(last).is_some_and(Region::is_anonymous);
    found.check("the fourth", format!("{last:#x} {}", label(maps, last)), apart);
    found.lines_of(run.calls());
    Ok(found)
}
