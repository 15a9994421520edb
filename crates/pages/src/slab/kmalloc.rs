//! `kmalloc`: any size, by the smallest cache that holds it, or by whole pages.
//!
//! ```text
//!   bytes   8 16 32 64 96 128 192 256 512 1024 2048 4096 8192 │ 16 KiB … 4 MiB
//!           a cache each; 65–96 → 96, 129–192 → 192            │ blocks of pages
//! ```
//! `kfree` needs no size: the frame's word says which cache, or which order.

use crate::error::SlabError;
use crate::frame::{Order, PAGE_SIZE, Pfn, Virt};
use crate::lock::Lock;
use crate::slab::front::CpuSlab;
use crate::slab::ground::{Info, LARGE, Memory, Source};
use crate::slab::heap::{CacheId, SlabHeap};
use crate::slab::shape::CacheSpec;
use crate::slab::store::Slabs;

/// The classes' sizes in bytes.
pub const KMALLOC_SIZES: [u32; 13] =
    [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192];
const NAMES: [&str; 13] = [
    "kmalloc-8",
    "kmalloc-16",
    "kmalloc-32",
    "kmalloc-64",
    "kmalloc-96",
    "kmalloc-128",
    "kmalloc-192",
    "kmalloc-256",
    "kmalloc-512",
    "kmalloc-1k",
    "kmalloc-2k",
    "kmalloc-4k",
    "kmalloc-8k",
];

const CLASSES: u32 = KMALLOC_SIZES.len() as u32;

impl CacheId {
    /// A class's cache: they are the first that a heap makes.
    #[inline(always)]
    const fn of_class(class: u32) -> Self {
        Self { index: class, serial: class + 1 }
    }

    /// All of them.
    pub(super) fn classes() -> impl Iterator<Item = Self> {
        (0..CLASSES).map(Self::of_class)
    }

    /// Whether it is a class's.
    pub(super) const fn is_class(self) -> bool {
        self.index < CLASSES
    }
}

/// The class of each size up to 192, in steps of 8.
const SMALL: [u8; 25] = {
    let mut table = [0; 25];
    let (mut eighth, mut class) = (0, 0);
    while eighth < table.len() {
        while KMALLOC_SIZES[class] < eighth as u32 * 8 {
            class += 1;
        }
        table[eighth] = class as u8;
        eighth += 1;
    }
    table
};

/// The class of a size from 1 to 8192. O(1).
#[inline]
const fn class_of(size: u64) -> u32 {
    if size <= 192 {
        SMALL[size.div_ceil(8) as usize] as u32
    } else {
        // 193…256 → 7, doubling from there.
        u64::BITS - (size - 1).leading_zeros() - 1
    }
}

