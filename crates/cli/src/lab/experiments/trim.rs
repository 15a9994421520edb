//! malloc_trim: on demand, everything that is free goes back.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "trim",
    title: "malloc_trim(0) gives back what is free",
    article: Article::BrkVsMmap,
    claim: "malloc_trim lowers the break over the free top of the heap. (The article stops there; today \
            also the whole free pages below a living block go back, as RSS shows.)",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BLOCKS: usize = 320;
/// Below the mmap threshold, above every thread cache.
const BYTES: usize = 100 * KIB;

fn child(probe: &mut Probe) {
    // No trimming by itself, so that there is something left to ask for.
    if !set_option(libc::M_TRIM_THRESHOLD, 1 << 30) {
        probe.skip("mallopt does not take M_TRIM_THRESHOLD");
    }
    Block::new(1).free();
    probe.memory("before");
    let filled = || {
        core::array::from_fn::<_, BLOCKS, _>(|_| {
            let mut block = Block::new(BYTES);
            block.fill(1);
            block
        })
    };
    for block in filled() {
        block.free();
    }
    probe.memory("free-top");
    probe.number("break.0", probe.kernel_break());
    probe.step("malloc_trim, free top");
    probe.number("answer", trim());
    probe.end_steps();
    probe.number("break.1", probe.kernel_break());
    probe.memory("trimmed-top");
    let blocks = filled();
    let survivor = Block::new(BYTES);
    for block in blocks {
        block.free();
    }
    probe.memory("free-middle");
    probe.number("break.2", probe.kernel_break());
    probe.step("malloc_trim, free middle");
    probe.number("answer-middle", trim());
    probe.end_steps();
    probe.number("break.3", probe.kernel_break());
    probe.memory("trimmed-middle");
    survivor.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let before = rss("before")?;
    let breaks = run.items("break");
    let &[top_before, top_after, middle_before, middle_after] = breaks.as_slice() else {
        return Err(Missing("break".to_owned()));
    };
    found.show("RSS, 31 MiB freed", change(before, rss("free-top")?));
    found.check("malloc_trim answers", run.number("answer")?, run.number("answer")? == 1);
    found.check(
        "break",
        change(top_before, top_after),
        top_before.saturating_sub(top_after) > 30 * MIB,
    );
    found.check(
        "RSS then",
        change(before, rss("trimmed-top")?),
        rss("trimmed-top")? <= before + SLACK,
    );
    found.show("RSS, freed below a block", change(before, rss("free-middle")?));
    found.show("malloc_trim answers", run.number("answer-middle")?);
    found.check(
        "break",
        change(middle_before, middle_after),
        middle_before.abs_diff(middle_after) < MIB,
    );
    found.check(
        "RSS then",
        change(before, rss("trimmed-middle")?),
        rss("trimmed-middle")? <= before + SLACK,
    );
    found.lines_of(run.calls());
    Ok(found)
}
