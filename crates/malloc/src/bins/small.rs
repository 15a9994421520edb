//! Small bins: one size each, first in first out.

use crate::arena::{Found, Held, bin_ring};
use crate::fatal::Fault;
use crate::os::{Os, Span};
use heapwise_layout::bins::bin_index;

impl<O: Os> Held<'_, O> {
    /// The oldest chunk of exactly `size` bytes (`size` < [`heapwise_layout::bins::MIN_LARGE`]).
    pub(crate) fn small_take(&self, size: usize) -> Option<Found> {
        let chunk = Self::ring_last(bin_ring(self.arena, bin_index(size)))?;
        self.ring_remove(chunk, Fault::CorruptSmallRing);
        // Too small to hold a whole page: nothing known to be zero.
        Some(Found { chunk, size, clean: Span::default() })
    }
}
