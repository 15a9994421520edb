//! Whose arena: threads, their ends, their sleep, sharing, forks.

use crate::bench::{LARGE, arena, cache, free, header, plain, seen, set, threads};
use heapwise_layout::state::{ARENA_SHARED, MODE_LENT, MODE_OPEN, MODE_SHARED};
use heapwise_malloc::Slot;
use heapwise_malloc::foreign::{Elsewhere, free_elsewhere};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;
use heapwise_testkit::op::Op;
use heapwise_testkit::os::{Boot, Seen};
use heapwise_testkit::setup::Setup;
use std::sync::atomic::Ordering::Relaxed;

fn is_shared(world: &World, thread: usize) -> bool {
    arena(world, thread).flags.get() & ARENA_SHARED != 0
}

fn attach_all(world: &World, count: usize) -> Vec<u32> {
    (0..count)
        .map(|thread| {
            world.malloc(thread, 10);
            arena(world, thread).index.get()
        })
        .collect()
}

#[test]
fn each_thread_has_an_arena_of_its_own() {
    let world = threads(4, &[]);
    assert_eq!(attach_all(&world, 4), [0, 1, 2, 3]);
    let second = world.malloc(1, 10);
    assert_eq!(header(second) & 4, 4, "A");
    assert_eq!(header(world.malloc(0, 10)) & 4, 0);
    let head = second & !((64 << 20) - 1);
    assert_eq!(head, world.alloc.heaps(arena(&world, 1)).next().unwrap() as *const _ as usize);
}

#[test]
fn near_the_limit_arenas_are_shared() {
    // 8: six of their own, two shared by all others.
    let world = threads(20, &[(Setting::ArenaMax, 8)]);
    let indices = attach_all(&world, 20);
    assert_eq!(indices[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    let shared: Vec<_> = (0..20).map(|t| is_shared(&world, t)).collect();
    assert!(shared[..6].iter().all(|s| !s) && shared[6..].iter().all(|s| *s));
    let users: Vec<_> = world.alloc.arenas().map(|a| a.users.load(Relaxed)).collect();
    assert_eq!(users, [1, 1, 1, 1, 1, 1, 7, 7]);
    assert!(indices.iter().all(|&i| i < 8));
    assert_eq!(cache(&world, 19).mode.load(Relaxed), MODE_SHARED);
    world.check();
    world.finish();
}

#[test]
fn the_limit_follows_the_usable_cores() {
    // 64 times 2 cores; a quarter of them shared.
    let world = threads(140, &[]);
    attach_all(&world, 140);
    assert_eq!(world.alloc.arenas().count(), 128);
    assert_eq!((0..140).filter(|&t| !is_shared(&world, t)).count(), 96);
    world.finish();
}

#[test]
fn where_address_space_is_limited_arenas_are_few() {
    let world = World::new(Setup {
        threads: 20,
        boot: Boot { address_space_limited: true, ..Boot::default() },
        ..Setup::plain()
    });
    attach_all(&world, 20);
    assert_eq!(world.alloc.arenas().count(), 16);
    assert_eq!((0..20).filter(|&t| !is_shared(&world, t)).count(), 12);
    world.finish();
}

#[test]
fn one_arena_for_all() {
    let world = World::new(Setup {
        share_first: true,
        threads: 5,
        settings: vec![(Setting::ArenaMax, 1)],
        ..Setup::plain()
    });
    assert_eq!(attach_all(&world, 5), [0; 5]);
    let calls = seen(&world, || {
        for thread in 0..5 {
            let pointer = world.malloc(thread, 500);
            free(&world, (thread + 1) % 5, pointer);
        }
    });
    assert!(!calls.iter().any(|c| matches!(c, Seen::Reserve(_))));
    world.check();
    world.finish();
}

#[test]
fn an_arena_shared_late_knows_what_its_cache_held() {
    // A thread of a secondary arena, with a warm cache, sets the limit to 1.
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let pointers: Vec<_> = (0..20).map(|_| world.malloc(1, 200)).collect();
    pointers.iter().for_each(|&p| free(&world, 1, p));
    world.alloc.share_own_arena(&world.slot(1));
    for _ in 0..40 {
        let pointer = world.malloc(1, 200);
        assert_eq!(header(pointer) & 4, 4, "A");
        free(&world, 0, pointer);
    }
    world.check();
    world.finish();
}

#[test]
fn the_next_thread_inherits_a_warm_cache() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let pointer = world.malloc(1, 300);
    free(&world, 1, pointer);
    world.apply(Op::Exit { thread: 1 });
    let calls = seen(&world, || assert_eq!(world.malloc(1, 300), pointer));
    assert_eq!(calls, []);
    assert_eq!(world.alloc.arenas().count(), 2);
    assert_eq!(arena(&world, 1).index.get(), 1);
}

#[test]
fn destructors_that_come_after_the_end_are_served() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let kept = world.malloc(1, 200);
    let slot = world.slot(1);
    world.alloc.detach(&slot);
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for request in [10, 100, 1000, 5000] {
        small.push(world.malloc(1, request));
    }
    large.push(world.calloc(1, 1, LARGE));
    large.push(world.memalign(1, 256, 500));
    assert!(small.iter().chain(&large).all(|&p| p != 0));
    free(&world, 1, kept);
    small.iter().for_each(|&p| free(&world, 1, p));
    world.alloc.detach(&slot);
    world.check();
    world.finish();
}

