//! A hole in the heap: it cannot go back by the break, but it is used again.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "hole",
    title: "the hole between A and C",
    article: Article::BrkVsMmap,
    claim: "Of four blocks in a row the second is freed: the break cannot fall while C and D stand above \
            the hole, and not below A even when they are gone too. The next request of that size \
            fills the hole.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

/// Below the mmap threshold, above every thread cache.
const BYTES: usize = 100 * KIB;

fn child(probe: &mut Probe) {
    let [a, b, c, d] = core::array::from_fn(|_| Block::new(BYTES));
    probe.number("a", a.address());
    probe.number("b", b.address());
    probe.number("c", c.address());
    probe.number("d", d.address());
    probe.number("break.0", probe.kernel_break());
    b.free();
    probe.number("break.1", probe.kernel_break());
    let again = Block::new(BYTES);
    probe.number("again", again.address());
    again.free();
    c.free();
    d.free();
    probe.number("break.2", probe.kernel_break());
    a.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (a, b, c, d) = (run.number("a")?, run.number("b")?, run.number("c")?, run.number("d")?);
    let breaks = run.items("break");
    let &[full, holed, emptied] = breaks.as_slice() else {
        return Err(Missing("break".to_owned()));
    };
    let in_a_row = [(a, b), (b, c), (c, d)]
        .iter()
        .all(|(low, high)| high.wrapping_sub(*low) == chunk_bytes(BYTES));
    found.check("A B C D", format!("{a:#x}, each +{:#x}", b.wrapping_sub(a)), in_a_row);
    found.check("break when B is freed", change(full, holed), full == holed);
    let again = run.number("again")?;
    found.check("next of that size", format!("{again:#x}"), again == b);
    found.check(
        "break when only A is left",
        change(full, emptied),
        emptied >= a + BYTES && emptied <= full,
    );
    Ok(found)
}
