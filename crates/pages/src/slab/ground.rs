//! What slabs stand on: object memory, frames, and a word for each frame.
//!
//! ```text
//!   info   31      24 23  21 20    11 10      1  0
//!          cache + 1  offset  free    in use    listed      free 1023: none
//!   free pointer   next ^ secret ^ swab(where it is stored)   (Linux, hardened)
//! ```
//! Cache and offset stand still while an object of the slab is out, so a front may
//! read them without the lock.

use crate::atomic::{AtomicU32, Relaxed};
use crate::error::SlabError;
use crate::frame::{Order, PAGE_SHIFT, Pfn};
use crate::slab::shape::Shape;

pub use crate::raw::{Memory, Spot};

/// Where slabs get their frames.
pub trait Source {
    /// A block of frames, within the slab heap's span; `None` if there is none.
    fn take(&self, order: Order) -> Option<Pfn>;
    /// Takes such a block back.
    fn give(&self, pfn: Pfn, order: Order);
}

/// A frame's part in a slab: 12 bytes, from the caller.
#[derive(Default)]
pub struct SlabFrame {
    pub(crate) info: AtomicU32,
    pub(crate) next: AtomicU32,
    pub(crate) prev: AtomicU32,
}

impl SlabFrame {
    /// Part of no slab.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { info: AtomicU32::new(0), next: AtomicU32::new(0), prev: AtomicU32::new(0) }
    }
}

/// No free object; no next slab.
pub(crate) const NONE: u32 = 1023;
/// The free pointer of an object that waits in a front.
pub(crate) const IN_FRONT: u64 = 1;
/// The cache number of blocks of whole pages; their order is in the free field.
pub(crate) const LARGE: u32 = 254;

/// The info word, taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Info(pub(crate) u32);

impl Info {
    pub(crate) const fn new(cache: u32, offset: u32, free: u32, used: u32, listed: bool) -> Self {
        Self((cache + 1) << 24 | offset << 21 | free << 11 | used << 1 | listed as u32)
    }

    /// `None`: no slab's frame.
    #[inline]
    pub(crate) const fn cache(self) -> Option<u32> {
        (self.0 >> 24).checked_sub(1)
    }

    /// Whether it is of a slab of this cache.
    #[inline]
    pub(crate) const fn is_of(self, cache: u32) -> bool {
        self.0 >> 24 == cache + 1
    }

    /// Cache and place in the slab: what stands still while an object is out. 0: no slab's frame.
    #[inline]
    pub(crate) const fn origin(self) -> u32 {
        self.0 >> 21
    }

    #[inline]
    pub(crate) const fn offset(self) -> u32 {
        self.0 >> 21 & 7
    }

    pub(crate) const fn free(self) -> u32 {
        self.0 >> 11 & 1023
    }

    pub(crate) const fn used(self) -> u32 {
        self.0 >> 1 & 1023
    }

    pub(crate) const fn listed(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) const fn with_free(self, free: u32) -> Self {
        Self(self.0 & !(1023 << 11) | free << 11)
    }

    pub(crate) const fn with_used(self, used: u32) -> Self {
        Self(self.0 & !(1023 << 1) | used << 1)
    }

    pub(crate) const fn with_listed(self, listed: bool) -> Self {
        Self(self.0 & !1 | listed as u32)
    }
}

/// The ground itself; shared by all CPUs.
pub(crate) struct Ground<'m, M, P> {
    pub(crate) memory: M,
    pub(crate) source: P,
    pub(crate) frames: &'m [SlabFrame],
    /// The address of the first of `frames`.
    pub(crate) start: u64,
    pub(crate) first: Pfn,
    pub(crate) secret: u64,
    pub(crate) cpus: u32,
}

impl<M: Memory, P> Ground<'_, M, P> {
    #[inline]
    pub(crate) fn read(&self, addr: u64) -> u64 {
        self.memory.read(Spot(addr))
    }

    #[inline]
    pub(crate) fn write(&self, addr: u64, value: u64) {
        self.memory.write(Spot(addr), value);
    }

    /// Hides or shows a free pointer stored at `at`.
    #[inline]
    pub(crate) const fn harden(&self, at: u64, value: u64) -> u64 {
        value ^ self.secret ^ at.swap_bytes()
    }

    /// The frame of an address, as an index.
    #[inline]
    pub(crate) const fn frame_at(&self, addr: u64) -> usize {
        (addr.wrapping_sub(self.start) >> PAGE_SHIFT) as usize
    }

    #[inline]
    pub(crate) const fn addr_of(&self, frame: usize) -> u64 {
        self.start + ((frame as u64) << PAGE_SHIFT)
    }

    #[inline]
    pub(crate) fn info(&self, frame: usize) -> Info {
        self.frames.get(frame).map_or(Info(0), |frame| Info(frame.info.load(Relaxed)))
    }

    pub(crate) fn set_info(&self, frame: usize, info: Info) {
        if let Some(frame) = self.frames.get(frame) {
            frame.info.store(info.0, Relaxed);
        }
    }

    /// The frame of an address, and its word.
    #[inline]
    pub(crate) fn info_at(&self, addr: u64) -> (Info, usize) {
        let frame = self.frame_at(addr);
        (self.info(frame), frame)
    }

    /// The slab that an address belongs to: its head frame, and the address there.
    #[inline]
    pub(crate) fn slab_of(&self, addr: u64) -> Option<(u32, usize)> {
        let frame = self.frame_at(addr);
        let info = self.info(frame);
        Some((info.cache()?, frame.wrapping_sub(info.offset() as usize)))
    }

    /// Whether the object's free pointer says that it is free: it waits in a front,
    /// ends a list, or points at an object of its slab. A live object passes for
    /// free with a chance of 2^-49.
    #[inline]
    pub(crate) fn looks_free(&self, base: u64, addr: u64, shape: &Shape) -> bool {
        let at = addr + u64::from(shape.free_at);
        let value = self.harden(at, self.read(at));
        value <= IN_FRONT || value.wrapping_sub(base) < shape.bytes()
    }

    /// Whether a live object of this cache starts at `addr`, of which the frame's
    /// word has been read.
    #[inline(always)]
    pub(crate) fn is_live(&self, cache: u32, shape: &Shape, addr: u64, of: (Info, usize)) -> bool {
        let (info, frame) = of;
        let base = self.addr_of(frame.wrapping_sub(info.offset() as usize));
        info.is_of(cache) && shape.is_object(base, addr) && !self.looks_free(base, addr, shape)
    }

    /// Marks a live object as waiting in a front, unless another CPU has marked it.
    pub(crate) fn claim(&self, base: u64, shape: &Shape, addr: u64) -> bool {
        let at = addr + u64::from(shape.free_at);
        let value = self.read(at);
        let shown = self.harden(at, value);
        let live = shown > IN_FRONT && shown.wrapping_sub(base) >= shape.bytes();
        live && self.memory.exchange(Spot(at), value, self.harden(at, IN_FRONT))
    }

    /// Checks a free from top to bottom: cache, place, state. The slab's head frame.
    pub(crate) fn check_free(
        &self,
        cache: u32,
        shape: &Shape,
        addr: u64,
    ) -> Result<usize, SlabError> {
        let Some((owner, head)) = self.slab_of(addr) else { return Err(SlabError::Foreign) };
        if owner != cache {
            return Err(SlabError::WrongCache);
        }
        let base = self.addr_of(head);
        if !shape.is_object(base, addr) {
            return Err(SlabError::NotAnObject);
        }
        if self.looks_free(base, addr, shape) {
            return Err(SlabError::DoubleFree);
        }
        Ok(head)
    }
}
