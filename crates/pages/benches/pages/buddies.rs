//! Buddies: ours through a front, ours bare, and the peers, under the same loads.

use crate::clock::{Instant, median, medians, per};
use heapwise_pages::raw::SpinLock;
use heapwise_pages::*;
use heapwise_seed::Rng;
use std::hint::black_box;
use std::sync::atomic::AtomicU8;

/// 2 GiB.
pub const FRAMES: u32 = 1 << 19;

pub fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut random = Rng::new(0x2545_f491_4f6c_dd1d);
    for at in (1..count).rev() {
        order.swap(at, random.index(at + 1));
    }
    order
}

pub fn zones() -> Zones<'static> {
    let (start, end) = (Pfn::new(0), Pfn::new(FRAMES));
    let frames: Vec<AtomicU8> = (0..FRAMES).map(|_| AtomicU8::new(0)).collect();
    let words = vec![0; Metadata::words(start, end)].leak();
    let metadata = Metadata { frames: frames.leak(), words };
    let mut zones = Zones::new();
    let zone = Zone::new(ZoneKind::Normal, start, end, Order::MAX, metadata).unwrap();
    zones.add_zone(zone).unwrap();
    zones.add_region(start, end).unwrap();
    zones
}

/// One block at a time, of one order; the same shape for ours and the peers'.
pub trait Buddy {
    fn get(&mut self, order: usize) -> Option<usize>;
    fn put(&mut self, block: usize, order: usize);
}

