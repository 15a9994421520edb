//! The program moves the break itself, between two mallocs.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "foreign-sbrk",
    title: "the program calls sbrk itself",
    article: Article::BrkVsMmap,
    claim: "The break belongs to the process, not to malloc. Memory that the program takes by sbrk stays \
            its own: the heap closes below it and goes on above.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const FOREIGN: usize = 8 * KIB;
const REQUEST: usize = 1000;
const BYTES: usize = 2 * MIB;

fn child(probe: &mut Probe) {
    let first = Block::new(REQUEST);
    let Some(mut foreign) = Foreign::take(FOREIGN) else {
        probe.skip("sbrk does not answer");
    };
    foreign.fill(0xaa);
    probe.number("foreign", foreign.address());
    let mut blocks = Chain::new();
    while blocks.bytes < BYTES && blocks.push(REQUEST) {}
    let mut last = Block::new(100 * KIB);
    last.fill(1);
    probe.number("first", first.address());
    probe.number("served", blocks.bytes);
    probe.number("last", last.address());
    blocks.free();
    first.free();
    last.free();
    probe.number("whole", usize::from(foreign.is_filled_with(0xaa)));
    let again = Block::new(REQUEST);
    probe.number("again", again.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (first, foreign, last) =
        (run.number("first")?, run.number("foreign")?, run.number("last")?);
    found.show("first block", format!("{first:#x}"));
    found.check("the program's own", format!("{foreign:#x}"), foreign > first);
    found.check("served after it", size(run.number("served")?), run.number("served")? >= BYTES);
    found.check("last block", format!("{last:#x}"), last >= foreign + FOREIGN);
    let whole = run.number("whole")? == 1;
    found.check("the program's bytes", if whole { "untouched" } else { "overwritten" }, whole);
    found.check(
        "after freeing all",
        format!("{:#x}", run.number("again")?),
        run.number("again")? != 0,
    );
    Ok(found)
}
