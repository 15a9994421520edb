//! Huge pages where memory is known to be filled.
//!
//! ```text
//! top: │ in use … │ touched │ 2 MiB at once, ahead │ addresses only …          │
//!                           ▲ top_touched          ▲ top_resident   whole 2 MiB ▲ end
//! ```
//! A page fault costs 1–2 µs, a huge page with its 512 about 180, and spares as
//! many entries of the TLB. What it may cost is memory that is never used, so they are taken only
//! - in an arena beyond [`Setting::HugeGrowth`], for a run of small chunks that reaches pages
//!   nobody has touched: the rest of the block is the next that is cut;
//! - in any arena, for a large chunk once large chunks, or one of 2 MiB, have been freed, or have grown, whose pages
//!   had been written: a few are looked at. One that had not, and the proof starts anew.

use crate::arena::Held;
use crate::chunk::at;
use crate::os::{Os, Span};
use crate::root::Allocator;
use crate::tunables::Setting;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use heapwise_layout::size::MEDIUM_MAX_CHUNK;

/// Bytes of a huge page.
pub(crate) const HUGE_BYTES: usize = 2 << 20;
/// Smaller chunks say nothing about large ones.
const PROOF_BYTES: usize = 512 << 10;
/// So many in a row prove it, or one that a huge page fits into.
const PROOF: u32 = 2;
/// With so many in a row, only one in as many is looked at, and one page of it.
const SURE: u32 = 8;
/// Pages of a chunk that are looked at until then.
const LOOKS: usize = 4;

/// Large chunks freed or grown in a row that were filled.
pub struct Density(AtomicU32);

impl Density {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn proven(&self) -> bool {
        self.0.load(Relaxed) >= PROOF
    }
}

impl<O: Os> Allocator<O> {
    /// A chunk of `size` bytes at `pointer` is about to be freed, or to grow: had its holder
    /// filled it?
    pub(crate) fn note_density(&self, pointer: usize, size: usize) {
        if size < PROOF_BYTES || self.settings.get(Setting::HugeGrowth) == usize::MAX {
            return;
        }
        let seen = self.density.0.load(Relaxed);
        let part = size / (2 * LOOKS);
        let filled = |look: usize| self.written(self.page_down(pointer + (2 * look + 1) * part));
        let filled = if seen < SURE {
            (0..LOOKS).all(filled)
        } else {
            !seen.is_multiple_of(SURE) || filled((seen / SURE) as usize % LOOKS)
        };
        let least = if size >= HUGE_BYTES { PROOF } else { 1 };
        let now = if filled { seen.wrapping_add(1).max(least) } else { 0 };
        self.density.0.store(now, Relaxed);
    }

    /// Whether large chunks have proven to be filled, so that those to come may have huge pages.
    pub(crate) fn large_are_filled(&self) -> bool {
        self.density.proven() && self.settings.dynamic()
    }

    /// Whether somebody has written to a page of a chunk that is being freed or resized. A page of zeros
    /// counts as not: it may be one that we had put there.
    fn written(&self, page: usize) -> bool {
        let words = self.page_bytes() / size_of::<usize>();
        // SAFETY: a whole page inside the chunk, which its holder has left to us for this call.
        self.os.resident(page)
            && (0..words).any(|word| unsafe { at::<usize>(page).add(word).read() } != 0)
    }

    /// Huge pages for a mapping that is fresh or has grown, if large chunks have proven to be filled. Advice alone:
    /// the kernel gives them block by block at the first touch, and what is never touched
    /// costs nothing. (In a heap the mark must go again; a mapping of its own is unmapped
    /// whole, and nothing of it is ever given back before.)
    pub(crate) fn prepare_huge_mapping(&self, mapping: Span) {
        if mapping.bytes() >= 2 * HUGE_BYTES && self.large_are_filled() {
            self.os.advise_huge(mapping);
        }
    }
}

impl<O: Os> Held<'_, O> {
    /// Whether this arena's heaps are large enough to grow in huge pages.
    pub(crate) fn grows_huge(&self) -> bool {
        let least = self.root.settings.get(Setting::HugeGrowth);
        self.arena.system_bytes.load(Relaxed) >= least && self.root.settings.dynamic()
    }

    /// Whether this arena takes huge pages for `bytes` that it cuts. A large chunk fills blocks by
    /// itself, so what large ones have shown counts, in whatever arena, and not what this one has.
    fn takes_huge(&self, bytes: usize) -> bool {
        if bytes > MEDIUM_MAX_CHUNK { self.root.large_are_filled() } else { self.grows_huge() }
    }

    /// A heap that is to end at `end` or behind it, for `bytes` to be cut, ends here.
    pub(crate) fn whole_huge(&self, end: usize, bytes: usize) -> usize {
        let huge = self.grows_huge() || self.takes_huge(bytes);
        if huge { end.next_multiple_of(HUGE_BYTES) } else { end }
    }

    /// Before `bytes` are cut that end at `end`: puts huge pages behind the whole blocks
    /// of `untouched`, which is zero and in nobody's use, up to the one that `end` is in.
    /// Where they end.
    fn prepare(&self, untouched: Span, end: usize, bytes: usize) -> Option<usize> {
        let first = untouched.start.next_multiple_of(HUGE_BYTES);
        if first > end || !self.takes_huge(bytes) {
            return None;
        }
        let last = (end & !(HUGE_BYTES - 1)) + HUGE_BYTES;
        let blocks = Span::new(first, last.min(untouched.end & !(HUGE_BYTES - 1)));
        // SAFETY: in nobody's use by contract.
        if blocks.bytes() == 0 || !unsafe { self.root.populate_huge(blocks) } {
            return None;
        }
        self.arena.huge_pages.fetch_add(blocks.bytes() / HUGE_BYTES, Relaxed);
        self.root.budget.grew();
        Some(blocks.end)
    }

    /// Before the top is cut up to `end`, by `bytes`.
    pub(crate) fn prepare_top(&self, end: usize, bytes: usize) {
        let known = self.arena.top_touched.get().max(self.arena.top_resident.get());
        if let Some(reached) = self.prepare(Span::new(known, self.top_end()), end, bytes) {
            self.arena.top_resident.set(reached);
        }
    }

    /// Before a free chunk is cut up to `end`, by `bytes`: what is left of its range known
    /// to have no memory.
    pub(crate) fn prepare_within(&self, clean: Span, end: usize, bytes: usize) -> Span {
        match self.prepare(clean, end.min(clean.end), bytes) {
            Some(reached) => {
                self.root.budget.refault(reached.saturating_sub(end));
                Span::new(reached, clean.end)
            }
            None => clean,
        }
    }
}