impl<'m, M: Memory, P: Source, L: Lock<Slabs<'m>>> SlabHeap<'m, M, P, L> {
    /// Makes the kmalloc caches, before any other. Powers of two are aligned to their size.
    pub(super) fn create_classes(slabs: &mut Slabs<'m>, cpus: u32) -> Result<(), SlabError> {
        for (class, size) in KMALLOC_SIZES.into_iter().enumerate() {
            let align = if size.is_power_of_two() { size.min(PAGE_SIZE as u32) } else { 32 };
            let spec = CacheSpec { align, ..CacheSpec::new(NAMES[class], size) };
            let (index, serial) = slabs.create(&spec, cpus)?;
            debug_assert_eq!(CacheId { index, serial }, CacheId::of_class(index));
        }
        Ok(())
    }

    /// `kmalloc`: at least `size` bytes, contiguous; aligned to 8, powers of two to
    /// their size (up to a frame). As [`alloc`](Self::alloc).
    ///
    /// [`SlabError::OutOfMemory`]; [`SlabError::BadLayout`] for 0 and above 4 MiB;
    /// [`SlabError::Corrupt`].
    #[inline]
    pub fn kmalloc(&self, cpu: &mut CpuSlab<'_>, size: u64) -> Result<Virt, SlabError> {
        if size.wrapping_sub(1) < 8192 {
            return self.alloc(cpu, CacheId::of_class(class_of(size)));
        }
        self.alloc_large(size).map(Virt)
    }

    #[cold]
    fn alloc_large(&self, size: u64) -> Result<u64, SlabError> {
        let order = Order::for_bytes(size).filter(|_| size != 0).ok_or(SlabError::BadLayout)?;
        let ground = &self.ground;
        let pfn = ground.source.take(order).ok_or(SlabError::OutOfMemory)?;
        let head = pfn.get().wrapping_sub(ground.first.get()) as usize;
        if head + order.frames() as usize > ground.frames.len() {
            ground.source.give(pfn, order);
            return Err(SlabError::OutOfMemory);
        }
        ground.set_info(head, Info::new(LARGE, 0, order.get() as u32, 0, false));
        Ok(ground.addr_of(head))
    }

    /// `kfree`, on any CPU; also for objects of other caches. O(1).
    ///
    /// As [`free`](Self::free).
    #[inline]
    pub fn kfree(&self, cpu: &mut CpuSlab<'_>, at: Virt) -> Result<(), SlabError> {
        let last = cpu.last;
        // A class's cache is never destroyed, so that the front's is no other.
        if let Some(front) = cpu.fronts.get_mut(last as usize)
            && self.free_here(front, last, at)
        {
            return Ok(());
        }
        self.free_of_any(cpu, at)
    }

    /// Whichever cache it is of.
    #[inline(never)]
    fn free_of_any(&self, cpu: &mut CpuSlab<'_>, at: Virt) -> Result<(), SlabError> {
        let Some(index) = self.ground.info_at(at.0).0.cache() else {
            return Err(SlabError::Foreign);
        };
        if index >= CLASSES {
            return self.free_other(cpu, index, at);
        }
        cpu.last = index;
        if let Some(front) = cpu.fronts.get_mut(index as usize)
            && self.free_here(front, index, at)
        {
            return Ok(());
        }
        self.free_another(cpu, CacheId::of_class(index), at)
    }

    #[cold]
    fn free_other(&self, cpu: &mut CpuSlab<'_>, index: u32, at: Virt) -> Result<(), SlabError> {
        if index != LARGE {
            let serial = self.lock.with(|slabs| {
                let slot = slabs.slots.get(index as usize).filter(|slot| slot.live);
                slot.map(|slot| slot.shape.serial).ok_or(SlabError::NoSuchCache)
            })?;
            return self.free(cpu, CacheId { index, serial }, at);
        }
        if !at.0.is_multiple_of(PAGE_SIZE) {
            return Err(SlabError::NotAnObject);
        }
        // Under the lock, so that of two frees of one block the second sees the first.
        let (pfn, order) = self.lock.with(|_| {
            let head = self.ground.frame_at(at.0);
            let info = self.ground.info(head);
            if info.cache() != Some(LARGE) {
                return Err(SlabError::DoubleFree);
            }
            self.ground.set_info(head, Info(0));
            let pfn = Pfn::new(self.ground.first.get() + head as u32);
            Ok((pfn, Order::of(info.free() as usize)))
        })?;
        self.ground.source.give(pfn, order);
        Ok(())
    }

    /// `ksize`: the bytes that may be used at `at`, at least those asked for. O(1).
    ///
    /// [`SlabError::Foreign`], [`SlabError::NoSuchCache`]. Whether an object is live
    /// there is not checked.
    pub fn ksize(&self, at: Virt) -> Result<u64, SlabError> {
        let (index, head) = self.ground.slab_of(at.0).ok_or(SlabError::Foreign)?;
        if let Some(size) = KMALLOC_SIZES.get(index as usize) {
            return Ok(u64::from(*size));
        }
        if index == LARGE {
            return Ok(Order::of(self.ground.info(head).free() as usize).bytes());
        }
        self.lock.with(|slabs| {
            let slot = slabs.slots.get(index as usize).filter(|slot| slot.live);
            slot.map(|slot| u64::from(slot.shape.object_size)).ok_or(SlabError::NoSuchCache)
        })
    }

    /// `krealloc`: the same place if it is large enough, else a new one with the old
    /// contents. O(bytes) when it moves.
    ///
    /// As [`kmalloc`](Self::kmalloc) and [`kfree`](Self::kfree); the old object is
    /// untouched then.
    pub fn krealloc(&self, cpu: &mut CpuSlab<'_>, at: Virt, size: u64) -> Result<Virt, SlabError> {
        let old = self.ksize(at)?;
        if size != 0 && size <= old {
            return Ok(at);
        }
        let to = self.kmalloc(cpu, size)?;
        for offset in (0..old).step_by(8) {
            self.ground.write(to.0 + offset, self.ground.read(at.0 + offset));
        }
        match self.kfree(cpu, at) {
            Ok(()) => Ok(to),
            Err(error) => {
                // What was given is no live object: the new one goes back.
                self.ground.write(to.0, 0);
                let _ = self.kfree(cpu, to);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class() {
        for size in 1..=8192_u64 {
            let class = class_of(size) as usize;
            assert!(u64::from(KMALLOC_SIZES[class]) >= size);
            assert!(class == 0 || u64::from(KMALLOC_SIZES[class - 1]) < size);
        }
    }
}
