//! The kernel half under the same search: `--kernel`.
//!
//! ```text
//!   seed ─► a machine: zones, holes, orders     word ─► one operation, low byte first
//! ```
//! A model holds what is in use: each answer, wrong frees too, is known before, every
//! frame has one owner, and at the end all of them come home. Objects are filled and must
//! hold what they were filled with.

use crate::input::Input;
use crate::reach::{Reached, doublings, feature};
use heapwise_pages::raw::SpinLock;
use heapwise_pages::slab::{
    CacheId, CacheSlot, CacheSpec, CpuSlab, Fresh, Front, Memory, Parts, SlabFrame, SlabHeap,
    Slabs, Source, Spot,
};
use heapwise_pages::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

const CPUS: usize = 2;

/// First frame to order.
type Blocks = BTreeMap<u32, usize>;
type Machine<'m> = Pages<'m, SpinLock<Zones<'m>>>;
type Heap<'m> = SlabHeap<'m, Words, Frames<'m>, SpinLock<Slabs<'m>>>;

/// Where the frames appear.
const OFFSET: u64 = PAGE_OFFSET;
/// One past the last frame of the largest machine.
const END: u32 = 2048 + 300 + 3001;
/// The first frame of the upper zone.
const BORDER: u32 = 2048;

/// What a machine borrows: one input after another.
#[derive(Default)]
struct Books {
    frames: [Vec<AtomicU8>; 2],
    words: [Vec<u64>; 2],
    slabs: Vec<SlabFrame>,
    slots: Vec<CacheSlot>,
    fronts: [Vec<Front>; CPUS],
}

/// Words behind the direct map.
struct Words(Vec<AtomicU64>);

impl Words {
    fn at(&self, addr: u64) -> &AtomicU64 {
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

fn order(order: usize) -> Order {
    Order::new(order as u8).unwrap()
}

/// The block of a map that a frame is in.
fn covering(blocks: &Blocks, pfn: u32) -> Option<(u32, usize)> {
    let (head, order) = blocks.range(..=pfn).next_back()?;
    (head + (1 << order) > pfn).then_some((*head, *order))
}

/// The slabs' frames, noted.
#[derive(Clone)]
struct Frames<'m> {
    pages: Rc<Machine<'m>>,
    taken: Rc<RefCell<Blocks>>,
}

impl Source for Frames<'_> {
    fn take(&self, order: Order) -> Option<Pfn> {
        let request = Request::KERNEL.urgent(Urgency::Exhaust);
        let pfn = self.pages.zones(|zones| zones.alloc(order, request)).ok()?;
        self.taken.borrow_mut().insert(pfn.get(), order.get());
        Some(pfn)
    }

    fn give(&self, pfn: Pfn, order: Order) {
        assert_eq!(self.taken.borrow_mut().remove(&pfn.get()), Some(order.get()));
        self.pages.zones(|zones| zones.free(pfn, order)).unwrap();
    }
}

/// The machine and the model of it.
struct Kernel<'m> {
    frames: Frames<'m>,
    heap: Heap<'m>,
    total: u32,
    holes: Vec<(u32, u32)>,
    fronts: [Box<CpuFront<'m>>; CPUS],
    cpus: [CpuSlab<'m>; CPUS],
    /// Blocks in use: first frame, order.
    blocks: Blocks,
    caches: Vec<(CacheId, bool)>,
    /// Objects in use: address, usable bytes, cache (none: kmalloc), stamp.
    objects: Vec<(Virt, u64, Option<CacheId>, u64)>,
    stamp: u64,
}

/// The arguments in a word.
struct Arguments(u64);

impl Arguments {
    /// The next number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let value = self.0 % bound as u64;
        self.0 /= bound as u64;
        value as usize
    }

    /// A size on a scale of so many doublings from 8.
    fn size(&mut self, doublings: usize) -> u64 {
        let bound = 8 << self.below(doublings);
        1 + self.below(bound) as u64
    }
}

fn constructor(fresh: &mut Fresh<'_>) {
    (0..fresh.words()).for_each(|word| fresh.set(word, 0x5eed));
}

