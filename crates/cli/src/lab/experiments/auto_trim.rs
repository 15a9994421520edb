//! The top of the heap goes back by itself once it is large enough.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "auto-trim",
    title: "the break falls by itself",
    article: Article::BrkVsMmap,
    claim: "When the free memory at the top of the heap exceeds the trim threshold (128 KiB), free lowers \
            the break without being asked.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BLOCKS: usize = 40;
/// Below the mmap threshold, above every thread cache.
const BYTES: usize = 100 * KIB;

fn child(probe: &mut Probe) {
    Block::new(1).free();
    let low = probe.kernel_break();
    let blocks: [Block; BLOCKS] = core::array::from_fn(|_| {
        let mut block = Block::new(BYTES);
        block.fill(1);
        block
    });
    let peak = probe.kernel_break();
    probe.step("free");
    for block in blocks.into_iter().rev() {
        block.free();
    }
    probe.end_steps();
    probe.number("grown", peak.saturating_sub(low));
    probe.number("left", probe.kernel_break().saturating_sub(low));
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (grown, left) = (run.number("grown")?, run.number("left")?);
    found.check("break after 4 MiB", format!("+{}", size(grown)), grown >= 3 * MIB);
    // Less than the threshold, the pad and one block may remain.
    found.check(
        "after freeing all",
        format!("+{}", size(left)),
        left <= 128 * KIB + 128 * KIB + BYTES,
    );
    found.check_calls("calls of free", run.calls(), |calls| moves(calls) >= 1);
    found.lines_of(run.calls());
    Ok(found)
}
