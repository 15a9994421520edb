//! The face towards pointers: typed caches and the global allocator, over real
//! memory, from several threads.
#![allow(missing_docs)]

mod common;

use common::machine;
use heapwise_pages::raw::{Cache, CurrentCpu, Direct, KernelAlloc, SpinLock};
use heapwise_pages::slab::{CacheSlot, CpuSlab, Front, Parts, SlabFrame, SlabHeap, Slabs, Source};
use heapwise_pages::*;
use heapwise_seed::Rng;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Machine = Pages<'static, SpinLock<Zones<'static>>>;

#[derive(Clone)]
struct Frames(Arc<Machine>);

impl Source for Frames {
    fn take(&self, order: Order) -> Option<Pfn> {
        let request = Request::KERNEL.urgent(Urgency::Exhaust);
        self.0.zones(|zones| zones.alloc(order, request)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.0.zones(|zones| zones.free(pfn, order)).unwrap();
    }
}

type Heap = SlabHeap<'static, Direct, Frames, SpinLock<Slabs<'static>>>;

fn heap(frames: u32) -> (Heap, Frames) {
    let source = Frames(Arc::new(Pages::new(machine(frames), SpinLock::new)));
    let ram = vec![0_u8; ((frames as usize) << 12) + (4 << 20)].leak();
    let offset = ram.as_mut_ptr().expose_provenance().next_multiple_of(4 << 20) as u64;
    let books: Vec<SlabFrame> = (0..frames).map(|_| SlabFrame::new()).collect();
    let parts = Parts {
        // SAFETY: the memory is leaked, and only this heap's source gives it out.
        memory: unsafe { Direct::new() },
        source: source.clone(),
        frames: books.leak(),
        first: Pfn::new(0),
        direct: DirectMap::new(offset, Phys(u64::from(frames) << 12)).unwrap(),
        secret: 0xa076_1d64_78bd_642f,
        cpus: 4,
    };
    (SlabHeap::new(parts, vec![CacheSlot::new(); 16].leak(), SpinLock::new).unwrap(), source)
}

struct Counted<'c>(&'c AtomicUsize, [u64; 5]);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_typed_cache_drops_its_values() {
    let dropped = AtomicUsize::new(0);
    let (heap, _) = heap(1024);
    let cache: Cache<'_, '_, Counted<'_>, _, _, _> = Cache::new(&heap, "counted").unwrap();
    let mut fronts = [Front::new(); 16];
    let mut cpu = CpuSlab::new(&mut fronts);
    let mut objects = Vec::new();
    while let Ok(object) = cache.alloc(&mut cpu, Counted(&dropped, [7; 5])) {
        objects.push(object);
    }
    assert_eq!(dropped.load(Relaxed), 1, "the value that found no room came back");
    let count = objects.len();
    assert!(count > 1024 * 4096 / 64);
    for object in objects {
        // SAFETY: from this cache, live, and freed once.
        unsafe {
            assert_eq!(object.as_ref().1, [7; 5]);
            cache.free(&mut cpu, object).unwrap();
        }
    }
    assert_eq!(dropped.load(Relaxed), count + 1);
    assert!(Cache::<(), _, _, _>::new(&heap, "nothing").is_err());
}

thread_local! {
    static FRONTS: RefCell<Vec<Front>> = RefCell::new(vec![Front::new(); 14]);
}

struct ThisThread;

// SAFETY: the fronts are the thread's own, and the borrow is exclusive.
unsafe impl CurrentCpu for ThisThread {
    fn with<R>(&self, work: impl FnOnce(&mut CpuSlab<'_>) -> R) -> R {
        FRONTS.with_borrow_mut(|fronts| work(&mut CpuSlab::new(fronts)))
    }
}

/// Threads allocate with any layout, check alignment and contents, and free what
/// others allocated.
#[test]
fn a_global_allocator_serves_threads() {
    let (heap, frames) = heap(8192);
    let kernel = KernelAlloc::new(heap, ThisThread);
    let mailbox = std::sync::Mutex::new(Vec::<(usize, Layout, u8)>::new());
    let free = |(at, layout, stamp): (usize, Layout, u8)| {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(at);
        // SAFETY: allocated below with this layout, filled, and freed once.
        unsafe {
            assert_eq!(*at, stamp);
            assert_eq!(*at.add(layout.size() - 1), stamp);
            kernel.dealloc(at, layout);
        }
    };
    std::thread::scope(|scope| {
        for thread in 1..=3_u64 {
            let (kernel, mailbox, free) = (&kernel, &mailbox, &free);
            scope.spawn(move || {
                let mut random = Rng::new(thread);
                let mut live = Vec::new();
                for _ in 0..30_000 {
                    let (sizes, aligns) = (3 + random.index(12), random.index(14));
                    let size = 1 + random.index(1 << sizes);
                    let layout = Layout::from_size_align(size, 1 << aligns).unwrap();
                    // SAFETY: the size is not 0.
                    let at = unsafe { kernel.alloc(layout) };
                    if !at.is_null() {
                        assert_eq!(at.addr() % layout.align(), 0, "{layout:?}");
                        let stamp = random.word() as u8;
                        // SAFETY: `size` bytes are ours.
                        unsafe { at.write_bytes(stamp, size) };
                        live.push((at.expose_provenance(), layout, stamp));
                    }
                    if random.index(4) == 0
                        && let Some((at, layout, stamp)) = live.pop()
                    {
                        let old = std::ptr::with_exposed_provenance_mut::<u8>(at);
                        let size = 1 + random.index(1 << sizes);
                        // SAFETY: allocated above with this layout; the size is not 0.
                        let new = unsafe { kernel.realloc(old, layout, size) };
                        if new.is_null() {
                            live.push((at, layout, stamp));
                        } else {
                            let kept = size.min(layout.size());
                            let layout = Layout::from_size_align(size, layout.align()).unwrap();
                            assert_eq!(new.addr() % layout.align(), 0, "{layout:?}");
                            // SAFETY: `size` bytes are ours, `kept` of them from before.
                            unsafe {
                                assert!((0..kept).all(|nth| *new.add(nth) == stamp));
                                new.write_bytes(stamp, size);
                            }
                            live.push((new.expose_provenance(), layout, stamp));
                        }
                    }
                    if live.len() > 100 {
                        mailbox.lock().unwrap().push(live.swap_remove(random.index(100)));
                        let taken = mailbox.lock().unwrap().pop();
                        taken.into_iter().for_each(free);
                    }
                }
                live.into_iter().for_each(free);
                ThisThread.with(|cpu| kernel.heap().drain(cpu));
            });
        }
    });
    std::mem::take(&mut *mailbox.lock().unwrap()).into_iter().for_each(free);
    ThisThread.with(|cpu| kernel.heap().drain(cpu));
    kernel.heap().shrink_kmalloc();
    assert_eq!(frames.0.zones(|zones| zones.free_frames()), 8192);
}
