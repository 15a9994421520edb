//! The unsorted bin: what was just freed or split off, before it is sorted.
//!
//! A request passes over it once, oldest first: an exact fit is taken, the rest
//! moves to the bins of its size. The remainder of the last split is cut again
//! if it alone is here, so that successive small requests lie side by side.

use crate::arena::{Found, Held, bin_ring};
use crate::fatal::Fault;
use crate::os::Os;
use crate::tunables::Setting;
use heapwise_layout::bins::{MIN_LARGE, UNSORTED};
use heapwise_layout::header::{MIN_CHUNK, free};

/// A request sorts at most this many chunks.
const DEFAULT_LIMIT: usize = 10_000;

impl<O: Os> Held<'_, O> {
    /// Sorts what is unsorted until a chunk of exactly `size` bytes turns up
    /// (or the last remainder, alone, can be cut).
    pub(crate) fn unsorted_take(&self, size: usize) -> Option<Found> {
        let ring = bin_ring(self.arena, UNSORTED);
        let limit = match self.root.settings.get(Setting::UnsortedLimit) {
            0 => DEFAULT_LIMIT,
            limit => limit,
        };
        for _ in 0..limit {
            let chunk = Self::ring_last(ring)?;
            if !Self::plausible(chunk.0) {
                self.root.fatal(Fault::CorruptUnsortedRing);
            }
            // SAFETY: in the ring, so a free chunk of this arena.
            let (found, alone) = unsafe { (chunk.header().size(), chunk.word(free::BK) == ring.0) };
            if !self.plausible_size(found) {
                self.root.fatal(Fault::CorruptUnsortedSize);
            }
            // SAFETY: the size was checked against the arena's.
            if unsafe { chunk.offset(found).word(0) } != found {
                self.root.fatal(Fault::CorruptPrevSize);
            }
            let remainder = alone
                && size < MIN_LARGE
                && chunk.0 == self.arena.last_remainder.get()
                && found >= size + MIN_CHUNK;
            self.ring_remove(chunk, Fault::CorruptUnsortedRing);
            if found == size || remainder {
                let clean = self.pages_leave(chunk, found);
                return Some(Found { chunk, size: found, clean });
            }
            self.sort(chunk, found);
        }
        None
    }
}
