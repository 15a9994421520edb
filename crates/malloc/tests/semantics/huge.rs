//! Huge pages: only for a heap that small chunks have filled, one block ahead of them.

use crate::bench::{arena, free, plain, seen, set, threads};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;
use heapwise_testkit::os::Seen;
use std::sync::atomic::Ordering::Relaxed;

const MIB: usize = 1 << 20;
const SETTING: (Setting, usize) = (Setting::HugeGrowth, 4 * MIB);

fn fill(world: &World, thread: usize, bytes: usize) -> Vec<usize> {
    let slot = world.slot(thread);
    (0..bytes / 1040).map(|_| world.alloc.malloc(&slot, 1032)).collect()
}

fn huge(calls: &[Seen]) -> usize {
    calls.iter().filter(|call| matches!(call, Seen::Huge(_))).count()
}

#[test]
fn a_heap_of_small_chunks_grows_in_huge_pages_beyond_the_setting() {
    for (thread, world) in [(0, set(&[SETTING])), (1, threads(2, &[SETTING]))] {
        let before = seen(&world, || _ = fill(&world, thread, 3 * MIB));
        assert_eq!(huge(&before), 0, "too small a heap");
        let after = seen(&world, || _ = fill(&world, thread, 9 * MIB));
        let count = huge(&after);
        assert!((3..=5).contains(&count), "{count} in thread {thread}");
        let arena = arena(&world, thread);
        assert_eq!(arena.huge_pages.load(Relaxed), count);
        let end = world.alloc.heaps(arena).next().unwrap().end.load(Relaxed);
        assert_eq!(end % (2 * MIB), 0);
        world.alloc.check().unwrap();
        world.alloc.trim(&world.slot(0), 0);
        assert_eq!(world.alloc.figures().dirty_bytes, 0, "what came ahead goes by a trim");
        world.alloc.check().unwrap();
    }
}

#[test]
fn large_chunks_prove_nothing() {
    let world = set(&[SETTING]);
    fill(&world, 0, 6 * MIB);
    let calls = seen(&world, || {
        for _ in 0..60 {
            assert_ne!(world.malloc(0, 100_000), 0);
        }
    });
    assert_eq!(huge(&calls), 0);
    world.alloc.check().unwrap();
}

#[test]
fn what_came_ahead_is_zero_and_calloc_knows() {
    let world = set(&[SETTING]);
    fill(&world, 0, 9 * MIB);
    for _ in 0..40 {
        // The world checks that it is zero.
        let pointer = world.calloc(0, 1, 60_000);
        free(&world, 0, pointer);
        assert_ne!(world.calloc(0, 1, 70_000), 0);
    }
    world.alloc.check().unwrap();
}

#[test]
fn a_pad_set_by_hand_is_kept_to() {
    let world = set(&[SETTING, (Setting::TopPad, 0)]);
    assert_eq!(huge(&seen(&world, || _ = fill(&world, 0, 9 * MIB))), 0);
    assert!(world.alloc.figures().top.bytes < MIB / 8);
}

#[test]
fn a_growing_heap_takes_fewer_and_larger_steps() {
    let world = plain();
    let steps = |calls: Vec<Seen>| calls.iter().filter(|c| matches!(c, Seen::Sbrk(_))).count();
    fill(&world, 0, 64 * MIB);
    let calls = seen(&world, || _ = fill(&world, 0, 32 * MIB));
    assert!(steps(calls) <= 17);
}
