//! Giving whole free pages back from the middle of a heap.
//!
//! Each free chunk with whole pages inside remembers one range of them that is
//! known to be zero (given back, or never touched). The rest is dirty; chunks
//! with dirty pages stand in a list by age. Once an arena keeps more than the
//! budget, the oldest go back until half of it is left.
//!
//! What that may cost is bounded by tokens, not by how much is given back:
//! only a byte that is faulted in again out of a range given back takes a
//! token. So a burst goes back at once and in full, while a steady churn soon
//! runs out of tokens and keeps its memory; tokens grow at
//! [`TOKENS_PER_SECOND`], which is about 1 % of a core in page faults.

use crate::arena::Held;
use crate::chunk::Chunk;
use crate::fatal::Fault;
use crate::os::{Os, Span};
use crate::root::Allocator;
use crate::tunables::Setting;
use core::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use heapwise_layout::control::{HELPER_NONE, HELPER_REFUSED, HELPER_RUNS};
use heapwise_layout::header::{MIN_CHUNK, free};

/// Bytes that may be faulted in again, per second.
const TOKENS_PER_SECOND: i64 = 20 << 20;
/// Most that can be saved up.
const TOKENS_MAX: i64 = 64 << 20;
/// What a process starts with: a short program should not spend its life on faults.
const TOKENS_FIRST: i64 = 1 << 20;
/// Most that a process may owe. One purge may be larger than the tokens that allowed it; with less,
/// what its faults took beyond them would be forgotten.
const DEBT_MAX: i64 = 16 << 20;
/// A process that has given so much back without growing shrinks.
const SHRINKING_BYTES: usize = 16 << 20;
/// Ranges given to the kernel at once.
const BATCH: usize = 64;
/// Less than this is not worth a helper.
const HELPER_MIN_BYTES: usize = 256 << 10;
/// In a program with a single thread so far, not less than this.
const LONE_HELPER_MIN_BYTES: usize = 8 << 20;

/// The tokens of a process.
pub struct Budget {
    tokens: AtomicI64,
    filled_ns: AtomicU64,
    /// Bytes purged since a heap last took memory ahead of its use.
    given_since_growth: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self {
            tokens: AtomicI64::new(0),
            filled_ns: AtomicU64::new(0),
            given_since_growth: AtomicUsize::new(0),
        }
    }

    /// What a process starts with.
    pub(crate) fn fill(&self) {
        self.tokens.store(TOKENS_FIRST, Relaxed);
    }

    /// Where the tokens stand, for the published state.
    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(&self.tokens).expose_provenance()
    }

    /// Bytes given back are in use again.
    pub(crate) fn refault(&self, bytes: usize) {
        if bytes > 0 {
            self.tokens.fetch_sub(bytes as i64, Relaxed);
        }
    }

    /// A heap has taken memory ahead of its use.
    pub(crate) fn grew(&self) {
        self.given_since_growth.store(0, Relaxed);
    }

    /// Whether more may be given back now.
    pub(crate) fn allows<O: Os>(&self, os: &O) -> bool {
        let now = os.now_ns();
        let last = self.filled_ns.load(Relaxed);
        let elapsed_ns = if last == 0 { 0 } else { now.saturating_sub(last) };
        // The rest of a microsecond counts the next time: there may be many calls in one.
        self.filled_ns.store(now - elapsed_ns % 1000, Relaxed);
        let elapsed_us = elapsed_ns.min(10_000_000_000) as i64 / 1000;
        let grown = self.tokens.load(Relaxed) + elapsed_us * (TOKENS_PER_SECOND / 1_000_000);
        let capped = grown.clamp(-DEBT_MAX, TOKENS_MAX);
        self.tokens.store(capped, Relaxed);
        capped > 0
    }
}

