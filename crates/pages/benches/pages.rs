//! Nanoseconds an operation, ours beside two peers', in one run.
//!
//! ```text
//!   cargo bench -p heapwise-pages
//! ```
//! Every figure is the median of several rounds over 2 GiB of frames (512 Ki
//! frames; the peers' memory is reserved, not touched). "Fragmented" frees in
//! random order, every second frame still in use.
#![allow(missing_docs)]

use heapwise_pages::raw::{Direct, SpinLock};
use heapwise_pages::slab::{CacheSlot, CpuSlab, Front, Parts, SlabFrame, SlabHeap, Source};
use heapwise_pages::*;
use std::hint::black_box;
use std::sync::atomic::AtomicU8;

const FRAMES: u32 = 1 << 19;
const ROUNDS: usize = 11;

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn medians(mut round: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    let (mut first, mut second): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| round()).unzip();
    first.sort_by(f64::total_cmp);
    second.sort_by(f64::total_cmp);
    (first[ROUNDS / 2], second[ROUNDS / 2])
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, at: *mut [i64; 2]) -> i32;
}

/// This thread's processor time, so that a busy machine disturbs less.
struct Instant(i64);

impl Instant {
    fn now() -> Self {
        const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
        let mut at = [0; 2];
        // SAFETY: on 64-bit Linux, a timespec is two 64-bit words.
        unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut at) };
        Self(at[0] * 1_000_000_000 + at[1])
    }
}

/// What reading the clock costs: a system call, and much beside 256 large blocks.
static CLOCK: std::sync::LazyLock<f64> = std::sync::LazyLock::new(|| {
    let mut costs: Vec<i64> = (0..1001)
        .map(|_| {
            let start = Instant::now();
            Instant::now().0 - start.0
        })
        .collect();
    costs.sort_unstable();
    costs[500] as f64
});

fn per(start: Instant, operations: usize) -> f64 {
    ((Instant::now().0 - start.0) as f64 - *CLOCK) / operations as f64
}

fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..count).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        order.swap(at, (seed % (at as u64 + 1)) as usize);
    }
    order
}

fn zones() -> Zones<'static> {
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
trait Buddy {
    fn get(&mut self, order: usize) -> Option<usize>;
    fn put(&mut self, block: usize, order: usize);
}

