//! The slab heap: caches made, used, emptied and destroyed.
//!
//! ```text
//!   alloc ─► front: pop ───────────────────────────────► object, free pointer wiped
//!               │ empty            half a front at once ▲
//!               └─► lock: partial slab, or a new one ───┘
//!   free  ─► cache? place? already free? ─► front: push (marked)   full: half back
//! ```

use crate::atomic::{AtomicU32, Relaxed};
use crate::error::SlabError;
use crate::frame::{DirectMap, Pfn, Virt};
use crate::lock::Lock;
use crate::slab::front::{CpuSlab, Front};
use crate::slab::ground::{Ground, IN_FRONT, Memory, SlabFrame, Source};
use crate::slab::shape::CacheSpec;
use crate::slab::store::{CacheSlot, Slabs};
use core::marker::PhantomData;

/// A cache, as its maker holds it. Of a destroyed cache, every use is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheId {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// What a slab heap is built from.
pub struct Parts<'m, M, P> {
    /// Access to the objects' memory.
    pub memory: M,
    /// Where frames come from.
    pub source: P,
    /// A word of books for each frame of the span, from `first` on.
    pub frames: &'m [SlabFrame],
    /// The first frame of the span.
    pub first: Pfn,
    /// Where frames can be touched.
    pub direct: DirectMap,
    /// Random bits that harden the free pointers.
    pub secret: u64,
    /// Processors, for the size of slabs.
    pub cpus: u32,
}

/// Slabs behind a lock, and what all fronts share.
pub struct SlabHeap<'m, M, P, L> {
    pub(crate) ground: Ground<'m, M, P>,
    pub(crate) lock: L,
    /// Moves on whenever a cache is destroyed.
    epoch: AtomicU32,
    /// The same, for the short way of a free; with exact frees no front's.
    quick: AtomicU32,
    exact: bool,
    slabs: PhantomData<Slabs<'m>>,
}

