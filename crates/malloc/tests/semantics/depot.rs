//! Lists that caches give up: not merged while the same sizes come back, merged when it counts.

use crate::bench::{arena, cache, free, header, plain, seen, smash, threads};
use heapwise_seed::Rng;
use heapwise_testkit::World;
use heapwise_testkit::faults::Kind;
use std::sync::atomic::Ordering::Relaxed;

const MIB: usize = 1 << 20;

fn depot_bytes(world: &World, thread: usize) -> usize {
    arena(world, thread).depot_bytes.load(Relaxed)
}

/// So many blocks of `request` bytes.
fn blocks(world: &World, count: usize, request: usize) -> Vec<usize> {
    (0..count).map(|_| world.malloc(0, request)).collect()
}

fn shuffle(pointers: &mut [usize], seed: u64) {
    let mut rng = Rng::new(seed);
    (1..pointers.len()).rev().for_each(|last| pointers.swap(last, rng.index(last + 1)));
}

/// A world whose first thread holds 8 MiB.
fn filled(count: usize) -> Box<World> {
    let world = threads(count, &[]);
    blocks(&world, 8 * MIB / 512, 500);
    world
}

#[test]
fn what_is_freed_and_allocated_again_is_not_merged() {
    let world = filled(1);
    let first = blocks(&world, 4000, 200);
    let binned = world.alloc.figures().binned;
    let calls = seen(&world, || {
        first.iter().for_each(|&p| free(&world, 0, p));
        assert!(depot_bytes(&world, 0) > 4000 * 208 / 2);
        assert_eq!(world.alloc.figures().binned, binned);
        blocks(&world, 4000, 200);
        assert_eq!(world.alloc.figures().binned, binned);
    });
    assert_eq!(calls, []);
    assert!(depot_bytes(&world, 0) < 32 << 10, "what the cache had before");
    world.check();
    world.finish();
}

#[test]
fn the_heap_merges_before_it_grows() {
    let world = filled(1);
    let keep = world.malloc(0, 200);
    let small = blocks(&world, 4000, 200);
    let wall = world.malloc(0, 200);
    small.iter().for_each(|&p| free(&world, 0, p));
    assert!(depot_bytes(&world, 0) > 0);
    let before = world.alloc.figures().system_bytes;
    // What the top has is cut first; then what waited serves.
    let mut large = Vec::new();
    while depot_bytes(&world, 0) > 0 {
        large.push(world.malloc(0, 1000));
    }
    large.extend(blocks(&world, 400, 1000));
    assert_eq!(world.alloc.figures().system_bytes, before);
    world.check();
    large.iter().chain([&keep, &wall]).for_each(|&p| free(&world, 0, p));
    world.finish();
}

#[test]
fn a_heap_that_cannot_grow_merges_the_least() {
    let world = filled(1);
    let small = blocks(&world, 300, 100);
    small.iter().for_each(|&p| free(&world, 0, p));
    let waits = depot_bytes(&world, 0);
    assert!(0 < waits && waits < 64 << 10, "{waits}: not worth it otherwise");
    let kinds = Kind::Sbrk.bit() | Kind::Reserve.bit();
    world.alloc.os.kernel().faults.plan(1, u64::MAX, kinds);
    while depot_bytes(&world, 0) > 0 {
        assert_eq!(header(world.malloc(0, 1000)) & 2, 0, "not a mapping");
    }
    world.alloc.os.kernel().faults.lift();
    world.check();
    world.finish();
}

#[test]
fn a_sweep_leaves_no_free_neighbours() {
    for seed in 0..20 {
        let world = plain();
        let mut rng = Rng::new(seed);
        let mut held: Vec<_> = (0..6000).map(|_| world.malloc(0, 16 + rng.index(2000))).collect();
        for round in 0..4 {
            // Some go home one by one, most through the depot; then a sweep, as a rule.
            let leave = held.len() * [1, 10, 50, 100][round] / 100;
            while held.len() > leave {
                let pointer = held.swap_remove(rng.index(held.len()));
                free(&world, 0, pointer);
            }
            assert_eq!(world.alloc.check(), Ok(()), "seed {seed}");
            held.extend((0..1500).map(|_| world.malloc(0, 16 + rng.index(4000))));
            assert_eq!(world.alloc.check(), Ok(()), "seed {seed}");
        }
        world.alloc.trim(&world.slot(0), 0);
        assert_eq!(depot_bytes(&world, 0), 0);
        world.check();
        world.finish();
    }
}

#[test]
fn what_waits_is_bounded_by_what_is_in_use() {
    let world = plain();
    let many = blocks(&world, 32 * MIB / 512, 500);
    let mut most = 0;
    for (index, &pointer) in many.iter().enumerate() {
        free(&world, 0, pointer);
        let waits = depot_bytes(&world, 0);
        let used = 32 * MIB - (index + 1) * 512;
        assert!(waits <= (used + waits).max(2 * MIB), "{waits} of {used}");
        most = most.max(waits);
    }
    assert!(most > 8 * MIB && depot_bytes(&world, 0) <= MIB / 2);
    world.finish();
}

