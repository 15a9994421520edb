//! The fronts in every interleaving: frames' bytes, slabs' words and free pointers are
//! shared without a lock, and all the rest is behind one.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p heapwise-pages --release --test loom
//! ```
//! Without that flag there is nothing here.
#![cfg(loom)]
#![allow(missing_docs)]

use heapwise_pages::slab::{
    CacheSlot, CacheSpec, CpuSlab, Front, Memory, Parts, SlabFrame, SlabHeap, Slabs, Source, Spot,
};
use heapwise_pages::*;
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// A mutex of loom's as the crate's lock.
struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
}

impl<T> Lock<T> for Locked<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }
}

type Machine = Pages<'static, Locked<Zones<'static>>>;

const ALL: Request = Request::KERNEL.urgent(Urgency::Exhaust);

/// A machine of so many frames; leaked once an execution.
fn machine(frames: u32) -> Machine {
    let (start, end) = (Pfn::new(0), Pfn::new(frames));
    let bytes: Vec<AtomicU8> =
        (0..Metadata::frame_bytes(start, end)).map(|_| AtomicU8::new(0)).collect();
    let words = vec![0; Metadata::words(start, end)].leak();
    let metadata = Metadata { frames: bytes.leak(), words };
    let mut zones = Zones::new();
    let zone = Zone::new(ZoneKind::Normal, start, end, Order::MAX, metadata).unwrap();
    zones.add_zone(zone).unwrap();
    zones.add_region(start, end).unwrap();
    Pages::new(zones, Locked::new)
}

fn whole(pages: &Machine, frames: u32) {
    pages.zones(|zones| {
        assert_eq!(zones.free_frames(), frames);
        zones.iter().for_each(|zone| zone.check().unwrap());
    });
}

/// A thread with room for a front and a machine on its stack.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    const STACK_WORDS: usize = 1 << 16;
    thread::Builder::new().stack_size(STACK_WORDS).spawn(work).unwrap()
}

/// Runs `work` in every interleaving with so many preemptions at most.
fn model(preemptions: usize, work: impl Fn() + Send + Sync + Copy + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || spawn(work).join().unwrap());
}

/// Two CPUs take and give over one machine that is too small for both.
#[test]
fn no_frame_has_two_owners() {
    model(3, || {
        let pages = Arc::new(machine(3));
        let owned = Arc::new([const { std::sync::atomic::AtomicU8::new(0) }; 3]);
        let cpu = |pages: Arc<Machine>, owned: Arc<[std::sync::atomic::AtomicU8; 3]>| {
            let mut front = Box::new(CpuFront::new());
            let taken: Vec<Pfn> = (0..2)
                .map_while(|_| pages.alloc(&mut front, Order::ZERO, ALL).ok())
                .inspect(|pfn| assert_eq!(owned[pfn.get() as usize].swap(1, Relaxed), 0))
                .collect();
            for pfn in taken {
                owned[pfn.get() as usize].store(0, Relaxed);
                pages.free(&mut front, pfn, Order::ZERO).unwrap();
            }
            pages.drain(&mut front);
        };
        let (there, theirs) = (pages.clone(), owned.clone());
        let other = spawn(move || cpu(there, theirs));
        cpu(pages.clone(), owned);
        other.join().unwrap();
        whole(&pages, 3);
    });
}

/// A block taken on one CPU is given on the other, while the first goes on.
#[test]
fn any_cpu_may_free() {
    model(3, || {
        let pages = Arc::new(machine(4));
        let mut front = Box::new(CpuFront::new());
        let pfn = pages.alloc(&mut front, Order::ZERO, ALL).unwrap();
        let there = pages.clone();
        let other = spawn(move || {
            let mut front = Box::new(CpuFront::new());
            there.free(&mut front, pfn, Order::ZERO).unwrap();
            let again = there.free(&mut front, pfn, Order::ZERO);
            assert_eq!(again, Err(FreeError::DoubleFree));
            there.drain(&mut front);
        });
        let more = pages.alloc(&mut front, Order::ZERO, ALL).unwrap();
        assert_ne!(more, pfn);
        pages.free(&mut front, more, Order::ZERO).unwrap();
        pages.drain(&mut front);
        other.join().unwrap();
        whole(&pages, 4);
        assert_eq!(pages.raced_frees(), 0);
    });
}

/// Two CPUs free one block at once, with exact frees: one is told.
#[test]
fn of_two_frees_at_once_one_is_told() {
    model(3, || {
        let pages = Arc::new(machine(2).with_exact_frees());
        let mut front = Box::new(CpuFront::new());
        let pfn = pages.alloc(&mut front, Order::ZERO, ALL).unwrap();
        pages.drain(&mut front);
        let free = move |pages: &Machine| {
            let mut front = Box::new(CpuFront::new());
            let result = pages.free(&mut front, pfn, Order::ZERO);
            assert!(matches!(result, Ok(()) | Err(FreeError::DoubleFree)));
            pages.drain(&mut front);
            u32::from(result.is_err())
        };
        let there = pages.clone();
        let other = spawn(move || free(&there));
        assert_eq!(free(&pages) + other.join().unwrap(), 1);
        assert_eq!(pages.raced_frees(), 0);
        whole(&pages, 2);
    });
}

