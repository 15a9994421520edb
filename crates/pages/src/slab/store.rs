//! The caches' slabs, behind the lock.
//!
//! ```text
//!   cache ─► partial: slab ⇄ slab ⇄ slab     some free; the head gives
//!            full slabs are in no list        the first free brings them back
//!            empty ones stay at the tail, up to min_partial, then go back
//! ```
//! The links are frame indices in the [`SlabFrame`](super::SlabFrame) of each
//! slab's first frame.

use crate::atomic::Relaxed;
use crate::error::SlabError;
use crate::slab::ground::{Ground, Info, Memory, NONE, Source};
use crate::slab::shape::{CacheSpec, Constructor, Fresh, Shape};

/// End of a list.
const NIL: u32 = u32::MAX;

/// A place for a cache's books, from the caller.
#[derive(Clone, Copy)]
pub struct CacheSlot {
    pub(crate) live: bool,
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    constructor: Option<Constructor>,
    head: u32,
    tail: u32,
    pub(crate) partial: u32,
    pub(crate) slabs: u32,
    pub(crate) used: u32,
    pub(crate) min_partial: u32,
}

impl CacheSlot {
    /// A free place.
    pub const fn new() -> Self {
        Self {
            live: false,
            name: "",
            shape: super::front::Front::new().shape,
            constructor: None,
            head: NIL,
            tail: NIL,
            partial: 0,
            slabs: 0,
            used: 0,
            min_partial: 0,
        }
    }
}

impl Default for CacheSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// All caches: what the caller's lock protects.
pub struct Slabs<'m> {
    pub(crate) slots: &'m mut [CacheSlot],
    serial: u32,
}

impl<'m> Slabs<'m> {
    /// No caches yet; at most as many as `slots`, and at most 254.
    pub fn new(slots: &'m mut [CacheSlot]) -> Self {
        let count = slots.len().min(super::ground::LARGE as usize);
        let slots = &mut slots[..count];
        slots.fill(CacheSlot::new());
        Self { slots, serial: 0 }
    }

    pub(crate) fn create(&mut self, spec: &CacheSpec, cpus: u32) -> Result<(u32, u32), SlabError> {
        let serial = self.serial + 1;
        let shape = Shape::of(spec, cpus, serial)?;
        let free = self.slots.iter().position(|slot| !slot.live);
        let index = free.ok_or(SlabError::TooManyCaches)?;
        self.serial = serial;
        self.slots[index] = CacheSlot {
            live: true,
            name: spec.name,
            shape,
            constructor: spec.constructor,
            min_partial: (shape.stride.ilog2() / 2).clamp(5, 10),
            ..CacheSlot::new()
        };
        Ok((index as u32, serial))
    }

    /// The cache of this number, if it is still the one of this serial.
    pub(crate) fn cache(&mut self, index: u32, serial: u32) -> Result<&mut CacheSlot, SlabError> {
        match self.slots.get_mut(index as usize) {
            Some(slot) if slot.live && slot.shape.serial == serial => Ok(slot),
            _ => Err(SlabError::NoSuchCache),
        }
    }
}

impl CacheSlot {
    /// Takes an object: from the first partial slab, else from a new one.
    /// O(1); O(objects of a slab) for a new slab.
    pub(crate) fn take<M: Memory, P: Source>(
        &mut self,
        index: u32,
        ground: &Ground<'_, M, P>,
    ) -> Result<u64, SlabError> {
        if self.head == NIL {
            self.grow(index, ground)?;
        }
        let head = self.head as usize;
        let (base, info) = (ground.addr_of(head), ground.info(head));
        let addr = self.shape.object(base, info.free());
        let at = addr + u64::from(self.shape.free_at);
        let next = match ground.harden(at, ground.read(at)) {
            0 => Some(NONE),
            next => self.shape.nth(base, next),
        };
        let sound = match next {
            None => Err(SlabError::Corrupt),
            Some(_) if self.shape.debug => ground.check_poison(&self.shape, addr),
            Some(_) => Ok(()),
        };
        if let Err(error) = sound {
            // Give up what is left of the list, as Linux does: all of it in use.
            self.used += self.shape.objects - info.used();
            let lost = info.with_free(NONE).with_used(self.shape.objects);
            ground.set_info(head, lost);
            self.unlink(ground, head);
            return Err(error);
        }
        let free = next.unwrap_or(NONE);
        ground.set_info(head, info.with_free(free).with_used(info.used() + 1));
        self.used += 1;
        if free == NONE {
            self.unlink(ground, head);
        }
        ground.write(at, 0);
        if self.shape.debug {
            ground.paint(&self.shape, addr, true);
        }
        Ok(addr)
    }

