//! Something stands above the break: the heap goes on elsewhere.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "brk-blocked",
    title: "the break runs into a mapping",
    article: Article::SystemCallBoundary,
    claim: "The break cannot grow into another mapping. When it is stopped, the allocator falls back to \
            mmap, for small requests too, and the process has a second stretch of heap.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const REQUEST: usize = 1000;
const BYTES: usize = 4 * MIB;

fn child(probe: &mut Probe) {
    let first = Block::new(REQUEST);
    probe.number("first", first.address());
    let top = probe.kernel_break();
    if !map_at(top.next_multiple_of(page_bytes()), page_bytes()) {
        probe.skip("nothing can be mapped above the break");
    }
    probe.step("4 MiB of small blocks");
    let mut blocks = Chain::new();
    while blocks.bytes < BYTES && blocks.push(REQUEST) {}
    probe.end_steps();
    let mut last = Block::new(REQUEST);
    last.fill(1);
    probe.number("served", blocks.bytes);
    probe.number("last", last.address());
    probe.number("moved", probe.kernel_break() - top);
    probe.maps("served");
    blocks.free();
    last.free();
    first.free();
    let again = Block::new(REQUEST);
    probe.number("again", again.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let maps = run.maps("served")?;
    let (first, last) = (run.number("first")?, run.number("last")?);
    found.show("first small block", format!("{first:#x}"));
    let served = run.number("served")?;
    found.check("served after the block", size(served), served >= BYTES);
    found.check("break moved", size(run.number("moved")?), run.number("moved")? == 0);
    let elsewhere = maps.at(last).is_some_and(Region::is_anonymous);
    found.check("last small block", format!("{last:#x} {}", label(maps, last)), elsewhere);
    found.check(
        "after freeing all",
        format!("{:#x}", run.number("again")?),
        run.number("again")? != 0,
    );
    found.lines_of(run.calls());
    found.lines.extend(maps.at(last).map(|region| region.line.clone()));
    Ok(found)
}
