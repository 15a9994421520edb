//! free, then malloc of the same size: the same pointer.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "reuse",
    title: "free, then malloc: the same pointer",
    article: Article::TheAllocator,
    claim: "A freed block goes to the front of a list and the next request of its size takes it from \
            there: malloc(32), free, malloc(32) gives the same address again, without a system call.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    let mut first = Block::new(32);
    first.fill(0xa5);
    probe.number("first", first.address());
    probe.step("free, malloc");
    first.free();
    let second = Block::new(32);
    probe.number("second", second.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (first, second) = (run.number("first")?, run.number("second")?);
    found.show("first malloc(32)", format!("{first:#x}"));
    found.check("after free", format!("{second:#x}"), first == second);
    found.check_calls("calls between", run.calls(), |calls| calls.is_empty());
    Ok(found)
}
