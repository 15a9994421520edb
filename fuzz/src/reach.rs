//! What an input reaches: the measure by which inputs are kept.
//!
//! A feature is a small number: an operation together with what the kernel was
//! asked meanwhile, a bin that holds something, how much there is of what, on a
//! scale of doublings; and, where the allocator was compiled with counters
//! (`counters.rs`), every edge of its code on the same scale.

use crate::counters;
use crate::input::Input;
use heapwise_layout::state::{ArenaState, Cache};
use heapwise_testkit::World;
use heapwise_testkit::host::address;
use heapwise_testkit::op::Op;
use heapwise_testkit::os::Seen;
use heapwise_testkit::setup::Setup;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The heap is checked after so many operations.
const CHECK_EVERY: usize = 8;

/// The features of a run.
pub type Reached = BTreeSet<u32>;

/// The flag that asks for the kernel half instead of the allocator.
pub const KERNEL: &str = "--kernel";

static IS_KERNEL: AtomicBool = AtomicBool::new(false);

/// From now on inputs are run over the kernel half.
pub fn set_kernel() {
    IS_KERNEL.store(true, Relaxed);
}

/// Whether they are.
pub fn is_kernel() -> bool {
    IS_KERNEL.load(Relaxed)
}

/// Runs an input; panics if what it runs on fails.
pub fn run(input: &Input) -> Reached {
    counters::reset();
    let mut reached = Reached::new();
    if is_kernel() {
        crate::kernel::run(input, &mut reached);
    } else {
        run_malloc(input, &mut reached);
    }
    counters::each(|edge, hits| _ = reached.insert(feature(7, edge as u32, doublings(hits))));
    reached
}

fn run_malloc(input: &Input, reached: &mut Reached) {
    let world = World::new(Setup { max_bytes: 16 << 20, ..Setup::of_seed(input.seed) });
    world.alloc.os.trace();
    for (count, &word) in input.words.iter().enumerate() {
        let op = Op::decode(word);
        world.apply(op);
        note_calls(reached, op, &world.alloc.os.trace());
        if count % CHECK_EVERY == 0 {
            world.check();
            note_heap(reached, &world);
        }
    }
    world.check();
    world.finish();
}

/// One number for a kind of feature, which one, and how much.
pub fn feature(kind: u32, which: u32, much: u32) -> u32 {
    kind << 28 | which << 5 | much
}

/// On a scale of doublings.
pub fn doublings(amount: usize) -> u32 {
    amount.checked_ilog2().map_or(0, |log| log + 1).min(31)
}

/// The name of an operation without its arguments, as a number.
fn kind_of(op: Op) -> u32 {
    let text = format!("{op:?}");
    let name = text.split([' ', '{']).next().unwrap_or("");
    name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % 4096
}

fn note_calls(reached: &mut Reached, op: Op, calls: &[Seen]) {
    for call in calls {
        let (kind, bytes) = match *call {
            Seen::Sbrk(delta) if delta < 0 => (0, delta.unsigned_abs()),
            Seen::Sbrk(delta) => (1, delta.unsigned_abs()),
            Seen::Map(bytes) => (2, bytes),
            Seen::Reserve(bytes) => (3, bytes),
            Seen::Commit(bytes) => (4, bytes),
            Seen::Unmap(bytes) => (5, bytes),
            Seen::Remap(old, new) => (6 + u32::from(old < new), old.abs_diff(new)),
            Seen::Purge(bytes) => (8, bytes),
            Seen::Huge(bytes) => (9, bytes),
        };
        reached.insert(feature(1, kind_of(op) << 4 | kind, doublings(bytes)));
    }
}

fn note_heap(reached: &mut Reached, world: &World) {
    let alloc = &world.alloc;
    for (index, arena) in alloc.arenas().enumerate() {
        let which = (index as u32).min(2) << 8;
        let Some((figures, rows)) = alloc.arena_figures(index) else { break };
        for (row, size) in rows.iter().enumerate().filter(|(_, row)| row.tally.count > 0) {
            reached.insert(feature(2, which | row as u32, doublings(size.tally.count)));
        }
        let amounts = [
            figures.live.count,
            figures.cached.count,
            figures.fast.count,
            figures.binned.count,
            figures.top.bytes,
            figures.dirty_bytes,
            alloc.heaps(arena).count(),
            arena.users.load(Relaxed) as usize,
        ];
        for (item, amount) in amounts.into_iter().enumerate() {
            reached.insert(feature(3, which | item as u32, doublings(amount)));
        }
        note_caches(reached, arena, which);
    }
    reached.insert(feature(4, 0, doublings(alloc.state.mapped.count.load(Relaxed))));
}

fn note_caches(reached: &mut Reached, arena: &ArenaState, which: u32) {
    let mut next = arena.caches.get();
    while next != 0 {
        // SAFETY: caches live as long as their arena.
        let cache = unsafe { &*address::<Cache>(next) };
        let waiting = cache.foreign.iter().filter(|bin| bin.head.get() != 0).count() as u32;
        reached.insert(feature(5, which | cache.mode.load(Relaxed) << 4 | waiting, 0));
        next = cache.next.get();
    }
}
