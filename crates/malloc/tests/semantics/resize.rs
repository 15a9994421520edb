//! realloc: where it stays, where it goes.

use crate::bench::{LARGE, PAGE, free, plain, realloc, seen, set, threads};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::faults::ALL;

#[test]
fn null_and_zero() {
    let world = plain();
    let slot = world.slot(0);
    let pointer = world.alloc.realloc(&slot, 0, 100);
    assert_ne!(pointer, 0, "realloc(NULL, n) is malloc(n)");
    assert_eq!(world.alloc.realloc(&slot, pointer, 0), 0, "realloc(p, 0) frees");
    assert_eq!(world.malloc(0, 100), pointer);
}

#[test]
fn within_the_class_it_stays() {
    let world = plain();
    let pointer = world.malloc(0, 33);
    assert_eq!(realloc(&world, pointer, 40), pointer);
    assert_eq!(realloc(&world, pointer, 25), pointer);
    assert_ne!(realloc(&world, pointer, 41), pointer);
}

#[test]
fn the_last_chunk_grows_into_the_top() {
    let world = plain();
    let pointer = world.malloc(0, LARGE);
    assert_eq!(realloc(&world, pointer, LARGE + 40_000), pointer);
    // Up to the threshold also by moving the break.
    assert_eq!(realloc(&world, pointer, 130_000), pointer);
    world.check();
    world.finish();
}

#[test]
fn it_grows_into_a_free_neighbour() {
    let world = plain();
    let [pointer, next, _guard] = [0; 3].map(|_| world.malloc(0, LARGE));
    free(&world, 0, next);
    assert_eq!(realloc(&world, pointer, LARGE + 30_000), pointer);
    world.check();
    assert_eq!(realloc(&world, pointer, LARGE + 50_000), pointer, "the rest was given back free");
    world.check();
    assert_ne!(realloc(&world, pointer, 2 * LARGE + 20_000), pointer, "no more room");
    world.finish();
}

#[test]
fn the_whole_neighbour_is_taken_if_its_rest_is_no_chunk() {
    let world = plain();
    let [pointer, next, _guard] = [0; 3].map(|_| world.malloc(0, LARGE));
    free(&world, 0, next);
    // Both chunks are 70,016; 16 bytes would be left.
    assert_eq!(realloc(&world, pointer, 2 * 70_016 - 16 - 8), pointer);
    assert_eq!(world.alloc.usable_size(pointer), 2 * 70_016 - 8);
    world.check();
}

#[test]
fn a_large_chunk_of_a_heap_is_whole_pages() {
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    let pointer = world.malloc(0, 300_000);
    let room = world.alloc.usable_size(pointer);
    assert_eq!((room + 8) % PAGE, 0);
    assert_eq!(realloc(&world, pointer, room), pointer);
    assert_eq!(realloc(&world, pointer, room - PAGE + 1), pointer, "the same pages");
    assert_eq!(world.alloc.usable_size(pointer), room);
    world.check();
    world.finish();
}

#[test]
fn a_large_chunk_that_shrinks_gives_its_tail_back() {
    let world = plain();
    let [pointer, _guard] = [0; 2].map(|_| world.malloc(0, 120_000));
    let free_before = world.alloc.figures().binned.bytes;
    assert_eq!(realloc(&world, pointer, 60_000), pointer);
    let given = world.alloc.figures().binned.bytes - free_before;
    assert!((55_000..60_100).contains(&given), "{given}");
    world.check();
    let small = realloc(&world, pointer, 100);
    assert_ne!(small, pointer, "not a small chunk at the head of a large one");
    world.finish();
}

#[test]
fn a_small_chunk_that_shrinks_a_little_stays() {
    let world = plain();
    let pointer = world.malloc(0, 2000);
    assert_eq!(realloc(&world, pointer, 1500), pointer);
    assert_ne!(realloc(&world, pointer, 100), pointer, "to a twentieth it moves");
}

#[test]
fn another_threads_chunk_moves_to_ones_own_arena() {
    let world = threads(2, &[]);
    let pointer = world.malloc(0, LARGE);
    world.malloc(1, 10);
    let block = world.block_at(pointer).unwrap();
    let moved = world.realloc(1, block, LARGE + 5000);
    assert!(moved != 0 && moved != pointer);
    world.check();
    world.finish();
}

#[test]
fn failure_leaves_the_old_chunk() {
    let world = plain();
    let pointer = world.malloc(0, LARGE);
    world.malloc(0, 50_000);
    world.alloc.os.kernel().faults.plan(1, u64::MAX, ALL);
    assert_eq!(realloc(&world, pointer, 120_000), 0);
    assert_eq!(realloc(&world, pointer, 60_000), pointer, "shrinking needs nobody");
    assert_eq!(realloc(&world, pointer, usize::MAX), 0);
    world.check();
    world.verify_all();
    world.finish();
}

#[test]
fn growing_step_by_step_keeps_to_one_place() {
    let world = plain();
    let mut pointer = world.malloc(0, LARGE);
    let moves = (LARGE..125_000)
        .step_by(1000)
        .filter(|&request| {
            let new = realloc(&world, pointer, request);
            std::mem::replace(&mut pointer, new) != new
        })
        .count();
    assert_eq!(moves, 0);
    assert_eq!(seen(&world, || _ = realloc(&world, pointer, 125_001)), []);
}
