//! The threshold by mallopt, up and down.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "mallopt-threshold",
    title: "mallopt(M_MMAP_THRESHOLD)",
    article: Article::SystemCallBoundary,
    claim: "A program moves the border itself: at 512 KiB a request of 256 KiB comes from the heap, at \
            64 KiB one of 100 KiB gets a mapping.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    // The 132 KiB come first and are then nearly used up: what fits into the heap needs no mapping.
    Block::new(1).free();
    let first = Block::new(60 * KIB);
    probe.number("down", usize::from(set_option(libc::M_MMAP_THRESHOLD, 64 << 10)));
    let lowered = Block::new(100 * KIB);
    probe.number("lowered", lowered.address());
    probe.number("up", usize::from(set_option(libc::M_MMAP_THRESHOLD, 512 << 10)));
    let raised = Block::new(256 * KIB);
    probe.number("raised", raised.address());
    probe.number("first", first.address());
    probe.maps("allocated");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let maps = run.maps("allocated")?;
    let (raised, lowered) = (run.number("raised")?, run.number("lowered")?);
    let answers = (run.number("up")?, run.number("down")?);
    found.check("mallopt answers", format!("{}, {}", answers.0, answers.1), answers == (1, 1));
    found.check(
        "256 KiB at 512 KiB",
        format!("{raised:#x} {}", label(maps, raised)),
        maps.in_heap(raised),
    );
    let apart = maps.at(lowered).is_some_and(Region::is_anonymous);
    found.check("100 KiB at 64 KiB", format!("{lowered:#x} {}", label(maps, lowered)), apart);
    Ok(found)
}
