//! How `free` knows the size: the word before the pointer, with its three flags.

use super::prelude::*;

pub const EXPERIMENT: Experiment = Experiment {
    name: "header",
    title: "the size stands before the pointer",
    article: Article::WhyMallocPreAllocates,
    claim: "The pointer is 16 bytes past the start of its chunk; the header there holds the chunk's size \
            and, in its low bits, P (previous in use), M (mapped) and A (not the main arena). That is how \
            free knows how much to release.",
    env: &[],
    on_glibc: OnGlibc::Holds,
    child,
    judge,
};

const LARGE: usize = 256 * KIB;

fn child(probe: &mut Probe) {
    let (first, small, large) = (Block::new(100), Block::new(100), Block::new(LARGE));
    probe.number("small", small.header());
    probe.number("large", large.header());
    let mut in_thread = 0;
    if !on_a_thread(&mut in_thread, |word| *word = Block::new(100).header()) {
        probe.skip("a thread cannot be started");
    }
    probe.number("thread", in_thread);
    probe.number("first", first.header());
}

/// The upper 16 bits are free for an allocator's own use; bit 3 is unused.
const SIZE_BITS: usize = 0x0000_ffff_ffff_fff0;
const P: usize = 1;
const M: usize = 2;
const A: usize = 4;

fn judge(run: &Run) -> Result<Findings, Missing> {
    let mut found = Findings::new();
    let mut row =
        |what: &str, key: &str, size: usize, flags: usize, mask: usize| -> Result<(), Missing> {
            let word = run.number(key)?;
            let names: String = [(P, 'P'), (M, 'M'), (A, 'A')]
                .iter()
                .filter(|(bit, _)| word & bit != 0)
                .map(|(_, name)| *name)
                .collect();
            let held = word & SIZE_BITS == size && word & mask == flags;
            found.check(what, format!("{word:#x}: {} {names}", word & SIZE_BITS), held);
            Ok(())
        };
    row("malloc(100)", "small", chunk_bytes(100), P, P | M | A)?;
    row("malloc(256 KiB)", "large", run.mapping_bytes(LARGE), M, M | A)?;
    row("malloc(100) in a thread", "thread", chunk_bytes(100), A, M | A)?;
    Ok(found)
}