// "Ours" in the SAFETY comments: see `arena`.
impl<O: Os> Held<'_, O> {
    /// A chunk has come into a bin: notes its pages. `clean` may reach beyond them.
    pub(crate) fn pages_enter(&self, chunk: Chunk, size: usize, clean: Span) {
        let interior = self.interior(chunk, size);
        if interior.bytes() == 0 {
            return;
        }
        let clean = match interior.overlap(clean) {
            none if none.bytes() == 0 => Span::new(interior.start, interior.start),
            some => some,
        };
        self.set_clean(chunk, clean);
        let dirty = interior.bytes() - clean.bytes();
        if dirty == 0 {
            return;
        }
        self.arena.dirty_bytes.fetch_add(dirty, Relaxed);
        let newest = Chunk(self.arena.dirty_newest.get());
        // SAFETY: ours; a paged chunk has these words.
        unsafe {
            chunk.set_word(free::DIRTY_PREV, newest.0);
            chunk.set_word(free::DIRTY_NEXT, 0);
            if newest == Chunk::NONE {
                self.arena.dirty_oldest.set(chunk.0);
            } else {
                newest.set_word(free::DIRTY_NEXT, chunk.0);
            }
        }
        self.arena.dirty_newest.set(chunk.0);
    }

    /// A chunk leaves its bin: what of it is known to be zero.
    pub(crate) fn pages_leave(&self, chunk: Chunk, size: usize) -> Span {
        let interior = self.interior(chunk, size);
        if interior.bytes() == 0 {
            return Span::default();
        }
        let clean = self.clean_of(chunk);
        if clean.start < interior.start || clean.end > interior.end || clean.end < clean.start {
            self.root.fatal(Fault::CorruptRing);
        }
        let dirty = interior.bytes() - clean.bytes();
        if dirty > 0 {
            self.arena.dirty_bytes.fetch_sub(dirty, Relaxed);
            self.dirty_unlink(chunk);
        }
        clean
    }

    fn set_clean(&self, chunk: Chunk, clean: Span) {
        // SAFETY: ours; a paged chunk has these words.
        unsafe {
            chunk.set_word(free::CLEAN_LO, clean.start);
            chunk.set_word(free::CLEAN_HI, clean.end);
        }
    }

    fn dirty_unlink(&self, chunk: Chunk) {
        // SAFETY: ours; in the dirty list, whose neighbours are checked.
        unsafe {
            let older = Chunk(chunk.word(free::DIRTY_PREV));
            let newer = Chunk(chunk.word(free::DIRTY_NEXT));
            let broken = |c: Chunk, way| {
                c != Chunk::NONE && (!Self::plausible(c.0) || c.word(way) != chunk.0)
            };
            if broken(older, free::DIRTY_NEXT) || broken(newer, free::DIRTY_PREV) {
                self.root.fatal(Fault::CorruptRing);
            }
            if older == Chunk::NONE {
                self.arena.dirty_oldest.set(newer.0);
            } else {
                older.set_word(free::DIRTY_NEXT, newer.0);
            }
            if newer == Chunk::NONE {
                self.arena.dirty_newest.set(older.0);
            } else {
                newer.set_word(free::DIRTY_PREV, older.0);
            }
        }
    }

    /// Bytes of whole free pages that this arena still keeps.
    pub(crate) fn dirty_total(&self) -> usize {
        self.arena.dirty_bytes.load(Relaxed) + self.top_dirty().bytes()
    }

    /// After frees: keeps to the budget. True if the idle helper should look later.
    pub(crate) fn settle(&self) -> bool {
        let total = self.dirty_total();
        self.arena.dirty_low_bytes.set(self.arena.dirty_low_bytes.get().min(total));
        let settings = &self.root.settings;
        if settings.get(Setting::Purge) == 0 {
            return false;
        }
        // What the top has ahead is for the next chunks, not left over, unless much more has
        // been given back since.
        let budget = settings.get(Setting::PurgeBudget);
        let given = &self.root.budget.given_since_growth;
        let ahead = if given.load(Relaxed) > SHRINKING_BYTES { 0 } else { self.top_ahead() };
        // (Where the top begins in the last words of a page, that page is ahead and not dirty.)
        if total.saturating_sub(ahead) > budget && self.root.budget.allows(&self.root.os) {
            given.fetch_add(self.purge_to(budget / 2 + ahead), Relaxed);
        }
        let worth = if self.root.multi_threaded() {
            HELPER_MIN_BYTES
        } else if settings.get(Setting::PurgeHelper) >= 2 {
            0
        } else {
            LONE_HELPER_MIN_BYTES
        };
        self.dirty_total() + self.arena.depot_bytes.load(Relaxed) > worth
    }

    /// Gives the oldest dirty pages back until at most `target` bytes are left; the bytes given.
    pub(crate) fn purge_to(&self, target: usize) -> usize {
        let before = self.dirty_total();
        while self.dirty_total() > target && self.purge_oldest(target) {}
        if self.dirty_total() > target {
            self.purge_top(0);
        }
        before - self.dirty_total()
    }

    /// Gives the pages of the oldest dirty chunks back, one batch; false if there were none.
    fn purge_oldest(&self, target: usize) -> bool {
        let mut spans = [Span::default(); BATCH];
        let mut count = 0;
        while count + 2 <= BATCH && (count == 0 || self.dirty_total() > target) {
            let chunk = Chunk(self.arena.dirty_oldest.get());
            if chunk == Chunk::NONE {
                break;
            }
            // SAFETY: ours, in the dirty list.
            let size = unsafe { chunk.header() }.size();
            let interior = self.interior(chunk, size);
            let clean = self.pages_leave(chunk, size);
            for span in [Span::new(interior.start, clean.start), Span::new(clean.end, interior.end)]
            {
                if span.bytes() > 0 {
                    spans[count] = span;
                    count += 1;
                }
            }
            self.set_clean(chunk, interior);
        }
        if count == 0 {
            return false;
        }
        // SAFETY: whole pages inside free chunks of ours, bookkeeping outside, lock held.
        unsafe { self.root.purge_spans(&spans[..count]) };
        true
    }

    /// Gives the top's pages back, `pad` bytes at its start kept; true if any.
    pub(crate) fn purge_top(&self, pad: usize) -> bool {
        let dirty = self.top_dirty();
        let span =
            Span::new(dirty.start.saturating_add(self.root.page_up(pad.min(1 << 40))), dirty.end);
        if span.bytes() == 0 {
            return false;
        }
        // SAFETY: whole pages of the top behind its header.
        unsafe { self.root.purge_spans(&[span]) };
        self.arena.top_touched.set(span.start.max(self.arena.top.get() + MIN_CHUNK));
        self.arena.top_resident.set(0);
        true
    }
}

impl<O: Os> Allocator<O> {
    /// Whether a second thread has ever allocated.
    pub(crate) fn multi_threaded(&self) -> bool {
        self.state.multi_threaded.load(Relaxed) != 0
    }

    /// Whether the settings want a helper that gives memory back.
    pub(crate) fn helper_wanted(&self) -> bool {
        self.settings.get(Setting::PurgeHelper) > 0 && self.settings.get(Setting::Purge) > 0
    }

    /// Starts the idle helper unless it runs.
    #[cold]
    pub(crate) fn want_helper(&self) {
        let state = &self.state.control.helper;
        if self.helper_wanted()
            && state.compare_exchange(HELPER_NONE, HELPER_RUNS, Relaxed, Relaxed).is_ok()
        {
            self.quiet_ticks.store(0, Relaxed);
            if !self.os.start_helper() {
                // No thread to be had here; do not ask again.
                state.store(HELPER_REFUSED, Relaxed);
            }
        }
    }
}