#[test]
fn a_late_destructor_gets_a_whole_header_out_of_a_fastbin() {
    // The arena of another ended thread holds fast chunks that lost their A in a cache.
    let world = threads(3, &[(Setting::CacheCount, 0)]);
    attach_all(&world, 3);
    let keep = world.malloc(1, 10);
    let pointers: Vec<_> = (0..60).map(|_| world.malloc(1, 100)).collect();
    pointers.iter().for_each(|&p| free(&world, 1, p));
    assert!(world.alloc.arena_figures(1).unwrap().0.fast.count > 0);
    for thread in 1..3 {
        world.alloc.detach(&world.slot(thread));
    }
    for _ in 0..10 {
        let pointer = world.malloc(2, 100);
        assert_ne!(world.alloc.usable_size(pointer), 0);
    }
    free(&world, 0, keep);
    world.check();
    world.finish();
}

#[test]
fn no_arena_to_be_had_is_no_catastrophe() {
    let world = threads(3, &[]);
    world.malloc(0, 10);
    world.alloc.os.kernel().faults.plan(1, u64::MAX, heapwise_testkit::faults::Kind::Reserve.bit());
    world.alloc.os.kernel().awake.insert(cache(&world, 0).tid.load(Relaxed));
    let pointer = world.malloc(1, 100);
    assert_eq!(header(pointer) & 2, 2, "a mapping");
    free(&world, 1, pointer);
    world.alloc.os.kernel().awake.clear();
    let borrowed = world.malloc(1, 100);
    assert_eq!(header(borrowed) & 6, 0, "from the arena of a thread that sleeps");
    free(&world, 1, borrowed);
    world.alloc.os.kernel().faults.lift();
    let pointer = world.malloc(1, 100);
    assert_eq!(arena(&world, 1).index.get(), 1, "the next call tries again");
    assert_eq!(header(pointer) & 2, 0);
    world.finish();
}

/// Thread 0 keeps so much in its cache that it is worth a loan.
fn sleeper_with_a_full_cache(world: &World) {
    attach_all(world, 2);
    // 16 KiB a class are kept at first.
    let sizes = [1000, 900, 800, 700, 600, 500, 400, 300];
    let pointers: Vec<_> = (0..120).map(|i| world.malloc(0, sizes[i % 8])).collect();
    pointers.iter().for_each(|&p| free(world, 0, p));
}

#[test]
fn a_sleeping_threads_cache_is_lent_and_works_again() {
    let world = threads(2, &[]);
    sleeper_with_a_full_cache(&world);
    let cached = || world.alloc.arena_figures(0).unwrap().0.cached.bytes;
    assert!(cached() > 64 << 10, "{}", cached());
    world.alloc.tick();
    world.alloc.tick();
    assert_eq!(cached(), 0);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_LENT);
    assert_ne!(world.malloc(0, 1000), 0);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_OPEN);
    world.check();
    world.finish();
}

