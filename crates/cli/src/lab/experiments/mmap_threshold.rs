//! 128 KiB is large: a mapping of its own, which vanishes at `free`.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "mmap-threshold",
    title: "malloc(128 KiB) gets a mapping of its own",
    article: Article::WhyMallocPreAllocates,
    claim: "Below 128 KiB a request is served from the heap, from 128 KiB on by mmap: that memory does \
            not carry the [heap] label and is gone from the maps as soon as it is freed.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    // The 132 KiB come first and are then nearly used up: what fits into the heap needs no mapping.
    Block::new(1).free();
    let below = Block::new(BELOW);
    probe.number("below", below.address());
    probe.step("malloc");
    let block = Block::new(LARGE);
    probe.number("large", block.address());
    probe.maps("allocated");
    probe.step("free");
    block.free();
    probe.maps("freed");
}

const BELOW: usize = 120 * KIB;
const LARGE: usize = 128 * KIB;

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (below, large) = (run.number("below")?, run.number("large")?);
    let (allocated, freed) = (run.maps("allocated")?, run.maps("freed")?);
    let want = run.mapping_bytes(LARGE);
    found.check(
        "malloc(120 KiB)",
        format!("{below:#x} {}", label(allocated, below)),
        allocated.in_heap(below),
    );
    let anonymous = allocated.at(large).is_some_and(Region::is_anonymous);
    found.check("malloc(128 KiB)", format!("{large:#x} {}", label(allocated, large)), anonymous);
    found.check_calls("calls of malloc", run.calls_in("malloc"), |calls| maps_once(calls, want));
    found.check("after free", label(freed, large), freed.at(large).is_none());
    found.check_calls("calls of free", run.calls_in("free"), |calls| unmaps_once(calls, want));
    found.lines_of(run.calls());
    found.lines.extend(allocated.at(large).map(|region| region.line.clone()));
    Ok(found)
}
