//! A larger free chunk serves a smaller request; the rest stays free.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "split",
    title: "a smaller request splits a larger hole",
    article: Article::TheAllocator,
    claim: "Without a chunk of the right size, a larger free one is split: the request gets its front, \
            the remainder goes back to the bins and serves the next.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const HOLE: usize = 127 * KIB - 64;
const FRONT: usize = 72 * KIB;
const REST: usize = 40 * KIB;

fn child(probe: &mut Probe) {
    let (hole, guard) = (Block::new(HOLE), Block::new(HOLE));
    probe.number("hole", hole.address());
    hole.free();
    probe.step("two smaller");
    let front = Block::new(FRONT);
    probe.number("front", front.address());
    let rest = Block::new(REST);
    probe.number("rest", rest.address());
    probe.number("guard", guard.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (hole, front, rest) = (run.number("hole")?, run.number("front")?, run.number("rest")?);
    found.show("the hole", format!("{hole:#x}"));
    found.check("malloc(72 KiB)", format!("{front:#x}"), front == hole);
    let inside = (front + FRONT..hole + HOLE).contains(&rest);
    found.check("malloc(40 KiB)", format!("{rest:#x}"), inside);
    found.check_calls("calls", run.calls(), |calls| calls.is_empty());
    Ok(found)
}