#[test]
fn a_running_threads_cache_is_not_lent() {
    let world = threads(2, &[]);
    sleeper_with_a_full_cache(&world);
    world.alloc.os.kernel().awake.insert(cache(&world, 0).tid.load(Relaxed));
    let before = world.alloc.figures().cached;
    (0..5).for_each(|_| _ = world.alloc.tick());
    assert_eq!(world.alloc.figures().cached, before);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_OPEN);
    world.check();
}

#[test]
fn foreign_frees_of_a_sleeping_owner_come_home() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let pointers: Vec<_> = (0..200).map(|_| world.malloc(0, 100)).collect();
    pointers.iter().for_each(|&p| free(&world, 1, p));
    let waiting = || world.alloc.arena_figures(0).unwrap().0.cached.count;
    assert!(waiting() >= 200, "in a foreign bin, and in the inbox by parcels");
    assert_ne!(arena(&world, 0).inbox.head.load(Relaxed), 0);
    assert!(world.alloc.os.helper_starts.load(Relaxed) > 0, "somebody is to look");
    (0..4).for_each(|_| _ = world.alloc.tick());
    assert_eq!(arena(&world, 0).inbox.head.load(Relaxed), 0);
    assert!(waiting() < 200);
    world.check();
    world.finish();
}

#[test]
fn foreign_frees_come_home_at_the_owners_next_refill() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let pointers: Vec<_> = (0..64).map(|_| world.malloc(0, 3000)).collect();
    pointers.iter().for_each(|&p| free(&world, 1, p));
    // Batches of 16 KiB: none waits for a 65th chunk.
    let again: Vec<_> = (0..64).map(|_| world.malloc(0, 3000)).collect();
    assert!(again.iter().filter(|&p| pointers.contains(p)).count() >= 50);
}

#[test]
fn chunks_freed_into_an_arena_without_a_thread_are_taken_at_once() {
    let world = threads(3, &[]);
    attach_all(&world, 2);
    let pointers: Vec<_> = (0..128).map(|_| world.malloc(1, 1000)).collect();
    world.alloc.detach(&world.slot(1));
    pointers.iter().for_each(|&p| free(&world, 0, p));
    assert_eq!(world.alloc.arenas().nth(1).unwrap().inbox.head.load(Relaxed), 0);
    world.check();
    world.finish();
}

#[test]
fn a_forked_child_has_the_arenas_of_threads_that_are_not_there() {
    let world = threads(4, &[]);
    attach_all(&world, 4);
    let theirs: Vec<_> = (0..4).map(|t| world.malloc(t, 400)).collect();
    theirs.iter().for_each(|&p| free(&world, 3, p));
    let kept: Vec<_> = (0..4).map(|t| world.malloc(t, 700)).collect();
    world.apply(Op::Fork { thread: 2, into_child: true });
    let users: Vec<_> = world.alloc.arenas().map(|a| a.users.load(Relaxed)).collect();
    assert_eq!(users, [0, 0, 1, 0]);
    world.check();
    kept.iter().for_each(|&p| free(&world, 2, p));
    attach_all(&world, 4);
    assert_eq!(world.alloc.arenas().count(), 4, "new threads take the old arenas");
    world.finish();
}

#[test]
fn a_forked_parent_goes_on() {
    let world = threads(3, &[]);
    attach_all(&world, 3);
    world.apply(Op::Fork { thread: 1, into_child: false });
    attach_all(&world, 3);
    world.check();
    world.finish();
}

#[test]
fn counted_calls_go_the_long_way_and_back() {
    let world = plain();
    let slot = world.slot(0);
    world.malloc(0, 100);
    world.alloc.set_counting(&slot, true);
    assert_eq!(cache(&world, 0).limit.load(Relaxed), 0);
    let pointer = world.malloc(0, 100);
    free(&world, 0, pointer);
    world.alloc.set_counting(&slot, false);
    assert!(cache(&world, 0).limit.load(Relaxed) > 0);
    world.check();
}

#[test]
fn a_helper_holding_an_arena_does_not_lose_its_lock_to_another() {
    // Whoever finds a lock taken must leave it alone: a failed attempt once released it.
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let locks: Vec<_> = world.alloc.arenas().map(|a| &a.lock).collect();
    locks.iter().for_each(|lock| lock.store(1, Relaxed));
    world.alloc.tick();
    assert!(locks.iter().all(|lock| lock.load(Relaxed) == 1));
    locks.iter().for_each(|lock| lock.store(0, Relaxed));
}