impl<'m> Kernel<'m> {
    fn new(seed: u64, books: &'m mut Books) -> Self {
        let mut seed = Arguments(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (low, high) = (1 + seed.below(1500) as u32, 1 + seed.below(3000) as u32);
        let hole = seed.below(300) as u32;
        let max = order(3 + seed.below(8));
        let end = BORDER + hole + high;
        let mut zones = Zones::new();
        let spans = [(ZoneKind::Dma, 0, BORDER), (ZoneKind::Normal, BORDER, end)];
        let lent = books.frames.iter_mut().zip(&mut books.words);
        for ((kind, from, to), (frames, words)) in spans.into_iter().zip(lent) {
            let (from, to) = (Pfn::new(from), Pfn::new(to));
            frames.resize_with(Metadata::frame_bytes(from, to), AtomicU8::default);
            words.resize(Metadata::words(from, to), 0);
            let zone = Zone::new(kind, from, to, max, Metadata { frames, words }).unwrap();
            zones.add_zone(zone).unwrap();
        }
        zones.add_region(Pfn::new(7), Pfn::new(7 + low)).unwrap();
        zones.add_region(Pfn::new(BORDER + hole), Pfn::new(end)).unwrap();
        let pages = Rc::new(Pages::new(zones, SpinLock::new));
        let frames = Frames { pages, taken: Rc::default() };
        books.slabs.clear();
        books.slabs.resize_with(end as usize, SlabFrame::new);
        books.slots.resize(18, CacheSlot::new());
        let parts = Parts {
            memory: Words((0..u64::from(end) * 512).map(|_| AtomicU64::new(0x5a5a)).collect()),
            source: frames.clone(),
            frames: &books.slabs,
            first: Pfn::new(0),
            direct: DirectMap::new(OFFSET, Phys(u64::from(end) * PAGE_SIZE)).unwrap(),
            secret: 0x1234_5678_9abc_def1,
            cpus: 2,
        };
        let heap = SlabHeap::new(parts, &mut books.slots, SpinLock::new).unwrap();
        let cpus = books.fronts.each_mut().map(|fronts| {
            fronts.clear();
            fronts.resize(18, Front::new());
            CpuSlab::new(fronts)
        });
        Self {
            heap,
            frames,
            total: low + high,
            holes: vec![(0, 7), (7 + low, BORDER + hole), (end, u32::MAX)],
            fronts: Default::default(),
            cpus,
            blocks: BTreeMap::new(),
            caches: Vec::new(),
            objects: Vec::new(),
            stamp: 0,
        }
    }

    /// Whether a frame of a block is the model's or the slabs', or none that there is.
    fn is_in_use(&self, pfn: u32, order: usize) -> bool {
        let taken = self.frames.taken.borrow();
        let mut frames = pfn..pfn + (1 << order);
        frames.any(|pfn| {
            let absent = self.holes.iter().any(|(from, to)| (*from..*to).contains(&pfn));
            absent || covering(&self.blocks, pfn).or(covering(&taken, pfn)).is_some()
        })
    }

    fn add(&mut self, pfn: Pfn, order: usize) {
        assert!(pfn.get().is_multiple_of(1 << order), "misaligned");
        let end = pfn.get() + (1 << order);
        assert!(covering(&self.blocks, pfn.get()).is_none(), "{pfn:?} given twice");
        assert!(self.blocks.range(pfn.get()..end).next().is_none(), "{pfn:?} overlaps");
        self.blocks.insert(pfn.get(), order);
    }

    /// A frame, mostly the start of a block in use.
    fn some_frame(&self, of: &mut Arguments) -> (u32, usize) {
        if of.below(4) != 0 && !self.blocks.is_empty() {
            let nth = of.below(self.blocks.len());
            let (pfn, order) = self.blocks.iter().nth(nth).unwrap();
            return (*pfn, *order);
        }
        (of.below(END as usize + 9) as u32, of.below(ORDERS))
    }

    fn request(of: &mut Arguments) -> Request {
        Request {
            zone: [ZoneKind::Normal, ZoneKind::Dma32, ZoneKind::Dma][of.below(8).saturating_sub(5)],
            migrate: MigrateType::ALL[of.below(3)],
            urgency: [Urgency::Exhaust, Urgency::Normal, Urgency::Atomic][of.below(3)],
        }
    }

    /// Runs one operation; which, and what came of it.
    fn apply(&mut self, word: u64) -> (u32, u32) {
        let mut of = Arguments(word >> 8);
        let kind = word as u8 % 20;
        let pages = self.frames.pages.clone();
        let cpu = of.below(CPUS);
        let came = match kind {
            0..=3 => {
                let (o, request) = (of.below(ORDERS), Self::request(&mut of));
                match pages.alloc(&mut self.fronts[cpu], order(o), request) {
                    Ok(pfn) => self.add(pfn, o),
                    Err(error) => return (u32::from(kind), 1 + error as u32),
                }
                0
            }
            4..=6 => self.free(cpu, &mut of),
            7 => {
                let (pfn, o) = (of.below(END as usize + 9) as u32, of.below(ORDERS));
                let of = MigrateType::ALL[of.below(3)];
                match pages.alloc_at(Pfn::new(pfn), order(o), of) {
                    Ok(()) => self.add(Pfn::new(pfn), o),
                    Err(error) => {
                        let none_wait = self.fronts.iter().all(|front| front.frames() == 0);
                        let refused = error == ClaimError::NotFree && none_wait;
                        assert!(!refused || self.is_in_use(pfn, o), "{pfn} order {o} is free");
                        return (7, 1 + error as u32);
                    }
                }
                0
            }
            8 => {
                let (o, request) = (of.below(5), Self::request(&mut of));
                let mut out = vec![Pfn::default(); 1 + of.below(300)];
                let got = pages.alloc_bulk(order(o), request, &mut out);
                out[..got].iter().for_each(|pfn| self.add(*pfn, o));
                doublings(got)
            }
            9 => {
                let o = of.below(4);
                let count = 1 + of.below(300);
                let heads = self.blocks.iter().filter(|(_, order)| **order == o).take(count);
                let mut heads: Vec<Pfn> = heads.map(|(pfn, _)| Pfn::new(*pfn)).collect();
                if of.below(2) == 0 {
                    heads.reverse();
                }
                // One of them twice: it stops there.
                let twice = of.below(3) == 0 && heads.len() > 1;
                if twice {
                    heads.push(heads[0]);
                }
                let freed = match pages.free_bulk(&heads, order(o)) {
                    Ok(()) => heads.len(),
                    Err(error) => error.freed,
                };
                assert_eq!(freed, heads.len() - usize::from(twice));
                heads.iter().for_each(|pfn| _ = self.blocks.remove(&pfn.get()));
                doublings(freed)
            }
            10 => {
                pages.drain(&mut self.fronts[cpu]);
                0
            }
            11 => self.compact(&mut of),
            12 => {
                let (pfn, o) = self.some_frame(&mut of);
                let known = self.blocks.get(&pfn) == Some(&o);
                if covering(&self.frames.taken.borrow(), pfn).is_some() {
                    return (12, 9);
                }
                let split = pages.zones(|zones| zones.split_block(Pfn::new(pfn), order(o)));
                assert_eq!(split.is_ok(), known);
                if known {
                    self.blocks.remove(&pfn);
                    (pfn..pfn + (1 << o)).for_each(|pfn| self.add(Pfn::new(pfn), 0));
                }
                u32::from(known)
            }
            13 | 14 => {
                let size = of.size(14);
                let got = self.heap.kmalloc(&mut self.cpus[cpu], size);
                self.take_object(got, None, size)
            }
            15 => self.free_object(cpu, &mut of),
            16 => {
                let Some(nth) = of.below(1 + self.objects.len()).checked_sub(1) else {
                    return (16, 9);
                };
                let (at, bytes, id, stamp) = self.objects[nth];
                if id.is_some() {
                    return (16, 8);
                }
                let size = of.size(12);
                let Ok(to) = self.heap.krealloc(&mut self.cpus[cpu], at, size) else {
                    return (16, 7);
                };
                let usable = self.heap.ksize(to).unwrap();
                self.holds(to, bytes.min(usable), stamp);
                self.objects.swap_remove(nth);
                self.take_object(Ok(to), None, size)
            }
            17 => {
                let debug = of.below(2) == 1;
                let spec = CacheSpec {
                    align: 8 << of.below(5),
                    debug,
                    constructor: (of.below(3) == 0).then_some(constructor),
                    ..CacheSpec::new("fuzz", 1 + of.below(3000) as u32)
                };
                match self.heap.create(&spec) {
                    Ok(id) => self.caches.push((id, debug)),
                    Err(error) => assert_eq!(error, SlabError::TooManyCaches),
                }
                self.caches.len() as u32
            }
            18 if !self.caches.is_empty() => {
                let (id, _) = self.caches[of.below(self.caches.len())];
                let size = u64::from(self.heap.object_size(id).unwrap());
                let got = self.heap.alloc(&mut self.cpus[cpu], id);
                self.take_object(got, Some(id), size)
            }
            _ => self.end_cache(&mut of),
        };
        (u32::from(kind), came)
    }

    fn free(&mut self, cpu: usize, of: &mut Arguments) -> u32 {
        let (pfn, o) = self.some_frame(of);
        let o = if of.below(8) == 0 { of.below(ORDERS) } else { o };
        let hole = self.holes.iter().any(|(from, to)| (*from..*to).contains(&pfn));
        if covering(&self.frames.taken.borrow(), pfn).is_some() {
            // The slab heap's own; a kernel that frees those is beyond help.
            return 9;
        }
        let expected = match covering(&self.blocks, pfn) {
            _ if hole => Err(0),
            _ if !pfn.is_multiple_of(1 << o) => Err(1),
            Some((head, order)) if head == pfn && order == o => Ok(()),
            Some((head, _)) if head == pfn => Err(2),
            Some(_) => Err(3),
            None => Err(4),
        };
        let got = self.frames.pages.free(&mut self.fronts[cpu], Pfn::new(pfn), order(o));
        let got = got.map_err(|error| match error {
            FreeError::Foreign => 0,
            FreeError::Misaligned => 1,
            FreeError::WrongOrder { .. } => 2,
            FreeError::InsideBlock { .. } => 3,
            FreeError::DoubleFree => 4,
        });
        assert_eq!(got, expected, "free of {pfn} order {o}");
        if got.is_ok() {
            self.blocks.remove(&pfn);
        }
        got.err().map_or(0, |error| 1 + error)
    }

    fn compact(&mut self, of: &mut Arguments) -> u32 {
        let wanted = order(of.below(ORDERS));
        let refused = 1 + of.below(9);
        let kind = [ZoneKind::Dma, ZoneKind::Normal][of.below(2)];
        let mut moves = Vec::new();
        let mut nth = 0;
        let blocks = &self.blocks;
        let done = self.frames.pages.zones(|zones| {
            let zone = zones.zone_mut(kind).unwrap();
            zone.compact(wanted, &mut |from: Pfn, to: Pfn, order: Order| {
                nth += 1;
                // The slabs' frames stay; they are none of the model's blocks.
                let moved = nth % refused != 0 && blocks.get(&from.get()) == Some(&order.get());
                if moved {
                    moves.push((from, to, order.get()));
                }
                moved
            })
        });
        for (from, to, order) in moves {
            assert_eq!(self.blocks.remove(&from.get()), Some(order));
            self.add(to, order);
        }
        u32::from(done.success) << 4 | doublings(done.moved as usize).min(15)
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        self.heap.memory().at(at)
    }

    fn take_object(&mut self, got: Result<Virt, SlabError>, id: Option<CacheId>, size: u64) -> u32 {
        let at = match got {
            Ok(at) => at,
            Err(SlabError::OutOfMemory) => return 1,
            Err(error) => panic!("{error:?}"),
        };
        let usable = if id.is_some() { size } else { self.heap.ksize(at).unwrap() };
        assert!(usable >= size);
        let end = at.0 + usable;
        assert!(!self.objects.iter().any(|(o, bytes, ..)| o.0 < end && at.0 < o.0 + bytes));
        self.stamp += 0x1_0001;
        let words = usable / 8 * 8;
        (0..words).step_by(8).for_each(|o| self.word(at.0 + o).store(self.stamp ^ o, Relaxed));
        self.objects.push((at, words, id, self.stamp));
        2 + doublings(usable as usize)
    }

    fn holds(&self, at: Virt, bytes: u64, stamp: u64) {
        let whole =
            (0..bytes / 8 * 8).step_by(8).all(|o| self.word(at.0 + o).load(Relaxed) == stamp ^ o);
        assert!(whole, "the object at {:#x} was overwritten", at.0);
    }

    fn free_object(&mut self, cpu: usize, of: &mut Arguments) -> u32 {
        if self.objects.is_empty() {
            return 9;
        }
        let (at, bytes, id, stamp) = self.objects.swap_remove(of.below(self.objects.len()));
        self.holds(at, bytes, stamp);
        if of.below(4) == 0 {
            let inside = Virt(at.0 + 1 + of.below(7) as u64);
            let refused = self.heap.kfree(&mut self.cpus[cpu], inside);
            assert!(matches!(refused, Err(SlabError::NotAnObject | SlabError::Foreign)));
        }
        match id {
            Some(id) => self.heap.free(&mut self.cpus[cpu], id, at).unwrap(),
            None => self.heap.kfree(&mut self.cpus[cpu], at).unwrap(),
        }
        if of.below(3) == 0 {
            let again = self.heap.kfree(&mut self.cpus[of.below(CPUS)], at);
            assert!(matches!(again, Err(SlabError::DoubleFree | SlabError::Foreign)), "{again:?}");
        }
        u32::from(id.is_some())
    }

    fn end_cache(&mut self, of: &mut Arguments) -> u32 {
        if self.caches.is_empty() {
            return self.heap.shrink_kmalloc().min(7);
        }
        let nth = of.below(self.caches.len());
        let (id, _) = self.caches[nth];
        if of.below(3) == 0 {
            return 8 + self.heap.shrink(id).unwrap().min(7);
        }
        self.cpus.iter_mut().for_each(|cpu| self.heap.drain(cpu));
        let live = self.objects.iter().filter(|object| object.2 == Some(id)).count();
        match self.heap.destroy(id) {
            Ok(()) => {
                assert_eq!(live, 0);
                self.caches.swap_remove(nth);
                assert_eq!(self.heap.in_use(id), Err(SlabError::NoSuchCache));
                16
            }
            Err(error) => {
                assert_eq!(error, SlabError::Busy(live as u32));
                17
            }
        }
    }

    /// Every frame is somewhere, once.
    fn check(&self) {
        self.frames.pages.zones(|zones| zones.iter().for_each(|zone| zone.check().unwrap()));
        let blocks: u32 = self.blocks.values().map(|order| 1 << order).sum();
        let cached: u32 = self.fronts.iter().map(|front| front.frames()).sum();
        let slabs: u32 = self.frames.taken.borrow().values().map(|order| 1 << order).sum();
        assert_eq!(self.free_frames() + blocks + cached + slabs, self.total);
        assert_eq!(self.frames.pages.raced_frees(), 0);
    }

    fn free_frames(&self) -> u32 {
        self.frames.pages.zones(|zones| zones.free_frames())
    }

    fn finish(mut self) {
        for (at, bytes, _, stamp) in std::mem::take(&mut self.objects) {
            self.holds(at, bytes, stamp);
            self.heap.kfree(&mut self.cpus[0], at).unwrap();
        }
        self.cpus.iter_mut().for_each(|cpu| self.heap.drain(cpu));
        self.caches.iter().for_each(|(id, _)| self.heap.destroy(*id).unwrap());
        self.heap.shrink_kmalloc();
        for (pfn, o) in std::mem::take(&mut self.blocks) {
            self.frames.pages.free(&mut self.fronts[0], Pfn::new(pfn), order(o)).unwrap();
        }
        self.fronts.iter_mut().for_each(|front| self.frames.pages.drain(front));
        self.check();
        assert_eq!(self.free_frames(), self.total, "frames are lost");
    }
}

/// Runs an input over the kernel half; panics if it fails.
pub fn run(input: &Input, reached: &mut Reached) {
    let mut books = Books::default();
    let mut kernel = Kernel::new(input.seed, &mut books);
    for (count, word) in input.words.iter().enumerate() {
        let (kind, came) = kernel.apply(*word);
        reached.insert(feature(1, kind, came));
        if count % 64 == 63 {
            kernel.check();
            let blocks = kernel.frames.pages.zones(|zones| {
                zones.iter().flat_map(|zone| zone.free_blocks()).collect::<Vec<_>>()
            });
            for (place, count) in blocks.into_iter().enumerate() {
                reached.insert(feature(2, place as u32, doublings(count as usize)));
            }
        }
    }
    kernel.finish();
}
