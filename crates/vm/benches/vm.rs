//! Nanoseconds an operation at 10² to 10⁵ VMAs, beside the standard library's B-tree.
//!
//! ```text
//!   cargo bench -p heapwise-vm
//! ```
//! The VMAs are single pages with a gap of one page after each, so that none merges and
//! the only wide gap is behind them all: the worst case for a search from the other end.
//! The B-tree (a map from start to VMA) finds VMAs as well, but must look at every gap.
#![allow(missing_docs)]

use heapwise_pages::slab::Source;
use heapwise_pages::{Order, Pfn};
use heapwise_seed::Rng;
use heapwise_vm::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;

const PAGE: u64 = 4096;
const BASE: u64 = 0x10_0000_0000;
const ROUNDS: usize = 7;
const CALLS: usize = 20_000;

unsafe extern "C" {
    fn clock_gettime(clock: i32, at: *mut [i64; 2]) -> i32;
}

/// This thread's processor time, so that a busy machine disturbs less.
fn now() -> i64 {
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut at = [0; 2];
    // SAFETY: on 64-bit Linux, a timespec is two 64-bit words.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut at) };
    at[0] * 1_000_000_000 + at[1]
}

fn median(calls: usize, mut round: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = now();
            round();
            (now() - start) as f64 / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// Frames from a stack: the buddy has a bench of its own.
struct Stack(RefCell<Vec<u32>>);

impl Source for Stack {
    fn take(&self, _: Order) -> Option<Pfn> {
        self.0.borrow_mut().pop().map(Pfn::new)
    }

    fn give(&self, pfn: Pfn, _: Order) {
        self.0.borrow_mut().push(pfn.get());
    }
}

fn addresses(count: u64) -> Vec<VirtAddr> {
    let mut random = Rng::new(0x2545_f491_4f6c_dd1d);
    (0..CALLS).map(|_| VirtAddr::new(BASE + random.below(2 * count) * PAGE)).collect()
}

fn main() {
    println!(
        "{:>8} {:>9} {:>9} {:>10} {:>12} {:>10} {:>8}",
        "VMAs", "lookup", "B-tree", "gap", "B-tree gap", "map+unmap", "fault"
    );
    for count in [100_u64, 1000, 10_000, 100_000] {
        row(count);
    }
    println!("ns each; gap: the lowest wide one, searched from the top");
}

fn row(count: u64) {
    let mut slots = vec![VmaSlot::new(); count as usize + 16];
    let mut tables = vec![Table::new(); 600];
    let mut owners = vec![0; 1 << 16];
    let arena = RefCell::new(TableArena::new(&mut tables));
    let mut nodes = VmaPool::new(&mut slots);
    let source = Stack(RefCell::new((0..1 << 16).rev().collect()));
    let mut frames = Counted::new(source, (), Pfn::new(0), &mut owners).expect("frames");
    let mut objects: [ShmemSlot<'_, '_, RefCell<TableArena<'_>>>; 0] = [];
    let mut files = Shmem::new(&mut objects, &arena);
    let mut commit = Commit::new(Overcommit::Always, 1 << 16);
    let mut env =
        Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
    let policy = Policy { max_map_count: u32::MAX, ..Policy::default() };
    let limits = Limits::default();
    let mut layout = Layout::new(Width::Bits64, Aslr::Off, &limits, &policy, &mut || 0);
    // Nothing but the mappings' own pages and one gap below them.
    layout.mmap_base = VirtAddr::new(BASE + 2 * count * PAGE);
    let mut mm = Mm::new(SoftTable::new(&arena), layout, limits, policy);
    let mut reference = BTreeMap::new();
    for nth in 0..count {
        let at = VirtAddr::new(BASE + 2 * nth * PAGE);
        let request = MapRequest::anonymous(PAGE, Prot::RW).at(at).with(MapFlags::FIXED);
        mm.mmap(&mut env, request).expect("room");
        reference.insert(at, mm.vma_at(env.nodes, at).expect("just mapped"));
    }
    let addresses = addresses(count);
    let lookup = median(CALLS, || {
        for at in &addresses {
            black_box(mm.find_vma(env.nodes, *at));
        }
    });
    let reference_lookup = median(CALLS, || {
        for at in &addresses {
            black_box(reference.range(..=at).next_back());
        }
    });
    let mut tree = VmaTree::new();
    let mut tree_slots = vec![VmaSlot::new(); count as usize];
    let mut tree_nodes = VmaPool::new(&mut tree_slots);
    for vma in reference.values() {
        tree.insert(&mut tree_nodes, *vma).expect("room");
    }
    let within = Span::new(VirtAddr::new(65536), layout.mmap_base);
    let gap = median(CALLS, || {
        for pages in 0..CALLS as u64 {
            black_box(tree.highest_gap(&tree_nodes, within, (2 + pages % 100) * PAGE));
        }
    });
    let scans = (1_000_000 / count as usize).max(1);
    let reference_gap = median(scans, || {
        for _ in 0..scans {
            let mut end = within.end;
            let wide = reference.values().rev().find(|vma| {
                let gap = end.since(vma.span.end);
                end = vma.span.start;
                gap >= 2 * PAGE
            });
            black_box(wide);
        }
    });
    let map_unmap = median(CALLS, || {
        for _ in 0..CALLS {
            let at = mm.mmap(&mut env, MapRequest::anonymous(3 * PAGE, Prot::READ)).expect("room");
            mm.munmap(&mut env, at, 3 * PAGE).expect("a mapping");
        }
    });
    let heap = MapRequest::anonymous(CALLS as u64 * PAGE, Prot::RW);
    let start = mm.mmap(&mut env, heap).expect("room");
    let fault = median(CALLS, || {
        for nth in 0..CALLS as u64 {
            let touched = mm.access(&mut env, start.up(nth * PAGE), Access::Write);
            black_box(touched.expect("a frame"));
        }
        mm.madvise(&mut env, start, CALLS as u64 * PAGE, Advice::DontNeed).expect("mapped");
    });
    println!(
        "{count:>8} {lookup:>9.1} {reference_lookup:>9.1} {gap:>10.1} {reference_gap:>12.0} {map_unmap:>10.0} {fault:>8.0}"
    );
    mm.exit(&mut env);
}