/// Words behind the direct map.
struct Words(Vec<AtomicU64>);

// SAFETY: an atomic word gives back what it was given.
unsafe impl Memory for Words {
    fn read(&self, at: Spot) -> u64 {
        self.0[((at.addr() - PAGE_OFFSET) / 8) as usize].load(Relaxed)
    }

    fn write(&self, at: Spot, value: u64) {
        self.0[((at.addr() - PAGE_OFFSET) / 8) as usize].store(value, Relaxed);
    }

    fn exchange(&self, at: Spot, old: u64, new: u64) -> bool {
        let word = &self.0[((at.addr() - PAGE_OFFSET) / 8) as usize];
        word.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

/// One slab's frames, once.
struct OneBlock(std::sync::Mutex<Option<Order>>);

impl Source for OneBlock {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.lock().unwrap().replace(order).is_none().then_some(Pfn::new(0))
    }

    fn give(&self, _: Pfn, order: Order) {
        assert_eq!(self.0.lock().unwrap().take(), Some(order));
    }
}

type Heap = SlabHeap<'static, Words, OneBlock, Locked<Slabs<'static>>>;

fn heap() -> Heap {
    let parts = Parts {
        memory: Words((0..4096).map(|_| AtomicU64::new(0)).collect()),
        source: OneBlock(std::sync::Mutex::new(None)),
        frames: (0..8).map(|_| SlabFrame::default()).collect::<Vec<_>>().leak(),
        first: Pfn::new(0),
        direct: DirectMap::new(PAGE_OFFSET, Phys(32 << 10)).unwrap(),
        secret: 0x9e37_79b9_7f4a_7c15,
        cpus: 1,
    };
    SlabHeap::new(parts, vec![CacheSlot::new(); 14].leak(), Locked::new).unwrap()
}

/// An object taken on one CPU is freed on the other, while the first takes and frees
/// another of the same slab; then the cache can go.
#[test]
fn objects_go_home_from_any_cpu() {
    model(2, || {
        let heap = Arc::new(heap());
        let id = heap.create(&CacheSpec::new("objects", 4096)).unwrap();
        let mut fronts = vec![Front::new(); 14];
        let mut cpu = CpuSlab::new(&mut fronts);
        let at = heap.alloc(&mut cpu, id).unwrap();
        let there = heap.clone();
        let other = spawn(move || {
            let mut fronts = vec![Front::new(); 14];
            let mut cpu = CpuSlab::new(&mut fronts);
            there.free(&mut cpu, id, at).unwrap();
            assert_eq!(there.free(&mut cpu, id, at), Err(SlabError::DoubleFree));
            there.drain(&mut cpu);
        });
        let more = heap.alloc(&mut cpu, id).unwrap();
        assert_ne!(more, at);
        heap.free(&mut cpu, id, more).unwrap();
        heap.drain(&mut cpu);
        other.join().unwrap();
        assert_eq!(heap.in_use(id), Ok(0));
        heap.destroy(id).unwrap();
    });
}

/// Two CPUs free one object at once, with exact frees: one is told, whether it has a
/// front or takes the lock.
#[test]
fn of_two_frees_of_an_object_one_is_told() {
    for fronts in [14, 0] {
        model(2, move || {
            let heap = Arc::new(heap().with_exact_frees());
            let id = heap.create(&CacheSpec::new("objects", 4096)).unwrap();
            let mut mine = vec![Front::new(); 14];
            let mut cpu = CpuSlab::new(&mut mine);
            let at = heap.alloc(&mut cpu, id).unwrap();
            let there = heap.clone();
            let other = spawn(move || {
                let mut theirs = vec![Front::new(); fronts];
                let mut cpu = CpuSlab::new(&mut theirs);
                let freed = there.free(&mut cpu, id, at).is_ok();
                there.drain(&mut cpu);
                freed
            });
            let here = heap.free(&mut cpu, id, at).is_ok();
            assert!(here ^ other.join().unwrap());
            heap.drain(&mut cpu);
            assert_eq!(heap.in_use(id), Ok(0));
            heap.destroy(id).unwrap();
        });
    }
}

/// In debug mode every free is checked under the lock: of two at once, one is told.
#[test]
fn debug_caches_catch_two_frees_at_once() {
    model(2, || {
        let heap = Arc::new(heap());
        let id = heap.create(&CacheSpec { debug: true, ..CacheSpec::new("debug", 2000) }).unwrap();
        let mut cpu = CpuSlab::new(&mut []);
        let at = heap.alloc(&mut cpu, id).unwrap();
        let there = heap.clone();
        let other = spawn(move || there.free(&mut CpuSlab::new(&mut []), id, at).is_ok());
        let here = heap.free(&mut cpu, id, at).is_ok();
        assert!(here ^ other.join().unwrap());
        assert_eq!(heap.in_use(id), Ok(0));
        heap.destroy(id).unwrap();
    });
}
