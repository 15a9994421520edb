//! The kernel's own objects, in slabs: what `/proc/slabinfo` shows.
//!
//! ```text
//!   process ─► task_struct, mm_struct      VMA ─► vm_area_struct      kmalloc for scripts
//! ```
//! A VMA's node itself lives in the pool that the VMA tree was lent; its
//! `vm_area_struct` stands for the memory that Linux takes for it.

use crate::ram::Ram;
use crate::source::{KernelSource, Shared};
use heapwise_pages::raw::Direct;
use heapwise_pages::slab::{
    CacheId, CacheSlot, CacheSpec, CpuSlab, Front, Parts, SlabFrame, SlabHeap, Slabs,
};
use heapwise_pages::{DirectMap, Phys, SlabError, Virt};
use std::cell::RefCell;

/// The slab heap of a machine.
type Heap<'m> = SlabHeap<'m, Direct, KernelSource<'m>, RefCell<Slabs<'m>>>;

/// Caches that a kernel may make.
pub const CACHES: usize = 32;

/// Sizes as of Linux 6.x on x86-64, rounded.
const TASK_BYTES: u32 = 4096;
const MM_BYTES: u32 = 1408;
const VMA_BYTES: u32 = 192;

/// All of a machine's caches.
pub struct Objects<'m> {
    heap: Heap<'m>,
    fronts: RefCell<Vec<[Front; CACHES]>>,
    shared: &'m Shared<'m>,
    task: CacheId,
    mm: CacheId,
    vma: CacheId,
}

/// A process's objects.
#[derive(Default, Debug)]
pub struct Held {
    task: Option<Virt>,
    mm: Option<Virt>,
    vmas: Vec<Virt>,
}

impl<'m> Objects<'m> {
    pub(crate) fn new(
        ram: &'m Ram,
        shared: &'m Shared<'m>,
        frames: &'m [SlabFrame],
        slots: &'m mut [CacheSlot],
        secret: u64,
    ) -> Result<Self, SlabError> {
        let cpus = shared.fronts.borrow().len();
        let end = Phys(frames.len() as u64 * heapwise_pages::PAGE_SIZE);
        let parts = Parts {
            // SAFETY: every frame is mapped by the direct map of `ram`, which outlives
            // the heap; the frames that slabs take are nobody else's.
            memory: unsafe { Direct::new() },
            source: KernelSource(shared),
            frames,
            first: heapwise_pages::Pfn::new(0),
            direct: DirectMap::new(ram.base() as u64, end).ok_or(SlabError::BadLayout)?,
            secret,
            cpus: cpus as u32,
        };
        let heap = SlabHeap::new(parts, slots, RefCell::new)?;
        let task = heap.create(&CacheSpec::new("task_struct", TASK_BYTES))?;
        let mm = heap.create(&CacheSpec::new("mm_struct", MM_BYTES))?;
        let vma = heap.create(&CacheSpec::new("vm_area_struct", VMA_BYTES))?;
        let fronts = RefCell::new((0..cpus).map(|_| [Front::new(); CACHES]).collect());
        Ok(Self { heap, fronts, shared, task, mm, vma })
    }

    fn on_cpu<R>(&self, work: impl FnOnce(&Heap<'m>, &mut CpuSlab<'_>) -> R) -> R {
        let mut fronts = self.fronts.borrow_mut();
        work(&self.heap, &mut CpuSlab::new(&mut fronts[self.shared.cpu.get()]))
    }

    /// The objects of a new process.
    pub(crate) fn admit(&self) -> Result<Held, SlabError> {
        self.on_cpu(|heap, cpu| {
            let task = heap.alloc(cpu, self.task)?;
            match heap.alloc(cpu, self.mm) {
                Ok(mm) => Ok(Held { task: Some(task), mm: Some(mm), vmas: Vec::new() }),
                Err(error) => {
                    heap.free(cpu, self.task, task)?;
                    Err(error)
                }
            }
        })
    }

    /// As many `vm_area_struct`s as there are VMAs; stops where memory ends.
    pub(crate) fn follow(&self, held: &mut Held, vmas: usize) {
        if held.vmas.len() == vmas {
            return;
        }
        self.on_cpu(|heap, cpu| {
            while held.vmas.len() > vmas {
                let Some(at) = held.vmas.pop() else { break };
                heap.free(cpu, self.vma, at).expect("a VMA's object was out");
            }
            while held.vmas.len() < vmas {
                let Ok(at) = heap.alloc(cpu, self.vma) else { break };
                held.vmas.push(at);
            }
        });
    }

    /// A process's objects go back.
    pub(crate) fn dismiss(&self, mut held: Held) {
        self.follow(&mut held, 0);
        self.on_cpu(|heap, cpu| {
            for (cache, at) in [(self.task, held.task), (self.mm, held.mm)] {
                if let Some(at) = at {
                    heap.free(cpu, cache, at).expect("a process's object was out");
                }
            }
        });
    }

    pub(crate) fn kmalloc(&self, bytes: u64) -> Result<Virt, SlabError> {
        self.on_cpu(|heap, cpu| heap.kmalloc(cpu, bytes))
    }

    pub(crate) fn kfree(&self, at: Virt) -> Result<(), SlabError> {
        self.on_cpu(|heap, cpu| heap.kfree(cpu, at))
    }

    /// What `kmalloc` gave for an object.
    ///
    /// # Errors
    /// Not one of its objects.
    pub fn ksize(&self, at: Virt) -> Result<u64, SlabError> {
        self.heap.ksize(at)
    }

    /// Bytes of a cache's objects.
    ///
    /// # Errors
    /// No such cache.
    pub fn object_size(&self, cache: CacheId) -> Result<u32, SlabError> {
        self.heap.object_size(cache)
    }

    /// `kmem_cache_create`. O(caches).
    ///
    /// # Errors
    /// Too many caches, or a size that does not fit.
    pub fn create(&self, spec: &CacheSpec) -> Result<CacheId, SlabError> {
        self.heap.create(spec)
    }

    pub(crate) fn alloc(&self, cache: CacheId) -> Result<Virt, SlabError> {
        self.on_cpu(|heap, cpu| heap.alloc(cpu, cache))
    }

    pub(crate) fn free(&self, cache: CacheId, at: Virt) -> Result<(), SlabError> {
        self.on_cpu(|heap, cpu| heap.free(cpu, cache, at))
    }

    /// Gives empty slabs back, the processors' ready objects first. O(partial slabs).
    pub fn shrink(&self) {
        let mut fronts = self.fronts.borrow_mut();
        for cpu in fronts.iter_mut() {
            self.heap.drain(&mut CpuSlab::new(cpu));
        }
        self.heap.shrink_kmalloc();
        for cache in [self.task, self.mm, self.vma] {
            let _ = self.heap.shrink(cache);
        }
    }

    /// The caches, for `slabinfo`.
    pub fn slabs<R>(&self, work: impl FnOnce(&Slabs<'m>) -> R) -> R {
        self.heap.slabs(work)
    }
}
