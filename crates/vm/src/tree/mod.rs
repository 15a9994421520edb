//! The VMAs of one address space: a balanced tree that also knows its gaps.
//!
//! ```text
//!                 ┌ vma 30–40 ┐  first 10, last 70, gap 15     the widest hole below it
//!          vma 10–12        vma 55–70                          between its VMAs
//! ```
//! An AVL tree by address. Each node knows the first and last address under it and
//! the widest gap between the VMAs under it, all made from its two children alone:
//! so a change is repaired on the way to the root, and a search for a gap walks down
//! only where one is wide enough. The nodes lie in a [`VmaPool`] that all trees of a
//! machine share.

mod balance;
mod gaps;
mod pool;

pub use pool::{OutOfVmas, VmaId, VmaPool, VmaSlot};

use crate::addr::{Span, VirtAddr};
use crate::vma::Vma;
use pool::NIL;

/// A tree of VMAs that do not overlap.
#[derive(Debug)]
pub struct VmaTree {
    root: u32,
    len: u32,
}

impl Default for VmaTree {
    fn default() -> Self {
        Self::new()
    }
}

impl VmaTree {
    /// An empty tree. O(1).
    pub const fn new() -> Self {
        Self { root: NIL, len: 0 }
    }

    /// How many VMAs. O(1).
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none. O(1).
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first VMA that ends above `at`: the one that holds it, or the next one
    /// up. Linux's `find_vma`. O(log n).
    pub fn find(&self, pool: &VmaPool<'_>, at: VirtAddr) -> Option<VmaId> {
        let mut best = NIL;
        let mut node = self.root;
        while node != NIL {
            let slot = pool.slot(node);
            if at < slot.vma.span.end {
                best = node;
                node = slot.left;
            } else {
                node = slot.right;
            }
        }
        VmaId::of(best)
    }

    /// The VMA that holds `at`. O(log n).
    pub fn holding(&self, pool: &VmaPool<'_>, at: VirtAddr) -> Option<VmaId> {
        self.find(pool, at).filter(|id| pool[*id].span.start <= at)
    }

    /// The first VMA that shares an address with a span; none does with an empty one.
    /// O(log n).
    pub fn overlapping(&self, pool: &VmaPool<'_>, span: Span) -> Option<VmaId> {
        if span.is_empty() {
            return None;
        }
        self.find(pool, span.start).filter(|id| pool[*id].span.start < span.end)
    }

    /// The last VMA that starts below `at`. O(log n).
    pub fn before(&self, pool: &VmaPool<'_>, at: VirtAddr) -> Option<VmaId> {
        let mut best = NIL;
        let mut node = self.root;
        while node != NIL {
            let slot = pool.slot(node);
            if slot.vma.span.start < at {
                best = node;
                node = slot.right;
            } else {
                node = slot.left;
            }
        }
        VmaId::of(best)
    }

    /// The lowest. O(log n).
    pub fn first(&self, pool: &VmaPool<'_>) -> Option<VmaId> {
        VmaId::of(balance::leftmost(pool, self.root))
    }

    /// The highest. O(log n).
    pub fn last(&self, pool: &VmaPool<'_>) -> Option<VmaId> {
        VmaId::of(balance::rightmost(pool, self.root))
    }

    /// The next one up. O(log n), O(1) on average.
    pub fn next(&self, pool: &VmaPool<'_>, id: VmaId) -> Option<VmaId> {
        VmaId::of(balance::next(pool, id.0))
    }

    /// The next one down. O(log n), O(1) on average.
    pub fn prev(&self, pool: &VmaPool<'_>, id: VmaId) -> Option<VmaId> {
        VmaId::of(balance::prev(pool, id.0))
    }

    /// All, from the lowest up. O(n).
    pub fn iter<'p, 'm>(&self, pool: &'p VmaPool<'m>) -> Iter<'p, 'm> {
        Iter { pool, node: balance::leftmost(pool, self.root) }
    }

    /// Brings a VMA in, where none is. O(log n).
    ///
    /// [`OutOfVmas`] if the pool has no node left.
    pub fn insert(&mut self, pool: &mut VmaPool<'_>, vma: Vma) -> Result<VmaId, OutOfVmas> {
        debug_assert!(!vma.span.is_empty(), "an empty VMA");
        debug_assert!(self.overlapping(pool, vma.span).is_none(), "{vma:?} overlaps");
        let node = pool.take(vma)?;
        balance::insert(pool, &mut self.root, node);
        self.len += 1;
        Ok(VmaId(node))
    }

    /// Takes a VMA out. O(log n).
    pub fn remove(&mut self, pool: &mut VmaPool<'_>, id: VmaId) -> Vma {
        balance::remove(pool, &mut self.root, id.0);
        self.len -= 1;
        pool.give(id.0)
    }

    /// Changes a VMA; its new span must keep its place between its neighbours.
    /// O(1), O(log n) if the span changes.
    pub fn update(&mut self, pool: &mut VmaPool<'_>, id: VmaId, change: impl FnOnce(&mut Vma)) {
        let slot = pool.slot_mut(id.0);
        let before = slot.vma.span;
        change(&mut slot.vma);
        let after = slot.vma.span;
        if after != before {
            debug_assert!(!after.is_empty(), "an empty VMA");
            balance::refresh(pool, id.0);
        }
    }

    /// The highest gap of at least `bytes` inside `within`, cut to it. O(log n).
    pub fn highest_gap(&self, pool: &VmaPool<'_>, within: Span, bytes: u64) -> Option<Span> {
        gaps::highest(pool, self.root, within, bytes)
    }

    /// The lowest gap of at least `bytes` inside `within`, cut to it. O(log n).
    pub fn lowest_gap(&self, pool: &VmaPool<'_>, within: Span, bytes: u64) -> Option<Span> {
        gaps::lowest(pool, self.root, within, bytes)
    }

    /// Whether order, balance, links and gaps are as they must be; for tests. O(n).
    pub fn is_sound(&self, pool: &VmaPool<'_>) -> bool {
        balance::count_sound(pool, self.root, NIL) == Some(self.len)
            && self.iter(pool).zip(self.iter(pool).skip(1)).all(|(a, b)| a.span.end <= b.span.start)
    }
}

/// VMAs in order.
pub struct Iter<'p, 'm> {
    pool: &'p VmaPool<'m>,
    node: u32,
}

impl<'p> Iterator for Iter<'p, '_> {
    type Item = &'p Vma;

    fn next(&mut self) -> Option<&'p Vma> {
        let id = VmaId::of(self.node)?;
        self.node = balance::next(self.pool, self.node);
        Some(&self.pool[id])
    }
}
