//! The nodes of all trees: a lent slice with a free list.
//!
//! ```text
//!   slots   [vma a][free ─┐][vma b][free]▲ …     taken nodes belong to some tree
//!   free ─────────────────┘──────────────┘
//! ```

use crate::vma::Vma;
use core::fmt;
use core::ops::Index;

/// No node.
pub(super) const NIL: u32 = u32::MAX;

/// Where a VMA stands in the pool; good until it is removed or merged away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VmaId(pub(super) u32);

impl VmaId {
    pub(super) const fn of(node: u32) -> Option<Self> {
        if node == NIL { None } else { Some(Self(node)) }
    }
}

/// The pool has no node left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfVmas;

impl fmt::Display for OutOfVmas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no node left for another VMA")
    }
}
impl core::error::Error for OutOfVmas {}

/// Room for one VMA. The caller lends a slice of these.
#[derive(Clone)]
pub struct VmaSlot {
    pub(super) vma: Vma,
    pub(super) parent: u32,
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) height: u32,
    /// The lowest start, highest end and widest gap under it.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) gap: u64,
}

impl VmaSlot {
    /// An empty one.
    pub fn new() -> Self {
        Self::holding(Vma::default())
    }

    fn holding(vma: Vma) -> Self {
        let (parent, left, right) = (NIL, NIL, NIL);
        Self { vma, parent, left, right, height: 0, first: 0, last: 0, gap: 0 }
    }
}

impl Default for VmaSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// The nodes of all address spaces of a machine.
pub struct VmaPool<'m> {
    slots: &'m mut [VmaSlot],
    free: u32,
    fresh: u32,
    left: u32,
}

impl<'m> VmaPool<'m> {
    /// Over lent slots, whatever they held; the first 2³² − 1 of them. O(1).
    pub fn new(slots: &'m mut [VmaSlot]) -> Self {
        let left = slots.len().min(NIL as usize) as u32;
        Self { slots, free: NIL, fresh: 0, left }
    }

    /// Nodes not in use. O(1).
    pub const fn free_nodes(&self) -> u32 {
        self.left
    }

    pub(super) fn take(&mut self, vma: Vma) -> Result<u32, OutOfVmas> {
        let node = if self.free != NIL {
            let node = self.free;
            self.free = self.slot(node).parent;
            node
        } else if self.left > 0 {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return Err(OutOfVmas);
        };
        self.left -= 1;
        *self.slot_mut(node) = VmaSlot::holding(vma);
        Ok(node)
    }

    pub(super) fn give(&mut self, node: u32) -> Vma {
        let free = self.free;
        let slot = self.slot_mut(node);
        slot.parent = free;
        let vma = slot.vma;
        self.free = node;
        self.left += 1;
        vma
    }

    #[inline]
    pub(super) fn slot(&self, node: u32) -> &VmaSlot {
        &self.slots[node as usize]
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, node: u32) -> &mut VmaSlot {
        &mut self.slots[node as usize]
    }
}

impl Index<VmaId> for VmaPool<'_> {
    type Output = Vma;

    #[inline]
    fn index(&self, id: VmaId) -> &Vma {
        &self.slot(id.0).vma
    }
}