#[test]
fn a_slot_that_never_called_ends_without_a_trace() {
    let world = set(&[]);
    world.alloc.detach(&Slot::new());
    assert_eq!(world.alloc.arenas().count(), 0);
}

/// A live block that the world does not know of.
fn block(world: &World, thread: usize, bytes: usize) -> usize {
    world.alloc.malloc(&world.slot(thread), bytes)
}

/// free by the path for other heaps alone.
fn elsewhere(world: &World, thread: usize, pointer: usize) -> Elsewhere {
    // SAFETY: a cache of this world, whose threads take turns.
    unsafe { free_elsewhere(cache(world, thread), pointer, world.alloc.heap_epoch()) }
}

#[test]
fn a_foreign_free_takes_no_lock_once_its_heap_and_class_are_known() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let first = world.malloc(0, 100);
    let [second, third, larger] = [100, 100, 300].map(|bytes| block(&world, 0, bytes));
    assert!(elsewhere(&world, 1, first) == Elsewhere::Not, "an unknown heap");
    free(&world, 1, first);
    assert!(elsewhere(&world, 1, larger) == Elsewhere::Not, "an unknown class");
    assert!(elsewhere(&world, 1, second) == Elsewhere::Done);
    assert_eq!(header(second) >> 48, 0, "marked free");
    assert!(elsewhere(&world, 1, second) == Elsewhere::Not, "no second time");
    assert!(elsewhere(&world, 1, third + 16) == Elsewhere::Not, "no chunk");
    assert!(elsewhere(&world, 1, third + 8) == Elsewhere::Not, "no chunk at all");
    heapwise_malloc::cache::close(cache(&world, 1));
    assert!(elsewhere(&world, 1, third) == Elsewhere::Not, "a closed cache");
}

#[test]
fn a_heap_that_has_gone_is_not_remembered() {
    let world = threads(2, &[]);
    attach_all(&world, 2);
    let kept = world.malloc(1, 100);
    let known = world.malloc(1, 100);
    free(&world, 0, known);
    let before = world.alloc.heap_epoch();
    // A second heap of the same arena comes and goes.
    let blocks: Vec<_> = (0..9).map(|_| world.malloc(1, 8 << 20)).collect();
    blocks.into_iter().for_each(|block| free(&world, 1, block));
    world.alloc.trim(&world.slot(1), 0);
    assert_ne!(world.alloc.heap_epoch(), before, "a heap has gone");
    assert!(elsewhere(&world, 0, kept) == Elsewhere::Not);
    free(&world, 0, kept);
    world.check();
    world.finish();
}

#[test]
fn chunks_of_older_heaps_of_the_own_arena_are_freed_without_a_lock() {
    let world = threads(2, &[(Setting::MmapThreshold, 32 << 20)]);
    attach_all(&world, 2);
    let [first, second] = [world.malloc(1, 100), block(&world, 1, 100)];
    let heaps = || world.alloc.heaps(arena(&world, 1)).count();
    let large: Vec<_> = (0..9).map(|_| world.malloc(1, 8 << 20)).collect();
    assert_eq!(heaps(), 2);
    free(&world, 1, first);
    assert!(elsewhere(&world, 1, second) == Elsewhere::Done);
    assert_eq!(block(&world, 1, 100), second, "in the own cache");
    assert!(elsewhere(&world, 1, second) == Elsewhere::Done);
    large.into_iter().for_each(|block| free(&world, 1, block));
    world.check();
    world.finish();
}

#[test]
fn parcels_of_many_owners_each_reach_theirs() {
    let world = threads(9, &[]);
    attach_all(&world, 9);
    // One thread frees what eight have made, in turns; arenas share its foreign bins.
    for round in 0..40 {
        let blocks: Vec<_> = (1..9).map(|t| world.malloc(t, 40 + 16 * (round % 5))).collect();
        blocks.into_iter().for_each(|block| free(&world, 0, block));
        world.check();
    }
    world.alloc.detach(&world.slot(0));
    assert!(cache(&world, 1).foreign.iter().all(|bin| bin.head.get() == 0));
    world.check();
    world.finish();
}
