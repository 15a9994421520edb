//! The break itself, without malloc: a page up, a page down.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "break",
    title: "the break goes up by 4 KiB and down again",
    article: Article::SystemCallBoundary,
    claim: "A process starts without a heap. Raising the program break by one page makes a [heap] of one \
            page appear; lowering it again makes it disappear.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

fn child(probe: &mut Probe) {
    let page = page_bytes();
    probe.number("break.0", probe.kernel_break());
    probe.step("sbrk(+1 page)");
    move_break(page as isize);
    probe.number("break.1", probe.kernel_break());
    probe.maps("raised");
    probe.step("sbrk(-1 page)");
    move_break(-(page as isize));
    probe.number("break.2", probe.kernel_break());
    probe.maps("lowered");
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let breaks = run.items("break");
    let &[at_first, raised, lowered] = breaks.as_slice() else {
        return Err(Missing("break".to_owned()));
    };
    let heap = |label| run.maps(label).map(Maps::heap_bytes);
    found.check("[heap] at first", size(heap("start")?), heap("start")? == 0);
    found.show("break at first", format!("{at_first:#x}"));
    found.check(
        "break after +1 page",
        change(at_first, raised),
        raised == at_first + run.page_bytes,
    );
    found.check("[heap] then", size(heap("raised")?), heap("raised")? == run.page_bytes);
    found.check("break after −1 page", change(raised, lowered), lowered == at_first);
    found.check("[heap] then", size(heap("lowered")?), heap("lowered")? == 0);
    found.lines_of(run.calls());
    found.lines.extend(run.maps("raised")?.named("[heap]").map(|region| region.line.clone()));
    Ok(found)
}
