//! Objects: ours from a cache and from kmalloc, and other heaps.

use crate::buddies::ALL;
use crate::clock::{Instant, median, medians, per};
use heapwise_pages::raw::{Direct, SpinLock};
use heapwise_pages::slab::{CacheSlot, CpuSlab, Front, Parts, SlabFrame, SlabHeap, Source};
use heapwise_pages::*;
use std::hint::black_box;
use std::sync::atomic::AtomicU8;

/// Objects: pairs, and 100 000 out and back.
pub fn slabs() {
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

pub struct Shared(pub &'static Pages<'static, SpinLock<Zones<'static>>>);

impl Source for Shared {
    fn take(&self, order: Order) -> Option<Pfn> {
        self.0.zones(|zones| zones.alloc(order, ALL)).ok()
    }

    fn give(&self, pfn: Pfn, order: Order) {
        let _ = self.0.zones(|zones| zones.free(pfn, order));
    }
}

pub type RealHeap =
    SlabHeap<'static, Direct, Shared, SpinLock<heapwise_pages::slab::Slabs<'static>>>;

/// A slab heap over real memory: 256 MiB, reserved and touched as used.
pub fn real_heap() -> RealHeap {
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

pub fn slab_pair(heap: &RealHeap) -> (f64, f64) {
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

pub fn slab_bulk(heap: &RealHeap) -> (f64, f64) {
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

/// A heap of another kind.
pub fn peer(
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
