//! What one CPU keeps in front of the slabs: ready objects, a stack a cache.
//!
//! ```text
//!   Front   shape of the cache (a copy) │ warm │ addr addr addr …
//!                              seen before          newest first
//! ```
//! The warm object stands beside the stack (`slab/warm.rs`): of a pair of calls that take
//! and free one object, what was found out about it the first time is compared, not
//! computed again.
//!
//! Linux 6.18 calls it a sheaf. Any CPU may free any object: it goes to the stack
//! of the CPU that frees. A copied shape is as old as `epoch` says; destroying a
//! cache moves the heap's epoch on, and each front then looks again.

use crate::slab::shape::Shape;
use crate::slab::warm::Warm;

/// Objects that a front can hold.
pub(crate) const CAPACITY: usize = 32;

/// One cache's stack on one CPU.
#[derive(Clone, Copy)]
pub struct Front {
    pub(crate) shape: Shape,
    pub(crate) epoch: u32,
    pub(crate) len: u32,
    pub(crate) warm: Warm,
    pub(crate) objects: [u64; CAPACITY],
}

impl Front {
    /// Empty, for any cache.
    pub const fn new() -> Self {
        Self {
            shape: Shape {
                serial: 0,
                object_size: 0,
                stride: 0,
                left: 0,
                free_at: 0,
                bytes: 0,
                objects: 0,
                inverse: 0,
                end: 0,
                limit: 0,
                debug: false,
                constructed: false,
            },
            epoch: 0,
            len: 0,
            warm: Warm::NONE,
            objects: [0; CAPACITY],
        }
    }

    /// The newest of the stack.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let top = self.len.wrapping_sub(1);
        let addr = *self.objects.get(top as usize)?;
        self.len = top;
        Some(addr)
    }

    /// Whether [`push`](Self::push) will keep one more.
    pub(crate) fn has_room(&self) -> bool {
        self.len < self.shape.limit.min(CAPACITY as u32)
    }

    /// Keeps an object on the stack; `false` if that holds all it may.
    #[inline]
    pub(crate) fn push(&mut self, addr: u64) -> bool {
        if self.len >= self.shape.limit {
            return false;
        }
        let Some(slot) = self.objects.get_mut(self.len as usize) else { return false };
        *slot = addr;
        self.len += 1;
        true
    }

    /// Objects that wait here.
    pub(crate) const fn count(&self) -> u32 {
        self.len + self.warm.is_here() as u32
    }
}

impl Default for Front {
    fn default() -> Self {
        Self::new()
    }
}

/// One CPU's fronts, one for each cache: the caller lends as many as it likes;
/// caches beyond take the lock each time.
pub struct CpuSlab<'c> {
    pub(crate) fronts: &'c mut [Front],
    /// The kmalloc class freed last: so that the place of the next one's front need not
    /// wait for its frame's word.
    pub(crate) last: u32,
}

impl<'c> CpuSlab<'c> {
    /// Over these fronts, each [`Front::new`] or from an earlier `CpuSlab` of the
    /// same heap and CPU.
    pub const fn new(fronts: &'c mut [Front]) -> Self {
        Self { fronts, last: 0 }
    }

    /// Objects that wait here.
    pub fn objects(&self) -> u32 {
        self.fronts.iter().map(Front::count).sum()
    }
}