impl<'m, M: Memory, P: Source, L: Lock<Slabs<'m>>> SlabHeap<'m, M, P, L> {
    /// A heap with the kmalloc caches, which take no frames yet. O(classes).
    ///
    /// [`SlabError::TooManyCaches`] with fewer than 13 slots;
    /// [`SlabError::BadLayout`] if the direct map does not reach `first`.
    pub fn new(
        parts: Parts<'m, M, P>,
        slots: &'m mut [CacheSlot],
        lock: impl FnOnce(Slabs<'m>) -> L,
    ) -> Result<Self, SlabError> {
        let Parts { memory, source, frames, first, direct, secret, cpus } = parts;
        let start = direct.frame_to_virt(first).ok_or(SlabError::BadLayout)?.0;
        let ground = Ground { memory, source, frames, start, first, secret, cpus };
        let mut slabs = Slabs::new(slots);
        Self::create_classes(&mut slabs, cpus)?;
        let (epoch, quick, exact) = (AtomicU32::new(1), AtomicU32::new(1), false);
        let slabs_of = PhantomData;
        Ok(Self { ground, lock: lock(slabs), epoch, quick, exact, slabs: slabs_of })
    }

    /// From now on, of two CPUs that free one object at the same moment, one is
    /// refused: the mark is made by [`Memory::exchange`], for about a nanosecond a free.
    /// Without it both may pass. Caches in debug mode check under the lock, and are exact
    /// anyway.
    pub fn with_exact_frees(mut self) -> Self {
        self.quick = AtomicU32::new(0);
        self.exact = true;
        self
    }

    /// `kmem_cache_create`. O(caches); takes no frames yet.
    ///
    /// [`SlabError::BadLayout`], [`SlabError::TooManyCaches`].
    pub fn create(&self, spec: &CacheSpec) -> Result<CacheId, SlabError> {
        let (index, serial) = self.lock.with(|slabs| slabs.create(spec, self.ground.cpus))?;
        Ok(CacheId { index, serial })
    }

    /// `kmem_cache_destroy`: gives all its slabs back. Drain every CPU's fronts
    /// before. O(partial slabs).
    ///
    /// [`SlabError::Busy`] with objects out, those in fronts too: then nothing but
    /// the empty slabs has gone. [`SlabError::NoSuchCache`].
    pub fn destroy(&self, id: CacheId) -> Result<(), SlabError> {
        if id.is_class() {
            return Err(SlabError::Busy(0));
        }
        self.lock.with(|slabs| {
            let cache = slabs.cache(id.index, id.serial)?;
            cache.shrink(&self.ground);
            if cache.slabs != 0 {
                return Err(SlabError::Busy(cache.used));
            }
            cache.live = false;
            self.epoch.fetch_add(1, Relaxed);
            if !self.exact {
                self.quick.fetch_add(1, Relaxed);
            }
            Ok(())
        })
    }

    /// `kmem_cache_shrink`: gives all empty slabs back; how many those were. Objects
    /// in fronts keep theirs. O(partial slabs). [`SlabError::NoSuchCache`].
    pub fn shrink(&self, id: CacheId) -> Result<u32, SlabError> {
        self.lock.with(|slabs| Ok(slabs.cache(id.index, id.serial)?.shrink(&self.ground)))
    }

    /// The same for all kmalloc caches. O(partial slabs).
    pub fn shrink_kmalloc(&self) -> u32 {
        CacheId::classes().map(|id| self.shrink(id).unwrap_or(0)).sum()
    }

    /// `kmem_cache_alloc`. O(1) from the front, O(capacity) when it refills, O(objects
    /// of a slab) when a slab is made.
    ///
    /// [`SlabError::OutOfMemory`], [`SlabError::NoSuchCache`]; [`SlabError::Corrupt`]
    /// and in debug mode [`SlabError::RedZone`] if a free object was written to: its
    /// slab's other free objects are given up, the next call goes on.
    #[inline]
    pub fn alloc(&self, cpu: &mut CpuSlab<'_>, id: CacheId) -> Result<Virt, SlabError> {
        if let Some(front) = cpu.fronts.get_mut(id.index as usize)
            && front.shape.serial == id.serial
        {
            // While it holds an object, the cache cannot have been destroyed.
            if let Some((addr, spot)) = front.warm.take() {
                self.ground.write(spot, 0);
                return Ok(Virt(addr));
            }
            if let Some(addr) = front.pop() {
                self.ground.write(addr + u64::from(front.shape.free_at), 0);
                return Ok(Virt(addr));
            }
        }
        self.alloc_slow(cpu, id).map(Virt)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, cpu: &mut CpuSlab<'_>, id: CacheId) -> Result<u64, SlabError> {
        self.lock.with(|slabs| {
            let cache = slabs.cache(id.index, id.serial)?;
            let front = cpu.fronts.get_mut(id.index as usize).filter(|_| !cache.shape.debug);
            let Some(front) = front else {
                return cache.take(id.index, &self.ground);
            };
            self.refresh(front, cache);
            let first = cache.take(id.index, &self.ground)?;
            for _ in 0..front.shape.limit / 2 {
                // Whatever ends the refill, the caller has its object.
                let Ok(addr) = cache.take(id.index, &self.ground) else { break };
                self.mark(front, addr);
                front.push(addr);
            }
            Ok(first)
        })
    }

    /// `kmem_cache_free`, on any CPU. O(1); O(capacity) when the front is full.
    ///
    /// [`SlabError::Foreign`], [`SlabError::WrongCache`], [`SlabError::NotAnObject`],
    /// [`SlabError::DoubleFree`], [`SlabError::NoSuchCache`], in debug mode
    /// [`SlabError::RedZone`] and [`SlabError::Corrupt`]; nothing has changed then.
    #[inline]
    pub fn free(&self, cpu: &mut CpuSlab<'_>, id: CacheId, at: Virt) -> Result<(), SlabError> {
        if let Some(front) = cpu.fronts.get_mut(id.index as usize)
            && front.shape.serial == id.serial
            && self.free_here(front, id.index, at)
        {
            return Ok(());
        }
        self.free_another(cpu, id, at)
    }

    /// Takes back an object of this cache into its front: the warm one, or one for the stack;
    /// `false` if that is not all there is to it.
    #[inline(always)]
    pub(super) fn free_here(&self, front: &mut Front, cache: u32, at: Virt) -> bool {
        if front.epoch != self.quick.load(Relaxed) {
            return false;
        }
        if self.ground.keep(&mut front.warm, &front.shape, at.0) {
            return true;
        }
        let kept = front.warm.is_here()
            && self.ground.is_live(cache, &front.shape, at.0, self.ground.info_at(at.0))
            && front.push(at.0);
        if kept {
            self.mark(front, at.0);
        }
        kept
    }

    /// The same where the object may become the warm one, or be refused.
    #[inline(never)]
    pub(super) fn free_another(
        &self,
        cpu: &mut CpuSlab<'_>,
        id: CacheId,
        at: Virt,
    ) -> Result<(), SlabError> {
        let found = self.ground.info_at(at.0);
        if let Some(front) = cpu.fronts.get_mut(id.index as usize)
            && front.shape.serial == id.serial
            && front.epoch == self.quick.load(Relaxed)
            && !front.warm.is_here()
            && self.ground.is_live(id.index, &front.shape, at.0, found)
        {
            self.ground.keep_another(&mut front.warm, &front.shape, at.0, found);
            return Ok(());
        }
        self.free_slow(cpu, id, at)
    }

    /// The short way with exact frees; `false` if it takes the lock.
    fn free_exact(&self, cpu: &mut CpuSlab<'_>, id: CacheId, at: Virt) -> bool {
        let (info, frame) = self.ground.info_at(at.0);
        let Some(front) = cpu.fronts.get_mut(id.index as usize) else { return false };
        let known = front.shape.serial == id.serial && front.epoch == self.epoch.load(Relaxed);
        let base = self.ground.addr_of(frame.wrapping_sub(info.offset() as usize));
        known
            && info.is_of(id.index)
            && front.shape.is_object(base, at.0)
            && front.has_room()
            && self.ground.claim(base, &front.shape, at.0)
            && front.push(at.0)
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, cpu: &mut CpuSlab<'_>, id: CacheId, at: Virt) -> Result<(), SlabError> {
        if self.exact && self.free_exact(cpu, id, at) {
            return Ok(());
        }
        self.lock.with(|slabs| {
            let cache = slabs.cache(id.index, id.serial)?;
            let head = self.ground.check_free(id.index, &cache.shape, at.0)?;
            if cache.shape.debug {
                self.ground.check_red(&cache.shape, at.0, true)?;
            } else if self.exact
                && !self.ground.claim(self.ground.addr_of(head), &cache.shape, at.0)
            {
                return Err(SlabError::DoubleFree);
            }
            let front = cpu.fronts.get_mut(id.index as usize).filter(|_| !cache.shape.debug);
            let Some(front) = front else {
                cache.give(&self.ground, head, at.0);
                return Ok(());
            };
            self.refresh(front, cache);
            if front.len >= front.shape.limit {
                self.flush(front, cache, front.shape.limit / 2);
            }
            if front.push(at.0) {
                self.mark(front, at.0);
            } else {
                cache.give(&self.ground, head, at.0);
            }
            Ok(())
        })
    }

    /// Marks an object as waiting in a front.
    #[inline]
    fn mark(&self, front: &Front, addr: u64) {
        let at = addr + u64::from(front.shape.free_at);
        self.ground.write(at, self.ground.harden(at, IN_FRONT));
    }

    /// Makes a front the cache's. One of a destroyed cache is empty: destroying
    /// would have been refused.
    fn refresh(&self, front: &mut Front, cache: &CacheSlot) {
        if front.shape.serial != cache.shape.serial {
            *front = Front { shape: cache.shape, ..Front::new() };
        }
        front.epoch = self.epoch.load(Relaxed);
    }

    /// Gives the oldest `count` objects back.
    fn flush(&self, front: &mut Front, cache: &mut CacheSlot, count: u32) {
        let count = count.min(front.len) as usize;
        for addr in &front.objects[..count] {
            self.give_home(cache, *addr);
        }
        front.objects.copy_within(count..front.len as usize, 0);
        front.len -= count as u32;
    }

    fn give_home(&self, cache: &mut CacheSlot, addr: u64) {
        if let Some((_, head)) = self.ground.slab_of(addr) {
            cache.give(&self.ground, head, addr);
        }
    }

    /// Empties a CPU's fronts: before a cache is shrunk to the last or destroyed, and
    /// when the CPU goes away. O(objects in the fronts).
    pub fn drain(&self, cpu: &mut CpuSlab<'_>) {
        self.lock.with(|slabs| {
            for (front, cache) in cpu.fronts.iter_mut().zip(slabs.slots.iter_mut()) {
                if cache.live && front.shape.serial == cache.shape.serial {
                    self.flush(front, cache, front.len);
                    if let Some((addr, _)) = front.warm.take() {
                        self.give_home(cache, addr);
                    }
                }
                *front = Front::new();
            }
        });
    }

    /// Objects of a cache that are out, those in fronts too. O(1). [`SlabError::NoSuchCache`].
    pub fn in_use(&self, id: CacheId) -> Result<u32, SlabError> {
        self.lock.with(|slabs| Ok(slabs.cache(id.index, id.serial)?.used))
    }

    /// The bytes of a cache's objects that may be used. O(1). [`SlabError::NoSuchCache`].
    pub fn object_size(&self, id: CacheId) -> Result<u32, SlabError> {
        self.lock.with(|slabs| Ok(slabs.cache(id.index, id.serial)?.shape.object_size))
    }

    /// The memory it works on.
    pub const fn memory(&self) -> &M {
        &self.ground.memory
    }

    /// The caches, under the lock: for figures ([`SlabInfo`](super::SlabInfo)).
    pub fn slabs<R>(&self, work: impl FnOnce(&Slabs<'m>) -> R) -> R {
        self.lock.with(|slabs| work(slabs))
    }
}
