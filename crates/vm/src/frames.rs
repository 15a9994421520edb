//! Frames with owners: where pages come from, and who still has them.
//!
//! ```text
//!   take ─► 1 owner ── share ─► 2 ── release ─► 1 ── release ─► back to the buddy
//!                       fork, page cache          unmap, copy-on-write
//! ```
//! [`Counted`] puts the owners' count in front of anything that gives single frames:
//! the pages crate's [`Source`], most often its buddy.

use heapwise_pages::slab::Source;
use heapwise_pages::{Order, Pfn};

/// Frames for user pages.
pub trait Frames {
    /// A frame filled with zeros, with one owner; `None` if there is none. O(1).
    fn take(&mut self) -> Option<Pfn>;

    /// Copies what is in one frame to another. O(page).
    fn copy(&mut self, from: Pfn, to: Pfn);

    /// One more owner. O(1).
    fn share(&mut self, pfn: Pfn);

    /// One owner less; the last one's frees the frame. O(1).
    fn release(&mut self, pfn: Pfn);

    /// How many owners it has. O(1).
    fn owners(&self, pfn: Pfn) -> u32;

    /// The page of zeros that all readers of untouched memory share. Never released.
    fn zero_page(&self) -> Pfn;
}

/// How the contents of frames are written: through the direct map, or not at all
/// where only the books matter (`()`).
pub trait Contents {
    /// Fills a frame with zeros.
    fn zero(&mut self, pfn: Pfn);
    /// Copies a frame.
    fn copy(&mut self, from: Pfn, to: Pfn);
}

impl Contents for () {
    fn zero(&mut self, _: Pfn) {}
    fn copy(&mut self, _: Pfn, _: Pfn) {}
}

/// Owners counted in a lent slice, over a source of single frames.
pub struct Counted<'m, S, C> {
    source: S,
    contents: C,
    owners: &'m mut [u32],
    first: Pfn,
    zero: Pfn,
    out: u64,
}

impl<'m, S: Source, C: Contents> Counted<'m, S, C> {
    /// `owners[n]` counts for frame `first + n`. Takes one frame at once, the page of
    /// zeros; `None` if there is none. O(frames).
    pub fn new(source: S, contents: C, first: Pfn, owners: &'m mut [u32]) -> Option<Self> {
        owners.fill(0);
        let mut frames = Self { source, contents, owners, first, zero: first, out: 0 };
        frames.zero = frames.take()?;
        frames.out = 0;
        Some(frames)
    }

    /// Frames that have owners, without the page of zeros. O(1).
    pub const fn in_use(&self) -> u64 {
        self.out
    }

    /// What the frames come from.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How their contents are written.
    pub const fn contents_mut(&mut self) -> &mut C {
        &mut self.contents
    }

    /// Compaction moved a frame: its contents and owners go along. The page tables
    /// are the caller's, as is the block itself. False, and nothing done, for a frame
    /// without owners, the page of zeros, or a target that has owners. O(page).
    pub fn relocate(&mut self, from: Pfn, to: Pfn) -> bool {
        let owners = self.owners(from);
        if owners == 0 || owners == u32::MAX || from == self.zero || self.owners(to) != 0 {
            return false;
        }
        let Some(count) = self.count(to) else { return false };
        *count = owners;
        self.contents.copy(from, to);
        if let Some(count) = self.count(from) {
            *count = 0;
        }
        true
    }

    fn count(&mut self, pfn: Pfn) -> Option<&mut u32> {
        self.owners.get_mut(pfn.get().wrapping_sub(self.first.get()) as usize)
    }
}

impl<S: Source, C: Contents> Frames for Counted<'_, S, C> {
    fn take(&mut self) -> Option<Pfn> {
        let pfn = self.source.take(Order::ZERO)?;
        let Some(count) = self.count(pfn) else {
            // A frame that nobody can count is no frame.
            self.source.give(pfn, Order::ZERO);
            return None;
        };
        debug_assert_eq!(*count, 0, "{pfn:?} had owners");
        *count = 1;
        self.out += 1;
        self.contents.zero(pfn);
        Some(pfn)
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        self.contents.copy(from, to);
    }

    fn share(&mut self, pfn: Pfn) {
        if let Some(count) = self.count(pfn) {
            debug_assert_ne!(*count, 0, "{pfn:?} shared without an owner");
            // At the end it sticks: a leaked frame, never one freed too early.
            *count = count.saturating_add(1);
        }
    }

    fn release(&mut self, pfn: Pfn) {
        let Some(count) = self.count(pfn) else { return };
        debug_assert_ne!(*count, 0, "{pfn:?} released without an owner");
        match *count {
            0 | u32::MAX => {}
            1 => {
                *count = 0;
                self.out -= 1;
                self.source.give(pfn, Order::ZERO);
            }
            _ => *count -= 1,
        }
    }

    fn owners(&self, pfn: Pfn) -> u32 {
        let nth = pfn.get().wrapping_sub(self.first.get()) as usize;
        self.owners.get(nth).copied().unwrap_or(0)
    }

    fn zero_page(&self) -> Pfn {
        self.zero
    }
}
