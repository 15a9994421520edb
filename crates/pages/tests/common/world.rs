//! A small machine for the slab tests: pages, and object memory in a vector.

use super::common::machine;
use heapwise_pages::slab::{CacheSlot, Front, Memory, Parts, SlabFrame, SlabHeap, Slabs, Source};
use heapwise_pages::slab::{CpuSlab, Spot};
use heapwise_pages::*;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A `Mutex` as the crate's lock.
pub struct Locked<T>(pub Mutex<T>);

impl<T> Locked<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
}

impl<T> Lock<T> for Locked<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }
}

pub const OFFSET: u64 = PAGE_OFFSET;

/// Words behind the direct map.
pub struct Words(pub Vec<AtomicU64>);

impl Words {
    pub fn at(&self, addr: u64) -> &AtomicU64 {
        assert_eq!(addr % 8, 0, "misaligned word");
        &self.0[((addr - OFFSET) / 8) as usize]
    }
}

// SAFETY: an atomic word gives back what it was given.
unsafe impl Memory for Words {
    fn read(&self, at: Spot) -> u64 {
        self.at(at.addr()).load(Relaxed)
    }

    fn write(&self, at: Spot, value: u64) {
        self.at(at.addr()).store(value, Relaxed);
    }
}

pub type Machine = Pages<'static, Locked<Zones<'static>>>;

/// The machine's frames; the call whose number is in `fail_at` fails.
#[derive(Clone)]
pub struct Frames {
    pub pages: Rc<Machine>,
    pub fail_at: Rc<Cell<u32>>,
}

impl Source for Frames {
    fn take(&self, order: Order) -> Option<Pfn> {
        let left = self.fail_at.get();
        self.fail_at.set(left.saturating_sub(1));
        if left == 1 {
            return None;
        }
        let request = Request::KERNEL.urgent(Urgency::Exhaust);
        self.pages.zones(|zones| zones.alloc(order, request)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        self.pages.zones(|zones| zones.free(pfn, order)).unwrap();
    }
}

pub type Heap = SlabHeap<'static, Words, Frames, Locked<Slabs<'static>>>;

/// A heap over so many frames, and what its frames come from.
pub fn world(frames: u32) -> (Heap, Frames) {
    let pages = Rc::new(Pages::new(machine(frames), Locked::new));
    let source = Frames { pages, fail_at: Rc::default() };
    let words = (0..u64::from(frames) * 512).map(|_| AtomicU64::new(0x5a5a)).collect();
    let books: Vec<SlabFrame> = (0..frames).map(|_| SlabFrame::new()).collect();
    let parts = Parts {
        memory: Words(words),
        source: source.clone(),
        frames: books.leak(),
        first: Pfn::new(0),
        direct: DirectMap::new(OFFSET, Phys(u64::from(frames) * PAGE_SIZE)).unwrap(),
        secret: 0x1234_5678_9abc_def1,
        cpus: 4,
    };
    let slots = vec![CacheSlot::new(); 20].leak();
    (SlabHeap::new(parts, slots, Locked::new).unwrap(), source)
}

pub fn cpu() -> CpuSlab<'static> {
    CpuSlab::new(vec![Front::new(); 18].leak())
}

pub fn free_frames(frames: &Frames) -> u32 {
    frames.pages.zones(|zones| zones.free_frames())
}