#[test]
fn in_a_large_arena_a_call_merges_a_part_of_what_waits() {
    let world = plain();
    let mut many = blocks(&world, 80 * MIB / 1024, 1000);
    shuffle(&mut many, 1);
    let waiting = || (depot_bytes(&world, 0), arena(&world, 0).marked_count.get());
    let (mut most, mut calls) = (0, 0);
    for (index, &pointer) in many.iter().enumerate() {
        let before = waiting();
        free(&world, 0, pointer);
        let after = waiting();
        // A list that is given up has 2 MiB walked over or 2,048 chunks marked; frees that have waited
        // may bring a few.
        assert!(before.0.saturating_sub(after.0) <= 10 * MIB, "{before:?} {after:?}");
        assert!(after.1.saturating_sub(before.1) <= 12 << 10, "{before:?} {after:?}");
        calls += usize::from(after.0 < before.0);
        most = most.max(after.0);
        if index % 20_000 == 10_000 {
            world.check();
        }
    }
    assert!(calls > 20, "{calls}");
    assert!(most > 40 * MIB, "{most}");
    world.check();
    world.finish();
}

/// A world whose first thread has freed 72 MiB of 100, most of it in its depot.
fn large(count: usize) -> Box<World> {
    let world = threads(count, &[]);
    let mut many = blocks(&world, 100 * MIB / 1024, 1000);
    shuffle(&mut many, 2);
    for &pointer in &many[..many.len() / 25 * 18] {
        free(&world, 0, pointer);
    }
    assert!(depot_bytes(&world, 0) > 50 * MIB, "{}", depot_bytes(&world, 0));
    world
}

#[test]
fn a_large_arena_that_grows_merges_parts_first() {
    let world = large(1);
    let before = world.alloc.figures().system_bytes;
    // Of another class; each time it would grow it merges, and in the end it need not have.
    blocks(&world, 48 * MIB / 512, 500);
    let grown = world.alloc.figures().system_bytes - before;
    assert!(grown < 24 * MIB, "{grown}");
    world.check();
    world.finish();
}

/// Three looks of the helper leave nothing in the first thread's depot.
fn assert_merged_while_asleep(world: Box<World>) {
    for _ in 0..3 {
        world.alloc.tick();
    }
    assert_eq!(depot_bytes(&world, 0), 0);
    world.check();
    world.finish();
}

#[test]
fn a_sleeping_threads_large_arena_is_merged_in_one_look() {
    let world = large(2);
    world.malloc(1, 10);
    assert_merged_while_asleep(world);
}

#[test]
fn trimming_merges_all_of_a_large_arena() {
    let world = large(1);
    world.alloc.trim(&world.slot(0), 0);
    assert_eq!(depot_bytes(&world, 0), 0);
    world.check();
    world.finish();
}

#[test]
fn what_is_needed_again_is_not_merged_twice() {
    let world = plain();
    let mut limit_reached = 0;
    for _ in 0..6 {
        let mut many = blocks(&world, 32 * MIB / 512, 500);
        shuffle(&mut many, 3);
        let before = world.alloc.figures().binned.bytes;
        many.iter().for_each(|&p| free(&world, 0, p));
        limit_reached += usize::from(world.alloc.figures().binned.bytes > before + 8 * MIB);
    }
    assert!(limit_reached <= 2, "{limit_reached}");
    assert!(depot_bytes(&world, 0) > 24 * MIB);
    world.check();
    world.finish();
}

#[test]
fn the_helper_asks_a_thread_that_works() {
    let world = filled(2);
    (0..2).for_each(|thread| _ = world.malloc(thread, 10));
    world.alloc.os.kernel().awake.insert(cache(&world, 0).tid.load(Relaxed));
    blocks(&world, 4000, 200).iter().for_each(|&p| free(&world, 0, p));
    let waits = depot_bytes(&world, 0);
    assert!(waits > 256 << 10);
    for _ in 0..3 {
        world.alloc.tick();
    }
    assert_eq!(depot_bytes(&world, 0), waits, "not the helper's to merge");
    // Its next call behind the fast paths.
    let pointer = world.malloc(0, 900);
    assert_eq!(depot_bytes(&world, 0), 0);
    free(&world, 0, pointer);
    world.alloc.os.kernel().awake.clear();
    world.check();
    world.finish();
}

#[test]
fn a_sleeping_threads_depot_is_merged() {
    let world = filled(2);
    world.malloc(1, 10);
    blocks(&world, 4000, 200).iter().for_each(|&p| free(&world, 0, p));
    assert!(depot_bytes(&world, 0) > 0);
    assert_merged_while_asleep(world);
}

#[test]
#[should_panic(expected = "unaligned tcache chunk")]
fn a_batch_that_was_written_to_is_not_believed() {
    let world = filled(1);
    blocks(&world, 4000, 200).iter().for_each(|&p| free(&world, 0, p));
    let bin = heapwise_layout::size::cache_bin(208).expect("a class");
    let batch = arena(&world, 0).depot[bin].get();
    // The way to the next batch.
    smash(batch + 8, 0x4141_4141);
    blocks(&world, 4000, 200);
}
