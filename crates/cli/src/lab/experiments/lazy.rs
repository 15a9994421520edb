//! A gigabyte asked for, ten megabytes touched.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "lazy",
    title: "1 GiB asked for, 10 MiB touched",
    article: Article::SystemCallBoundary,
    claim: "malloc promises addresses, not memory: a page gets its frame when it is first written. A \
            program that asks for 1 GiB and writes to 10 MiB of it is 10 MiB larger.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const ASKED: usize = 1024 * MIB;
const TOUCHED: usize = 10 * MIB;

fn child(probe: &mut Probe) {
    Block::new(1).free();
    probe.memory("before");
    probe.step("malloc(1 GiB)");
    let mut block = Block::new(ASKED);
    if block.refused() {
        probe.skip("the kernel does not promise 1 GiB here");
    }
    probe.number("block", block.address());
    probe.maps("asked");
    probe.memory("asked");
    block.touch(TOUCHED);
    probe.memory("touched");
    block.free();
    probe.memory("freed");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let before = rss("before")?;
    let block = run.number("block")?;
    let region = run.maps("asked")?.at(block);
    let mapped = region.map_or(0, Region::bytes);
    found.check("mapped", size(mapped), mapped >= ASKED);
    found.check("RSS after malloc", change(before, rss("asked")?), rss("asked")? <= before + SLACK);
    // A huge page may come where one byte was touched.
    let grown = rss("touched")?.saturating_sub(before);
    found.check(
        "RSS after 10 MiB",
        change(before, rss("touched")?),
        near(grown, TOUCHED, 2 * MIB + SLACK),
    );
    found.check("RSS after free", change(before, rss("freed")?), rss("freed")? <= before + SLACK);
    found.lines_of(run.calls());
    found.lines.extend(region.map(|region| region.line.clone()));
    Ok(found)
}