struct Bare(Zones<'static>);

const ALL: Request = Request::USER.urgent(Urgency::Exhaust);

impl Buddy for Bare {
    fn get(&mut self, order: usize) -> Option<usize> {
        let zone = self.0.zone_mut(ZoneKind::Normal)?;
        let pfn = zone.alloc(Order::new(order as u8)?, MigrateType::Movable).ok()?;
        Some(pfn.get() as usize)
    }

    fn put(&mut self, block: usize, order: usize) {
        let zone = self.0.zone_mut(ZoneKind::Normal).unwrap();
        zone.free(Pfn::new(block as u32), Order::new(order as u8).unwrap()).unwrap();
    }
}

struct Fronted(Pages<'static, SpinLock<Zones<'static>>>, Box<CpuFront>);

impl Buddy for Fronted {
    #[inline]
    fn get(&mut self, order: usize) -> Option<usize> {
        let order = Order::new(order as u8)?;
        self.0.alloc(&mut self.1, order, ALL).ok().map(|pfn| pfn.get() as usize)
    }

    #[inline]
    fn put(&mut self, block: usize, order: usize) {
        let order = Order::new(order as u8).unwrap();
        self.0.free(&mut self.1, Pfn::new(block as u32), order).unwrap();
    }
}

struct Intrusive(buddy_slab_allocator::BuddyAllocator);

impl Intrusive {
    fn new() -> Self {
        let bytes = ((FRAMES as usize) << 12) + (16 << 20);
        let region = vec![0_u8; bytes].leak();
        let mut buddy = buddy_slab_allocator::BuddyAllocator::new();
        // SAFETY: the region is leaked and nobody else's.
        unsafe { buddy.init(region).unwrap() };
        Self(buddy)
    }
}

impl Buddy for Intrusive {
    fn get(&mut self, order: usize) -> Option<usize> {
        self.0.alloc_pages(1 << order, 4096).ok()
    }

    fn put(&mut self, block: usize, order: usize) {
        self.0.dealloc_pages(block, 1 << order);
    }
}

struct Sets(buddy_system_allocator::FrameAllocator<11>);

impl Sets {
    fn new() -> Self {
        let mut frames = buddy_system_allocator::FrameAllocator::new();
        frames.add_frame(0, FRAMES as usize);
        Self(frames)
    }
}

impl Buddy for Sets {
    fn get(&mut self, order: usize) -> Option<usize> {
        self.0.alloc(1 << order)
    }

    fn put(&mut self, block: usize, order: usize) {
        self.0.dealloc(block, 1 << order);
    }
}

/// A bitmap with summaries; blocks of more than one frame are searched for.
struct Bitmap(Box<axallocator::BitmapPageAllocator<4096>>);

impl Bitmap {
    fn new() -> Self {
        use axallocator::BaseAllocator;
        let mut frames = Box::new(axallocator::BitmapPageAllocator::new());
        frames.init(0, (FRAMES as usize) << 12);
        Self(frames)
    }
}

impl Buddy for Bitmap {
    fn get(&mut self, order: usize) -> Option<usize> {
        use axallocator::PageAllocator;
        self.0.alloc_pages(1 << order, 4096 << order).ok()
    }

    fn put(&mut self, block: usize, order: usize) {
        use axallocator::PageAllocator;
        self.0.dealloc_pages(block, 1 << order);
    }
}

/// Half of all memory, block by block, then all of it back in the same order.
fn bulk(buddy: &mut impl Buddy, order: usize, blocks: &mut Vec<usize>) -> (f64, f64) {
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

fn pair(buddy: &mut impl Buddy, order: usize) -> f64 {
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
fn fragmented(buddy: &mut impl Buddy, order: &[u32]) -> (f64, f64) {
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
fn random_free(buddy: &mut impl Buddy, order: &[u32]) -> f64 {
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

fn bulk_calls() -> (f64, f64) {
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

struct Shared(&'static Pages<'static, SpinLock<Zones<'static>>>);

impl Source for Shared {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.zones(|zones| zones.alloc(order, ALL)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        let _ = self.0.zones(|zones| zones.free(pfn, order));
    }
}

type RealHeap = SlabHeap<'static, Direct, Shared, SpinLock<heapwise_pages::slab::Slabs<'static>>>;

/// A slab heap over real memory: 256 MiB, reserved and touched as used.
fn real_heap() -> RealHeap {
    let frames = 1 << 16;
    let region = vec![0_u8; ((frames as usize) << 12) + (8 << 20)].leak();
    let offset = region.as_mut_ptr().expose_provenance().next_multiple_of(4 << 20) as u64;
    let (start, end) = (Pfn::new(0), Pfn::new(frames));
    let bytes: Vec<AtomicU8> = (0..frames).map(|_| AtomicU8::new(0)).collect();
    let words = vec![0; Metadata::words(start, end)].leak();
    let metadata = Metadata { frames: bytes.leak(), words };
    let mut zones = Zones::new();
    let zone = Zone::new(ZoneKind::Normal, start, end, Order::MAX, metadata).unwrap();
    zones.add_zone(zone).unwrap();
    zones.add_region(start, end).unwrap();
    let pages = Box::leak(Box::new(Pages::new(zones, SpinLock::new)));
    let books: Vec<SlabFrame> = (0..frames).map(|_| SlabFrame::new()).collect();
    let parts = Parts {
        // SAFETY: the region is leaked, and only this heap's source gives it out.
        memory: unsafe { Direct::new() },
        source: Shared(pages),
        frames: books.leak(),
        first: start,
        direct: DirectMap::new(offset, Phys(u64::from(frames) << 12)).unwrap(),
        secret: 0x9d3f_1c77_52ab_e680,
        cpus: 2,
    };
    SlabHeap::new(parts, vec![CacheSlot::new(); 16].leak(), SpinLock::new).unwrap()
}

fn slab_pair(heap: &RealHeap) -> (f64, f64) {
    let mut fronts = [Front::new(); 14];
    let mut cpu = CpuSlab::new(&mut fronts);
    let id = heap.create(&heapwise_pages::slab::CacheSpec::new("bench", 64)).unwrap();
    let times = medians(|| {
        let count = 500_000;
        let start = Instant::now();
        for _ in 0..count {
            let at = black_box(heap.alloc(&mut cpu, id).unwrap());
            heap.free(&mut cpu, id, at).unwrap();
        }
        let cache = per(start, count);
        let start = Instant::now();
        for _ in 0..count {
            let at = black_box(heap.kmalloc(&mut cpu, black_box(100)).unwrap());
            heap.kfree(&mut cpu, at).unwrap();
        }
        (cache, per(start, count))
    });
    heap.drain(&mut cpu);
    heap.destroy(id).unwrap();
    times
}

fn slab_bulk(heap: &RealHeap) -> (f64, f64) {
    let mut fronts = [Front::new(); 14];
    let mut cpu = CpuSlab::new(&mut fronts);
    let mut objects = Vec::with_capacity(100_000);
    medians(|| {
        objects.clear();
        let start = Instant::now();
        for _ in 0..100_000 {
            objects.push(heap.kmalloc(&mut cpu, 64).unwrap());
        }
        let get = per(start, 100_000);
        let start = Instant::now();
        for at in &objects {
            heap.kfree(&mut cpu, *at).unwrap();
        }
        (get, per(start, 100_000))
    })
}

/// Pairs through a front: one block after another, and 32 out, then 32 back.
fn front_pairs() -> (f64, f64) {
    let pages = Pages::new(zones(), SpinLock::new);
    let mut cpu = CpuFront::new();
    let mut one = || {
        let start = Instant::now();
        for _ in 0..1_000_000 {
            let pfn = pages.alloc(&mut cpu, Order::ZERO, ALL).unwrap();
            pages.free(&mut cpu, pfn, Order::ZERO).unwrap();
        }
        per(start, 1_000_000)
    };
    let one = median(&mut one);
    (one, median(|| in_batches(&pages)))
}

type Machine = Pages<'static, SpinLock<Zones<'static>>>;

fn in_batches(pages: &Machine) -> f64 {
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
fn scaling() -> (f64, f64) {
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

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let order = shuffled(FRAMES as usize);
    let mut blocks = Vec::with_capacity(FRAMES as usize);
    let mut bare = Bare(zones());
    let mut front = Fronted(Pages::new(zones(), SpinLock::new), Box::default());
    let mut slab = Intrusive::new();
    let mut sets = Sets::new();
    let mut bits = Bitmap::new();

    println!("ns an operation, median of {ROUNDS}; 2 GiB in frames of 4 KiB; best peer / ours\n");
    print!("{:<26}{:>14}{:>14}", "", "ours, front", "ours, zone");
    println!("{:>14}{:>14}{:>14}{:>14}", "buddy-slab", "buddy_system", "ax bitmap", "ratio");
    // Get and put; the ratio is the best peer's time over that of our zone, so
    // above 1 where we are faster.
    let row = |name: &str, cells: [Option<(f64, f64)>; 5]| {
        let cell = |times: Option<(f64, f64)>| match times {
            Some((0.0, put)) => format!("{put:.2}"),
            Some((get, put)) => format!("{get:.2} / {put:.2}"),
            None => "-".into(),
        };
        let best = |of: fn((f64, f64)) -> f64| {
            cells[2..].iter().flatten().map(|times| of(*times)).fold(f64::INFINITY, f64::min)
        };
        let ratio = cells[1].filter(|_| cells[2].is_some()).map(|(get, put)| {
            (if get == 0.0 { 0.0 } else { best(|t| t.0) / get }, best(|t| t.1) / put)
        });
        let [front, bare, slab, sets, bits] = cells.map(cell);
        print!("{name:<26}{front:>14}{bare:>14}");
        println!("{slab:>14}{sets:>14}{bits:>14}{:>14}", cell(ratio));
    };
    let one = |time: f64| Some((0.0, time));
    if wanted("calls") {
        row("calls of 256, order 0", [None, Some(bulk_calls()), None, None, None]);
    }
    for at in (0..ORDERS).filter(|_| wanted("bulk")) {
        row(
            &format!("one by one, order {at}"),
            [
                Some(bulk(&mut front, at, &mut blocks)),
                Some(bulk(&mut bare, at, &mut blocks)),
                Some(bulk(&mut slab, at, &mut blocks)),
                Some(bulk(&mut sets, at, &mut blocks)),
                (at == 0).then(|| bulk(&mut bits, at, &mut blocks)),
            ],
        );
    }
    if wanted("pair") {
        row(
            "pair, order 0",
            [
                one(pair(&mut front, 0)),
                one(pair(&mut bare, 0)),
                one(pair(&mut slab, 0)),
                one(pair(&mut sets, 0)),
                one(pair(&mut bits, 0)),
            ],
        );
    }
    if wanted("fragmented") {
        row(
            "fragmented, at random",
            [
                Some(fragmented(&mut front, &order)),
                Some(fragmented(&mut bare, &order)),
                Some(fragmented(&mut slab, &order)),
                None,
                Some(fragmented(&mut bits, &order)),
            ],
        );
    }
    if wanted("random") {
        row(
            "random free of all",
            [
                one(random_free(&mut front, &order)),
                one(random_free(&mut bare, &order)),
                one(random_free(&mut slab, &order)),
                one(random_free(&mut sets, &order)),
                one(random_free(&mut bits, &order)),
            ],
        );
    }
    if wanted("front") {
        let (one, batches) = front_pairs();
        println!("\nfront: {one:.2} ns a pair, {batches:.2} in batches of 32");
    }
    if wanted("threads") {
        let (time, factor) = scaling();
        println!("two threads: {time:.2} ns a pair on one, {factor:.2} times the speed on two");
    }
    if wanted("slab") {
        slabs();
    }
}

/// Objects: pairs, and 100 000 out and back.
fn slabs() {
    println!("\nobjects of 64 bytes     pair    100 000 out / back");
    let line = |name: &str, pair: f64, (get, put): (f64, f64)| {
        println!("{name:<20}{pair:8.2}{get:15.2} / {put:.2}");
    };
    let heap = real_heap();
    let (cache, kmalloc) = slab_pair(&heap);
    let bulk = slab_bulk(&heap);
    line("ours, a cache", cache, bulk);
    line("ours, kmalloc(100)", kmalloc, bulk);
    let region = || {
        let bytes = 64 << 20;
        let region = vec![0_u8; bytes + 4096].leak();
        (region.as_mut_ptr().expose_provenance().next_multiple_of(4096), bytes)
    };
    let layout = std::alloc::Layout::from_size_align(64, 8).unwrap();

    let mut list = linked_list_allocator::Heap::empty();
    let (start, bytes) = region();
    // SAFETY: the region is leaked and nobody else's.
    unsafe { list.init(std::ptr::with_exposed_provenance_mut(start), bytes) };
    let list = std::cell::RefCell::new(list);
    peer(
        "linked_list",
        1000,
        line,
        || list.borrow_mut().allocate_first_fit(layout).unwrap(),
        |at| {
            // SAFETY: allocated above with this layout, freed once.
            unsafe { list.borrow_mut().deallocate(at, layout) }
        },
    );

    let mut talc = talc::base::Talc::<_, talc::DefaultBinning>::new(talc::source::Manual);
    let (start, bytes) = region();
    // SAFETY: as above.
    unsafe { talc.claim(std::ptr::with_exposed_provenance_mut(start), bytes).unwrap() };
    let talc = std::cell::RefCell::new(talc);
    peer(
        "talc",
        100_000,
        line,
        // SAFETY: the layout is not of size 0.
        || unsafe { talc.borrow_mut().allocate(layout).unwrap() },
        // SAFETY: as above.
        |at| unsafe { talc.borrow_mut().deallocate(at.as_ptr(), layout) },
    );

    use axallocator::{BaseAllocator, ByteAllocator};
    let mut ax = axallocator::SlabByteAllocator::new();
    let (start, bytes) = region();
    ax.init(start, bytes);
    let ax = std::cell::RefCell::new(ax);
    peer(
        "axallocator slab",
        100_000,
        line,
        || ax.borrow_mut().alloc(layout).unwrap(),
        |at| {
            ax.borrow_mut().dealloc(at, layout);
        },
    );
}

/// A heap of another kind.
fn peer(
    name: &str,
    count: usize,
    line: impl Fn(&str, f64, (f64, f64)),
    get: impl Fn() -> std::ptr::NonNull<u8>,
    put: impl Fn(std::ptr::NonNull<u8>),
) {
    let pair = median(|| {
        let start = Instant::now();
        for _ in 0..200_000 {
            put(black_box(get()));
        }
        per(start, 200_000)
    });
    let mut objects = Vec::with_capacity(count);
    let bulk = medians(|| {
        let start = Instant::now();
        objects.extend((0..count).map(|_| get()));
        let out = per(start, count);
        let start = Instant::now();
        objects.drain(..).for_each(&put);
        (out, per(start, count))
    });
    line(name, pair, bulk);
}
