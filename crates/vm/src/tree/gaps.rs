//! Searching for a gap.
//!
//! ```text
//!   before ▏▒▒▒▒▒  first ▓▓▓ ▒▒▒ ▓▓▓▓ ▒▒ ▓▓ last  ▒▒▒▒▒▒▏ after
//!           edge         └──── gap: widest ────┘    edge
//! ```
//! A subtree is entered only if its widest gap, or one of the two at its edges, is
//! wide enough. One that lies wholly inside the limits then has an answer; only the
//! two paths along the limits can disappoint. So O(log n).

use super::pool::{NIL, VmaPool};
use crate::addr::{Span, VirtAddr};

/// A gap cut to the limits, if it is wide enough.
fn fits(start: u64, end: u64, within: Span, bytes: u64) -> Option<Span> {
    let gap = Span::new(VirtAddr::new(start), VirtAddr::new(end)).clip(within);
    (!gap.is_empty() && gap.bytes() >= bytes).then_some(gap)
}

struct Search<'p, 'm> {
    pool: &'p VmaPool<'m>,
    within: Span,
    bytes: u64,
    from_top: bool,
}

impl Search<'_, '_> {
    /// The outermost gap under `node`, between `before` and `after`. At most the
    /// tree's height deep.
    fn find(&self, node: u32, before: u64, after: u64) -> Option<Span> {
        if node == NIL {
            return fits(before, after, self.within, self.bytes);
        }
        let slot = self.pool.slot(node);
        let widest = slot.gap.max(slot.first.saturating_sub(before)).max(after - slot.last);
        if widest < self.bytes
            || before >= self.within.end.get()
            || after <= self.within.start.get()
        {
            return None;
        }
        let (start, end) = (slot.vma.span.start.get(), slot.vma.span.end.get());
        if self.from_top {
            self.find(slot.right, end, after).or_else(|| self.find(slot.left, before, start))
        } else {
            self.find(slot.left, before, start).or_else(|| self.find(slot.right, end, after))
        }
    }
}

pub(super) fn highest(pool: &VmaPool<'_>, root: u32, within: Span, bytes: u64) -> Option<Span> {
    Search { pool, within, bytes, from_top: true }.find(root, 0, u64::MAX)
}

pub(super) fn lowest(pool: &VmaPool<'_>, root: u32, within: Span, bytes: u64) -> Option<Span> {
    Search { pool, within, bytes, from_top: false }.find(root, 0, u64::MAX)
}
