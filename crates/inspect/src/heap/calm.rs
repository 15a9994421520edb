//! Small live chunks, small free ones between them, all resident: most of most heaps.
//!
//! ```text
//!  │ live │ live │ free │ live │ live │ free │ live │ …      each below a quarter of a page
//! ```
//! A chunk of them with what is free around it is less than a page, so nothing is pinned and nothing
//! trimmed, and they are counted together: a few additions each, without a branch on what they are.

use heapwise_layout::header::{ALIGNMENT, HEADER_OFFSET, MIN_CHUNK};

use super::sums::{Count, Sums};
use super::walker::Form;
use super::{Kind, Piece};
use crate::span::Span;

/// The calm at the end of a walk so far; empty while there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm {
    /// A chunk that ends here or below may be one more of them; 0 if the last chunk was none.
    to: usize,
    /// All are smaller.
    small: usize,
    /// Where the first one begins, and the last one ends.
    pub start: usize,
    /// The end of the last one.
    pub end: usize,
    /// The last live one; none yet if it has no size.
    pub last: Span,
    /// Where what is free before that begins.
    pub before: usize,
    /// Where what is free behind it begins.
    pub behind: usize,
    /// How many are live.
    pub live: usize,
    /// The free ones.
    pub free: Count,
}

impl Calm {
    /// Opens one behind a chunk that ends at `end`, for chunks below `small` bytes, which is a multiple
    /// of 16, that end at `to` or below.
    pub fn open(end: usize, to: usize, small: usize) -> Self {
        Self { to, small, start: end, end, behind: end, ..Self::default() }
    }

    /// Whether a chunk that begins at `chunk` may be one more.
    #[inline]
    pub const fn is_open_at(&self, chunk: usize) -> bool {
        chunk == self.end && chunk < self.to
    }

    /// Takes no more.
    #[cfg(test)]
    pub const fn close(&mut self) {
        self.to = 0;
    }

    /// Takes the next piece if it is one more.
    #[inline]
    pub fn take(&mut self, piece: Piece, sums: &mut Sums) -> bool {
        if piece.end() > self.to || piece.bytes >= self.small {
            return false;
        }
        match piece.kind {
            Kind::Live => {
                self.live += 1;
                sums.small[piece.bytes / ALIGNMENT] += 1;
                self.before = self.behind;
                self.last = Span { start: piece.address, end: piece.end() };
                self.behind = piece.end();
            }
            Kind::Free if self.behind == piece.address && piece.bytes <= sums.hole.span.bytes() => {
                self.free.chunks += 1;
                self.free.bytes += piece.bytes;
            }
            _ => return false,
        }
        self.end = piece.end();
        true
    }

    /// Takes chunks out of `memory`, which begins at the end of this calm, as long as they end at `limit`
    /// or below; how many. Chunks of any other kind and those that the memory does not show whole
    /// are left. O(chunks).
    pub fn pass<F: Form>(&mut self, memory: &[u8], limit: usize, sums: &mut Sums) -> usize {
        let word = |at: usize| {
            let bytes = memory.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let base = self.end;
        let most = limit.min(self.to).saturating_sub(base);
        let sizes = self.small.saturating_sub(MIN_CHUNK) / ALIGNMENT;
        let hole = sums.hole.span.bytes();
        let Some(mut header) = word(HEADER_OFFSET) else { return 0 };

        // Distances from `base`, also of what lies before it.
        let away = |address: usize| address.wrapping_sub(base);
        let (mut at, mut last) = (0, 0);
        let (mut before, mut behind) = (away(self.before), away(self.behind));
        let (mut passed, mut live, mut free_bytes) = (0, 0, 0);
        loop {
            let bytes = F::bytes(header);
            // What is no multiple of 16, or below the smallest, becomes more than any size.
            if bytes.wrapping_sub(MIN_CHUNK).rotate_right(ALIGNMENT.trailing_zeros()) >= sizes {
                break;
            }
            let next = at + bytes;
            if next > most {
                break;
            }
            let Some(next_header) = word(next + HEADER_OFFSET) else { break };
            let Some(is_free) = F::is_free(header, next_header) else { break };
            if is_free & ((behind != at) | (bytes > hole)) {
                break;
            }
            // Which of both it is nobody can foresee: all ones for a live one, zeros for a free one.
            let is_live = usize::from(!is_free);
            let ones = is_live.wrapping_neg();
            let choose = |live: usize, free: usize| free ^ (free ^ live) & ones;
            sums.small[bytes / ALIGNMENT] += is_live;
            live += is_live;
            free_bytes += bytes & !ones;
            last = choose(at, last);
            before = choose(behind, before);
            behind = choose(next, behind);
            passed += 1;
            (at, header) = (next, next_header);
        }
        self.end = base + at;
        self.before = base.wrapping_add(before);
        self.behind = base.wrapping_add(behind);
        if live > 0 {
            self.last = Span { start: base + last, end: self.behind };
        }
        self.live += live;
        self.free.chunks += passed - live;
        self.free.bytes += free_bytes;
        passed
    }
}
