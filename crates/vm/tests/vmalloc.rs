//! vmalloc against a model: addresses, guards, lazy purges, running out at each step.
#![allow(missing_docs)]

mod common;

use common::{Arena, Buddy, Machine};
use heapwise_pages::slab::Source as _;
use heapwise_pages::{Order, PAGE_SIZE};
use heapwise_seed::Rng;
use heapwise_vm::*;
use std::collections::{BTreeMap, BTreeSet};

/// A table that counts its flushes, as each costs every processor an interrupt.
struct Flushed(SoftTable<'static, 'static, Arena>, Vec<Span>);

impl PageTable for Flushed {
    fn get(&self, at: VirtAddr) -> Option<Entry> {
        self.0.get(at)
    }
    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables> {
        self.0.set(at, entry)
    }
    fn clear(&mut self, at: VirtAddr) -> Option<Entry> {
        self.0.clear(at)
    }
    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)> {
        self.0.first(span)
    }
    fn prune(&mut self, span: Span) {
        self.0.prune(span);
    }
    fn flush(&mut self, span: Span) {
        self.1.push(span);
    }
    fn tables(&self) -> u64 {
        self.0.tables()
    }
}

type Range = Vmalloc<'static, UpperHalf<Flushed>>;

fn range(machine: &Machine, nodes: usize, span: Span, cpus: u32) -> Range {
    let pool = VmaPool::new(vec![VmaSlot::new(); nodes].leak());
    Vmalloc::new(UpperHalf(Flushed(machine.table(), Vec::new())), pool, span, cpus)
}

fn free_frames(buddy: &Buddy) -> u32 {
    buddy.zones.borrow().free_frames()
}

const START: u64 = VMALLOC_RANGE.start.get();

#[test]
fn scattered_frames_lie_side_by_side_with_a_guard() {
    let machine = Machine::new(1024);
    let mut vmalloc = range(&machine, 16, VMALLOC_RANGE, 2);
    let buddy = &machine.buddy;
    // Every second frame is somebody else's: there are no two neighbours.
    let singles: Vec<_> = std::iter::from_fn(|| buddy.take(Order::ZERO)).collect();
    singles.iter().filter(|pfn| pfn.get() % 2 == 0).for_each(|pfn| buddy.give(*pfn, Order::ZERO));
    assert_eq!(buddy.take(Order::new(1).unwrap()), None);
    let one = vmalloc.alloc(buddy, 5 * PAGE_SIZE - 1).unwrap();
    let two = vmalloc.alloc(buddy, 1).unwrap();
    assert_eq!((one.get(), two.get()), (START, START + 6 * PAGE_SIZE));
    assert_eq!((vmalloc.size(one), vmalloc.size(two)), (Ok(5 * PAGE_SIZE), Ok(PAGE_SIZE)));
    let frames: BTreeSet<u32> =
        (0..5).map(|nth| vmalloc.frame(one.up(nth * PAGE_SIZE)).unwrap().get()).collect();
    assert_eq!(frames.len(), 5);
    assert_eq!(vmalloc.frame(one.up(5 * PAGE_SIZE)), None, "the guard");
    let text = "0xffffc90000000000-0xffffc90000006000   24576 pages=5 vmalloc\n\
                0xffffc90000006000-0xffffc90000008000    8192 pages=1 vmalloc\n";
    assert_eq!(vmalloc.to_string(), text);
    assert_eq!(vmalloc.free(buddy, one.up(PAGE_SIZE)), Err(VmallocError::NotAnArea));
    assert_eq!(vmalloc.free(buddy, VirtAddr::new(PAGE_SIZE)), Err(VmallocError::NotAnArea));
    assert_eq!(vmalloc.free(buddy, one), Ok(5));
    assert_eq!(vmalloc.free(buddy, one), Err(VmallocError::DoubleFree));
    assert_eq!(vmalloc.size(one), Err(VmallocError::DoubleFree));
    assert_eq!(vmalloc.alloc(buddy, 0), Err(VmallocError::Size));
    assert_eq!(vmalloc.alloc(buddy, u64::MAX), Err(VmallocError::Size));
}

/// Freed addresses are not used again before a flush, and one flush serves them all.
#[test]
fn purges_in_bulk() {
    let machine = Machine::new(4096);
    let mut vmalloc = range(&machine, 30_000, VMALLOC_RANGE, 1);
    let buddy = &machine.buddy;
    let limit = (32 << 20) / PAGE_SIZE;
    let mut seen = BTreeSet::new();
    let rounds = limit / 4 + 1;
    for round in 0..rounds {
        assert!(vmalloc.table().0.1.is_empty(), "round {round}");
        let at = vmalloc.alloc(buddy, 3 * PAGE_SIZE).unwrap();
        assert!(seen.insert(at), "handed out again without a flush");
        vmalloc.free(buddy, at).unwrap();
    }
    let flushes = &vmalloc.table().0.1;
    assert_eq!(flushes.len(), 1);
    assert_eq!(flushes[0], Span::at(VirtAddr::new(START), rounds * 4 * PAGE_SIZE));
    assert_eq!(vmalloc.figures(), VmallocFigures { purges: 1, ..VmallocFigures::default() });
    assert_eq!(vmalloc.alloc(buddy, 1).unwrap().get(), START);
}