pub struct Bare(pub Zones<'static>);

pub const ALL: Request = Request::USER.urgent(Urgency::Exhaust);

impl Buddy for Bare {
    #[inline(always)]
    fn get(&mut self, order: usize) -> Option<usize> {
        let zone = self.0.zone_mut(ZoneKind::Normal)?;
        let pfn = zone.alloc(Order::new(order as u8)?, MigrateType::Movable).ok()?;
        Some(pfn.get() as usize)
    }

    #[inline(always)]
    fn put(&mut self, block: usize, order: usize) {
        let zone = self.0.zone_mut(ZoneKind::Normal).unwrap();
        zone.free(Pfn::new(block as u32), Order::new(order as u8).unwrap()).unwrap();
    }
}

pub struct Fronted(pub Pages<'static, SpinLock<Zones<'static>>>, pub Box<CpuFront<'static>>);

impl Buddy for Fronted {
    #[inline(always)]
    fn get(&mut self, order: usize) -> Option<usize> {
        let order = Order::new(order as u8)?;
        self.0.alloc(&mut self.1, order, ALL).ok().map(|pfn| pfn.get() as usize)
    }

    #[inline(always)]
    fn put(&mut self, block: usize, order: usize) {
        let order = Order::new(order as u8).unwrap();
        self.0.free(&mut self.1, Pfn::new(block as u32), order).unwrap();
    }
}

pub struct Intrusive(pub buddy_slab_allocator::BuddyAllocator);

impl Intrusive {
    pub fn new() -> Self {
        let bytes = ((FRAMES as usize) << 12) + (16 << 20);
        let region = vec![0_u8; bytes].leak();
        let mut buddy = buddy_slab_allocator::BuddyAllocator::new();
        // SAFETY: the region is leaked and nobody else's.
        unsafe { buddy.init(region).unwrap() };
        Self(buddy)
    }
}

impl Buddy for Intrusive {
    #[inline(always)]
    fn get(&mut self, order: usize) -> Option<usize> {
        self.0.alloc_pages(1 << order, 4096).ok()
    }

    #[inline(always)]
    fn put(&mut self, block: usize, order: usize) {
        self.0.dealloc_pages(block, 1 << order);
    }
}

pub struct Sets(pub buddy_system_allocator::FrameAllocator<11>);

impl Sets {
    pub fn new() -> Self {
        let mut frames = buddy_system_allocator::FrameAllocator::new();
        frames.add_frame(0, FRAMES as usize);
        Self(frames)
    }
}

impl Buddy for Sets {
    #[inline(always)]
    fn get(&mut self, order: usize) -> Option<usize> {
        self.0.alloc(1 << order)
    }

    #[inline(always)]
    fn put(&mut self, block: usize, order: usize) {
        self.0.dealloc(block, 1 << order);
    }
}

/// A bitmap with summaries; blocks of more than one frame are searched for.
pub struct Bitmap(Box<axallocator::BitmapPageAllocator<4096>>);

impl Bitmap {
    pub fn new() -> Self {
        use axallocator::BaseAllocator;
        let mut frames = Box::new(axallocator::BitmapPageAllocator::new());
        frames.init(0, (FRAMES as usize) << 12);
        Self(frames)
    }
}

impl Buddy for Bitmap {
    #[inline(always)]
    fn get(&mut self, order: usize) -> Option<usize> {
        use axallocator::PageAllocator;
        self.0.alloc_pages(1 << order, 4096 << order).ok()
    }

    #[inline(always)]
    fn put(&mut self, block: usize, order: usize) {
        use axallocator::PageAllocator;
        self.0.dealloc_pages(block, 1 << order);
    }
}

/// The least that merging at each free can be: a bit set an order, and nothing counted, summarised
/// or checked. It only takes back.
pub struct Merging(Vec<Vec<u64>>);

impl Merging {
    pub fn new() -> Self {
        Self((0..ORDERS).map(|order| vec![0; (FRAMES as usize >> order).div_ceil(64)]).collect())
    }

    #[inline(always)]
    fn put(&mut self, mut block: usize) {
        for (order, set) in self.0.iter_mut().enumerate() {
            let word = &mut set[block / 64];
            let buddy = 1 << ((block ^ 1) % 64);
            if order + 1 == ORDERS || *word & buddy == 0 {
                *word |= 1 << (block % 64);
                return;
            }
            *word ^= buddy;
            block /= 2;
        }
    }

    pub fn random_free(order: &[u32]) -> f64 {
        median(|| {
            let mut sets = Self::new();
            let shuffled: Vec<usize> = order.iter().map(|at| *at as usize).collect();
            let start = Instant::now();
            for block in &shuffled {
                sets.put(*block);
            }
            let time = per(start, shuffled.len());
            assert!(sets.0[ORDERS - 1].iter().all(|word| *word == u64::MAX));
            time
        })
    }
}

/// Half of all memory, block by block, then all of it back in the same order.
pub fn bulk(buddy: &mut impl Buddy, order: usize, blocks: &mut Vec<usize>) -> (f64, f64) {
    let count = (FRAMES as usize / 2) >> order;
    medians(|| {
        blocks.clear();
        let start = Instant::now();
        for _ in 0..count {
            blocks.push(buddy.get(order).unwrap());
        }
        let get = per(start, count);
        let start = Instant::now();
        for block in blocks.iter() {
            buddy.put(*block, order);
        }
        (get, per(start, count))
    })
}

pub fn pair(buddy: &mut impl Buddy, order: usize) -> f64 {
    let warm: Vec<usize> = (0..100).map(|_| buddy.get(order).unwrap()).collect();
    let time = median(|| {
        let count = 200_000;
        let start = Instant::now();
        for _ in 0..count {
            let block = black_box(buddy.get(order).unwrap());
            buddy.put(block, order);
        }
        per(start, count)
    });
    warm.into_iter().for_each(|block| buddy.put(block, order));
    time
}

/// All memory out; every second frame stays, the others go in random order; then
/// they are taken again one by one.
pub fn fragmented(buddy: &mut impl Buddy, order: &[u32]) -> (f64, f64) {
    let mut blocks: Vec<usize> = std::iter::from_fn(|| buddy.get(0)).collect();
    blocks.sort_unstable();
    let (mut kept, mut loose) = (Vec::new(), Vec::new());
    for (nth, block) in blocks.into_iter().enumerate() {
        if nth % 2 == 0 { kept.push(block) } else { loose.push(block) }
    }
    let order: Vec<usize> =
        order.iter().map(|at| *at as usize).filter(|at| *at < loose.len()).collect();
    let times = medians(|| {
        let mut shuffled: Vec<usize> = order.iter().map(|at| loose[*at]).collect();
        let start = Instant::now();
        for block in &shuffled {
            buddy.put(*block, 0);
        }
        let put = per(start, shuffled.len());
        let start = Instant::now();
        for block in &mut shuffled {
            *block = buddy.get(0).unwrap();
        }
        (per(start, shuffled.len()), put)
    });
    kept.into_iter().chain(loose).for_each(|block| buddy.put(block, 0));
    times
}

/// The same all the way to empty: random frees that merge.
pub fn random_free(buddy: &mut impl Buddy, order: &[u32]) -> f64 {
    median(|| {
        let blocks: Vec<usize> = (0..FRAMES).map_while(|_| buddy.get(0)).collect();
        let shuffled: Vec<usize> =
            order.iter().filter_map(|at| blocks.get(*at as usize).copied()).collect();
        let start = Instant::now();
        for block in &shuffled {
            buddy.put(*block, 0);
        }
        per(start, shuffled.len())
    })
}

pub fn bulk_calls() -> (f64, f64) {
    let mut zones = zones();
    let zone = zones.zone_mut(ZoneKind::Normal).unwrap();
    let mut blocks = vec![Pfn::default(); FRAMES as usize];
    medians(|| {
        let start = Instant::now();
        for part in blocks.chunks_mut(256) {
            assert_eq!(zone.alloc_bulk(Order::ZERO, MigrateType::Movable, part), part.len());
        }
        let get = per(start, FRAMES as usize);
        let start = Instant::now();
        for part in blocks.chunks(256) {
            zone.free_bulk(part, Order::ZERO).unwrap();
        }
        (get, per(start, FRAMES as usize))
    })
}

/// The number, of which the compiler knows nothing any more: in a register, where `black_box` makes
/// a store and a load of its own, which beside a pair's two stores count.
#[inline(always)]
fn hidden(pfn: Pfn) -> Pfn {
    let mut number = u64::from(pfn.get());
    // SAFETY: no instruction.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) number, options(nomem, nostack)) };
    Pfn::new(number as u32)
}

/// Pairs through a front: one block after another, and 32 out, then 32 back.
pub fn front_pairs() -> (f64, f64) {
    let pages = Pages::new(zones(), SpinLock::new);
    let mut cpu = CpuFront::new();
    let mut one = || {
        let start = Instant::now();
        for _ in 0..1_000_000 {
            let pfn = pages.alloc(&mut cpu, Order::ZERO, ALL).unwrap();
            pages.free(&mut cpu, hidden(pfn), Order::ZERO).unwrap();
        }
        per(start, 1_000_000)
    };
    let one = median(&mut one);
    (one, median(|| in_batches(&pages)))
}

pub type Machine = Pages<'static, SpinLock<Zones<'static>>>;

pub fn in_batches(pages: &Machine) -> f64 {
    let mut cpu = CpuFront::new();
    let mut blocks = [Pfn::default(); 32];
    let start = Instant::now();
    for _ in 0..30_000 {
        for block in &mut blocks {
            *block = pages.alloc(&mut cpu, Order::ZERO, ALL).unwrap();
        }
        for block in black_box(&blocks) {
            pages.free(&mut cpu, *block, Order::ZERO).unwrap();
        }
    }
    let time = per(start, 30_000 * 32);
    pages.drain(&mut cpu);
    time
}

/// The same on one thread, then on two at once: total speed, by processor time
/// (waiting for the lock or for a cache line is processor time, too).
pub fn scaling() -> (f64, f64) {
    let pages = Pages::new(zones(), SpinLock::new);
    medians(|| {
        let one = in_batches(&pages);
        let two = std::thread::scope(|scope| {
            let other = scope.spawn(|| in_batches(&pages));
            in_batches(&pages) + other.join().unwrap()
        });
        (one, 4.0 * one / two)
    })
}
