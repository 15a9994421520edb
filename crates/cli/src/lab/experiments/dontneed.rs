//! madvise gives the pages back and keeps the addresses.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "dontneed",
    title: "madvise returns pages, not addresses",
    article: Article::BrkVsMmap,
    claim: "A program can hand the pages of a live block back to the kernel: RSS falls, the mapping stays, \
            and the block reads as zeros from then on.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const BYTES: usize = 8 * MIB;

fn child(probe: &mut Probe) {
    let mut block = Block::new(BYTES);
    block.fill(7);
    probe.number("block", block.address());
    probe.memory("written");
    probe.number("given", block.give_pages_back());
    probe.memory("given");
    probe.maps("given");
    probe.number("sum", block.read_pages());
    block.fill(7);
    block.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let (written, given) = (rss("written")?, rss("given")?);
    let bytes = run.number("given")?;
    found.check("whole pages inside", size(bytes), bytes + 2 * run.page_bytes >= BYTES);
    found.check("RSS", change(written, given), near(written.saturating_sub(given), bytes, SLACK));
    let block = run.number("block")?;
    found.check(
        "the mapping",
        label(run.maps("given")?, block),
        run.maps("given")?.at(block).is_some(),
    );
    // The first page holds the start of the block and is not given back.
    let sum = run.number("sum")?;
    found.check("the block reads as", if sum <= 14 { "zeros" } else { "not zeros" }, sum <= 14);
    Ok(found)
}
