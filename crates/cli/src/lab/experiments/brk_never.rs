//! The break cannot move at all: even the first small request comes from mmap.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "brk-never",
    title: "no break from the start",
    article: Article::SystemCallBoundary,
    claim: "If the break cannot move at all, even the very first small request is served from a mapping, \
            and there is no [heap].",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    let top = probe.kernel_break();
    if !map_at(top.next_multiple_of(page_bytes()), page_bytes()) {
        probe.skip("nothing can be mapped above the break");
    }
    probe.step("malloc(32)");
    let mut block = Block::new(32);
    block.fill(1);
    probe.end_steps();
    probe.number("block", block.address());
    probe.number("moved", probe.kernel_break() - top);
    probe.maps("allocated");
    block.free();
    let again = Block::new(32);
    probe.number("again", again.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let maps = run.maps("allocated")?;
    let block = run.number("block")?;
    let apart = maps.at(block).is_some_and(Region::is_anonymous);
    found.check("malloc(32)", format!("{block:#x} {}", label(maps, block)), apart);
    found.check("break moved", size(run.number("moved")?), run.number("moved")? == 0);
    found.check(
        "free, malloc(32)",
        format!("{:#x}", run.number("again")?),
        run.number("again")? == block,
    );
    found.lines_of(run.calls());
    found.lines.extend(maps.at(block).map(|region| region.line.clone()));
    Ok(found)
}
