//! Free neighbours become one chunk, whichever is freed first.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "coalescing",
    title: "three free neighbours make one chunk",
    article: Article::TheAllocator,
    claim: "free looks at both neighbours by their headers and merges with those that are free. Three \
            adjacent blocks freed one after another hold a single block of their joint size.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

/// Above every thread cache, which would keep the blocks apart.
const BYTES: usize = 80 * KIB;
/// What fits where the three were: their chunks, less the one header word that remains.
const JOINED: usize = 3 * (BYTES + 16) - 8;

fn child(probe: &mut Probe) {
    // The joint size must not become a mapping.
    if !set_option(libc::M_MMAP_THRESHOLD, 1 << 20) {
        probe.skip("mallopt does not take M_MMAP_THRESHOLD");
    }
    let [a, b, c, guard] = core::array::from_fn(|_| Block::new(BYTES));
    probe.number("a", a.address());
    probe.number("b", b.address());
    probe.number("c", c.address());
    a.free();
    c.free();
    b.free();
    let joined = Block::new(JOINED);
    probe.number("joined", joined.address());
    probe.number("guard", guard.address());
}

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let (a, b, c) = (run.number("a")?, run.number("b")?, run.number("c")?);
    let adjacent = b == a + chunk_bytes(BYTES) && c == b + chunk_bytes(BYTES);
    found.check("A B C", format!("{a:#x}, each +{:#x}", b.wrapping_sub(a)), adjacent);
    let joined = run.number("joined")?;
    found.check(&format!("then malloc({JOINED})"), format!("{joined:#x}"), joined == a);
    Ok(found)
}
