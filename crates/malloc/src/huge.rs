//! Huge pages for heaps that small chunks have filled.
//!
//! ```text
//! top: │ in use … │ touched │ 2 MiB at once, ahead │ addresses only …          │
//!                           ▲ top_touched          ▲ top_resident   whole 2 MiB ▲ end
//! ```
//! A page fault costs 1–2 µs, a huge page with its 512 about 110, and spares as
//! many entries of the TLB. What it may cost is memory that is never used, so
//! only a heap that has grown beyond [`Setting::HugeGrowth`] takes them, where a
//! run of chunks reaches pages that nobody has touched: the rest of the block is
//! the next that is cut. Single large chunks prove nothing and take none.

use crate::arena::Held;
use crate::os::{Os, Span};
use crate::tunables::Setting;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::size::MEDIUM_MAX_CHUNK;

/// Bytes of a huge page.
pub(crate) const HUGE_BYTES: usize = 2 << 20;

impl<O: Os> Held<'_, O> {
    /// Whether this arena's heaps are large enough to grow in huge pages.
    pub(crate) fn grows_huge(&self) -> bool {
        let least = self.root.settings.get(Setting::HugeGrowth);
        self.arena.system_bytes.load(Relaxed) >= least && self.root.settings.dynamic()
    }

    /// A heap that is to end at `end` or behind it ends here.
    pub(crate) fn whole_huge(&self, end: usize) -> usize {
        if self.grows_huge() { end.next_multiple_of(HUGE_BYTES) } else { end }
    }

    /// Before a run is cut from a free chunk, whose next chunk will begin at `end`: a huge page
    /// for the block around that, if all of it is in the range known to be zero. What is left
    /// of that range.
    pub(crate) fn prepare_huge_within(&self, clean: Span, end: usize) -> Span {
        let start = end & !(HUGE_BYTES - 1);
        let block = Span::new(start, start + HUGE_BYTES);
        if clean.overlap(block) != block || !self.grows_huge() {
            return clean;
        }
        // SAFETY: inside a free chunk of ours, in its part that is zero and holds no bookkeeping.
        if !unsafe { self.root.populate_huge(block) } {
            return clean;
        }
        self.arena.huge_pages.fetch_add(1, Relaxed);
        self.root.budget.refault(HUGE_BYTES);
        Span::new(block.end, clean.end)
    }

    /// Before the top is cut up to `end`, a run of `bytes`: puts a huge page behind the
    /// block that this reaches, if none of it has been touched.
    pub(crate) fn prepare_huge(&self, end: usize, bytes: usize) {
        let start = end & !(HUGE_BYTES - 1);
        let known = self.arena.top_touched.get().max(self.arena.top_resident.get());
        if start < known || bytes > MEDIUM_MAX_CHUNK || !self.grows_huge() {
            return;
        }
        let block = Span::new(start, start + HUGE_BYTES);
        if block.end > self.top_end() {
            return;
        }
        // SAFETY: in the top behind all that was touched, so zero and in nobody's use.
        if unsafe { self.root.populate_huge(block) } {
            self.arena.top_resident.set(block.end);
            self.arena.huge_pages.fetch_add(1, Relaxed);
        }
    }
}
