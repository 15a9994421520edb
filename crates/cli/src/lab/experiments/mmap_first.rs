//! The article's program itself: the very first request is of 128 KiB.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "mmap-first",
    title: "128 KiB as the very first request",
    article: Article::WhyMallocPreAllocates,
    claim: "A program that asks for 128 KiB and nothing else has no [heap] at all, only the mapping, which \
            free removes. (glibc since 2.26 buys 132 KiB of heap for its thread cache first, and serves the \
            128 KiB from what is left of it.)",
    env: &[],
    on_glibc: OnGlibc::Fails,
    child,
    judge,
};

const LARGE: usize = 128 * KIB;

fn child(probe: &mut Probe) {
    probe.step("malloc");
    let block = Block::new(LARGE);
    probe.number("large", block.address());
    probe.maps("allocated");
    probe.step("free");
    block.free();
    probe.maps("freed");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let large = run.number("large")?;
    let (allocated, freed) = (run.maps("allocated")?, run.maps("freed")?);
    let anonymous = allocated.at(large).is_some_and(Region::is_anonymous);
    found.check("malloc(128 KiB)", format!("{large:#x} {}", label(allocated, large)), anonymous);
    found.show("[heap]", size(allocated.heap_bytes()));
    found.check("after free", label(freed, large), freed.at(large).is_none());
    found.check_calls("calls of free", run.calls_in("free"), |calls| {
        unmaps_once(calls, run.mapping_bytes(LARGE))
    });
    found.lines_of(run.calls());
    found.lines.extend(allocated.at(large).map(|region| region.line.clone()));
    Ok(found)
}
