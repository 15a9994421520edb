//! calloc: recycled memory is cleared, fresh memory is not even touched.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "calloc-zero",
    title: "calloc clears what needs it",
    article: Article::SystemCallBoundary,
    claim: "Pages from the kernel are zero already and come when touched, so a large calloc costs no \
            memory; a block that was used before is cleared.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const SIZES: [usize; 6] = [24, 200, 1000, 10_000, 100_000, 1 << 20];
const LARGE: usize = 256 * MIB;

fn child(probe: &mut Probe) {
    let mut clean = 0;
    for bytes in SIZES {
        // Twice: the second time the megabyte comes from the heap.
        for _ in 0..2 {
            let mut dirty = Block::new(bytes);
            dirty.fill(0xff);
            dirty.free();
            let mut zeroed = Block::zeroed(bytes);
            clean += usize::from(zeroed.is_filled_with(0));
            zeroed.fill(0xff);
            zeroed.free();
        }
    }
    probe.number("clean", clean);
    probe.memory("before");
    let large = Block::zeroed(LARGE);
    if large.refused() {
        probe.skip("the kernel does not promise 256 MiB here");
    }
    probe.memory("large");
    probe.number("overflow", calloc_overflow());
    large.free();
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let clean = run.number("clean")?;
    let all = 2 * SIZES.len();
    found.check("used before, zero now", format!("{clean} of {all}"), clean == all);
    let rss = |label| run.memory(label).map(|memory| memory.rss_bytes);
    let (before, large) = (rss("before")?, rss("large")?);
    found.check("RSS of a fresh 256 MiB", change(before, large), large <= before + SLACK);
    let overflow = run.number("overflow")?;
    found.check(
        "more than there is",
        if overflow == 1 { "NULL, ENOMEM" } else { "a pointer" },
        overflow == 1,
    );
    Ok(found)
}
