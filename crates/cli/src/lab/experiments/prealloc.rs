//! `malloc(1)` moves the break once, by 132 KiB, and `free` does not move it back.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "prealloc",
    title: "malloc(1) fetches 132 KiB at once",
    article: Article::WhyMallocPreAllocates,
    claim: "One byte asked for, and a [heap] of 132 KiB appears: the allocator buys from the kernel in \
            bulk. Freeing the byte does not make the heap go away.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    probe.step("malloc");
    let block = Block::new(1);
    probe.number("a", block.address());
    probe.maps("allocated");
    probe.step("free");
    block.free();
    probe.maps("freed");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let want = run.first_growth_bytes();
    let (before, allocated, freed) =
        (run.maps("start")?, run.maps("allocated")?, run.maps("freed")?);
    found.check("[heap] before", size(before.heap_bytes()), before.heap_bytes() == 0);
    let heap = allocated.heap_bytes();
    found.check("[heap] after malloc(1)", format!("{} ({heap:#x})", size(heap)), heap == want);
    found.check_calls("calls of malloc", run.calls_in("malloc"), |calls| {
        moves(calls) == 1 && calls.iter().all(|call| call.name == "brk")
    });
    let a = run.number("a")?;
    found.check("the byte", format!("{a:#x}"), allocated.in_heap(a));
    found.check("[heap] after free", size(freed.heap_bytes()), freed.heap_bytes() == want);
    found.check_calls("calls of free", run.calls_in("free"), |calls| calls.is_empty());
    found.lines_of(run.calls());
    found.lines.extend(allocated.named("[heap]").map(|region| region.line.clone()));
    Ok(found)
}
