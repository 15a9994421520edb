//! The threshold by environment.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "threshold-env",
    title: "MALLOC_MMAP_THRESHOLD_=65536",
    article: Article::BrkVsMmap,
    claim: "The environment sets the mmap threshold of an unchanged program: with 64 KiB, a request of \
            100 KiB becomes a mapping, and one of 60 KiB does not.",
    env: &[("MALLOC_MMAP_THRESHOLD_", "65536")],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const LARGE: usize = 100 * KIB;

fn child(probe: &mut Probe) {
    // The 132 KiB come first and are then nearly used up: what fits into the heap needs no mapping.
    Block::new(1).free();
    let small = Block::new(60 * KIB);
    probe.number("small", small.address());
    probe.step("malloc(100 KiB)");
    let large = Block::new(LARGE);
    probe.number("large", large.address());
    probe.maps("allocated");
    probe.step("free");
    large.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (small, large) = (run.number("small")?, run.number("large")?);
    let maps = run.maps("allocated")?;
    found.check(
        "malloc(60 KiB)",
        format!("{small:#x} {}", label(maps, small)),
        maps.in_heap(small),
    );
    let apart = maps.at(large).is_some_and(Region::is_anonymous);
    found.check("malloc(100 KiB)", format!("{large:#x} {}", label(maps, large)), apart);
    let want = run.mapping_bytes(LARGE);
    found.check_calls("its calls", run.calls_in("malloc(100 KiB)"), |calls| maps_once(calls, want));
    found.check_calls("calls of free", run.calls_in("free"), |calls| unmaps_once(calls, want));
    found.lines_of(run.calls());
    Ok(found)
}