/// A full range and an empty pool purge before they refuse.
#[test]
fn purges_when_short_of_addresses_or_nodes() {
    let machine = Machine::new(1024);
    let buddy = &machine.buddy;
    let small = Span::at(VMALLOC_RANGE.start, 8 * PAGE_SIZE);
    for (nodes, span) in [(16, small), (1, VMALLOC_RANGE)] {
        let mut vmalloc = range(&machine, nodes, span, 4);
        for _ in 0..3 {
            let at = vmalloc.alloc(buddy, 6 * PAGE_SIZE).unwrap();
            let short = vmalloc.alloc(buddy, 6 * PAGE_SIZE);
            let error = if nodes == 1 { VmallocError::OutOfVmas } else { VmallocError::NoGap };
            assert_eq!(short, Err(error));
            vmalloc.free(buddy, at).unwrap();
        }
        assert_eq!(vmalloc.figures().purges, 2);
    }
}

/// Random areas against a map; all frames and tables come home.
#[test]
fn follows_the_model() {
    let seed = std::env::var("HEAPWISE_VM_SEED").map_or(11, |seed| seed.parse().unwrap());
    println!("HEAPWISE_VM_SEED={seed}");
    let mut random = Rng::new(seed);
    let machine = Machine::new(2048);
    let before = machine.free();
    let buddy = &machine.buddy;
    let mut vmalloc = range(&machine, 512, Span::at(VMALLOC_RANGE.start, 64 << 20), 2);
    let mut areas: BTreeMap<u64, u64> = BTreeMap::new();
    let mut pages_out = 0;
    for _ in 0..20_000 {
        if random.word() % 100 < 52 {
            let bytes = 1 + random.word() % (40 * PAGE_SIZE);
            match vmalloc.alloc(buddy, bytes) {
                Ok(at) => {
                    let pages = bytes.div_ceil(PAGE_SIZE);
                    let end = at.get() + (pages + 1) * PAGE_SIZE;
                    let below = areas.range(..end).next_back();
                    assert!(
                        below.is_none_or(|(old, pages)| old + (pages + 1) * PAGE_SIZE <= at.get())
                    );
                    areas.insert(at.get(), pages);
                    pages_out += pages;
                }
                Err(error) => assert_eq!(error, VmallocError::OutOfMemory),
            }
        } else if !areas.is_empty() {
            let nth = random.word() as usize % areas.len();
            let (&at, &pages) = areas.iter().nth(nth).unwrap();
            assert_eq!(vmalloc.free(buddy, VirtAddr::new(at)), Ok(pages));
            areas.remove(&at);
            pages_out -= pages;
        }
        assert_eq!(u64::from(before.0 - free_frames(buddy)), pages_out);
        assert_eq!(vmalloc.figures().pages, pages_out);
    }
    assert!(vmalloc.figures().purges > 0);
    for at in areas.into_keys() {
        vmalloc.free(buddy, VirtAddr::new(at)).unwrap();
    }
    vmalloc.purge();
    vmalloc.table_mut().prune(VMALLOC_RANGE);
    assert_eq!(machine.free(), before);
}

/// The Nth frame is missing, for every N; then the Nth table: nothing is lost.
#[test]
fn fails_at_every_step() {
    let machine = Machine::sized(256, 16, 4);
    let before = machine.free();
    let mut failures = 0;
    for n in 1..=21 {
        let mut vmalloc = range(&machine, 4, VMALLOC_RANGE, 1);
        machine.buddy.fail_at.set(n);
        let result = vmalloc.alloc(&machine.buddy, 20 * PAGE_SIZE);
        machine.buddy.fail_at.set(0);
        match result {
            Ok(at) => _ = vmalloc.free(&machine.buddy, at).unwrap(),
            Err(error) => {
                assert_eq!(error, VmallocError::OutOfMemory);
                failures += 1;
            }
        }
        assert_eq!(vmalloc.figures().pages, 0);
        vmalloc.table_mut().prune(VMALLOC_RANGE);
        assert_eq!(machine.free(), before, "the frame {n} was missing");
    }
    assert_eq!(failures, 20);
    for tables in 0..4 {
        let machine = Machine::sized(256, 16, tables);
        let before = machine.free();
        let mut vmalloc = range(&machine, 4, VMALLOC_RANGE, 1);
        let result = vmalloc.alloc(&machine.buddy, PAGE_SIZE);
        assert_eq!(result, Err(VmallocError::OutOfTables));
        vmalloc.table_mut().prune(VMALLOC_RANGE);
        assert_eq!(machine.free(), before);
    }
}