    /// Takes an object back, checked before. O(1), plus a block's free.
    pub(crate) fn give<M: Memory, P: Source>(
        &mut self,
        ground: &Ground<'_, M, P>,
        head: usize,
        addr: u64,
    ) {
        let (base, info) = (ground.addr_of(head), ground.info(head));
        let Some(nth) = self.shape.nth(base, addr) else { return };
        if self.shape.debug {
            ground.paint(&self.shape, addr, false);
        }
        let next = if info.free() == NONE { 0 } else { self.shape.object(base, info.free()) };
        let at = addr + u64::from(self.shape.free_at);
        ground.write(at, ground.harden(at, next));
        let used = info.used() - 1;
        ground.set_info(head, info.with_free(nth).with_used(used));
        self.used -= 1;
        if !info.listed() {
            self.link(ground, head);
        } else if used == 0 {
            self.unlink(ground, head);
            self.link(ground, head);
        }
        if used == 0 && self.partial > self.min_partial {
            self.unlink(ground, head);
            self.discard(ground, head);
        }
    }

    /// A new slab, all free, first in the list.
    #[cold]
    fn grow<M: Memory, P: Source>(
        &mut self,
        index: u32,
        ground: &Ground<'_, M, P>,
    ) -> Result<(), SlabError> {
        let order = self.shape.slab_order();
        let pfn = ground.source.take(order).ok_or(SlabError::OutOfMemory)?;
        let head = pfn.get().wrapping_sub(ground.first.get()) as usize;
        if head + order.frames() as usize > ground.frames.len() {
            ground.source.give(pfn, order);
            return Err(SlabError::OutOfMemory);
        }
        let base = ground.addr_of(head);
        let shape = &self.shape;
        for nth in 0..shape.objects {
            let addr = shape.object(base, nth);
            if let Some(constructor) = self.constructor {
                let write = |spot, value| ground.memory.write(spot, value);
                let words = shape.object_size / 8;
                constructor(&mut Fresh { at: addr, words, write: &write });
            }
            if shape.debug {
                ground.paint(shape, addr, false);
            }
            let last = nth + 1 == shape.objects;
            let next = if last { 0 } else { shape.object(base, nth + 1) };
            let at = addr + u64::from(shape.free_at);
            ground.write(at, ground.harden(at, next));
        }
        // Only slabs of up to 8 frames hold more than one object past their first
        // frames; in a larger one, frames beyond the eighth hold no object's start.
        for offset in 0..order.frames().min(8) {
            ground.set_info(head + offset as usize, Info::new(index, offset, NONE, 0, false));
        }
        ground.set_info(head, Info::new(index, 0, 0, 0, false));
        self.link(ground, head);
        self.slabs += 1;
        Ok(())
    }

    /// Gives an empty slab's frames back.
    fn discard<M: Memory, P: Source>(&mut self, ground: &Ground<'_, M, P>, head: usize) {
        let order = self.shape.slab_order();
        for offset in 0..order.frames().min(8) as usize {
            ground.set_info(head + offset, Info(0));
        }
        self.slabs -= 1;
        let pfn = crate::frame::Pfn::new(ground.first.get() + head as u32);
        ground.source.give(pfn, order);
    }

    /// Gives all empty slabs back and puts the fullest first, so that the others
    /// can empty (Linux's shrink). How many went. O(partial slabs).
    pub(crate) fn shrink<M: Memory, P: Source>(&mut self, ground: &Ground<'_, M, P>) -> u32 {
        let (mut at, mut gone) = (self.head, 0);
        let last = self.tail;
        while at != NIL {
            let slab = at as usize;
            let done = at == last;
            at = ground.frames[slab].next.load(Relaxed);
            let used = ground.info(slab).used();
            if used == 0 {
                self.unlink(ground, slab);
                self.discard(ground, slab);
                gone += 1;
            } else if used <= self.shape.objects / 2 {
                self.unlink(ground, slab);
                self.link(ground, slab);
            }
            if done {
                break;
            }
        }
        gone
    }

    /// Adds a slab at the tail.
    fn link<M, P>(&mut self, ground: &Ground<'_, M, P>, slab: usize)
    where
        M: Memory,
    {
        let frame = &ground.frames[slab];
        frame.next.store(NIL, Relaxed);
        frame.prev.store(self.tail, Relaxed);
        match ground.frames.get(self.tail as usize) {
            Some(last) if self.tail != NIL => last.next.store(slab as u32, Relaxed),
            _ => self.head = slab as u32,
        }
        self.tail = slab as u32;
        self.partial += 1;
        ground.set_info(slab, ground.info(slab).with_listed(true));
    }

    fn unlink<M: Memory, P>(&mut self, ground: &Ground<'_, M, P>, slab: usize) {
        let frame = &ground.frames[slab];
        let (next, prev) = (frame.next.load(Relaxed), frame.prev.load(Relaxed));
        match ground.frames.get(prev as usize) {
            Some(frame) if prev != NIL => frame.next.store(next, Relaxed),
            _ => self.head = next,
        }
        match ground.frames.get(next as usize) {
            Some(frame) if next != NIL => frame.prev.store(prev, Relaxed),
            _ => self.tail = prev,
        }
        self.partial -= 1;
        ground.set_info(slab, ground.info(slab).with_listed(false));
    }
}
