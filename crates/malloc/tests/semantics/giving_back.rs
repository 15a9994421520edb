//! Memory going back to the kernel: by trimming, by purging, by the helper, by hand.

use crate::bench::{
    LARGE, PAGE, arena, cache, free, plain, resident_bytes, seen, set, smash, threads,
};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;
use heapwise_testkit::os::Seen;
use std::sync::atomic::Ordering::Relaxed;

const MIB: usize = 1 << 20;
const SECOND: u64 = 1_000_000_000;
/// So that the heap, not mmap, serves everything.
const NO_MAPPINGS: (Setting, usize) = (Setting::MmapMax, 0);

fn sbrks(calls: &[Seen]) -> Vec<isize> {
    calls.iter().filter_map(|c| if let Seen::Sbrk(d) = c { Some(*d) } else { None }).collect()
}

#[test]
fn a_top_over_the_trim_threshold_lowers_the_break() {
    let world = plain();
    let pointers: Vec<_> = (0..5).map(|_| world.malloc(0, LARGE)).collect();
    let mut lowered = Vec::new();
    for &pointer in pointers.iter().rev() {
        let calls = seen(&world, || free(&world, 0, pointer));
        lowered.extend(sbrks(&calls));
        // Pad, the top's own least size and a page are kept, and what is not worth a call.
        let top = world.alloc.figures().top.bytes;
        assert!(top < (128 << 10) + (64 << 10) + 32 + 2 * PAGE, "{top}");
    }
    assert!(
        !lowered.is_empty() && lowered.iter().all(|&d| d < 0 && (d as usize).is_multiple_of(PAGE))
    );
    world.check();
    world.finish();
}

#[test]
fn a_break_that_somebody_else_moved_is_not_lowered() {
    let world = plain();
    let pointer = world.malloc(0, 4 * LARGE - 160_000);
    let more: Vec<_> = (0..4).map(|_| world.malloc(0, LARGE)).collect();
    assert!(world.alloc.os.foreign_sbrk(10));
    let calls = seen(&world, || {
        more.iter().for_each(|&p| free(&world, 0, p));
        free(&world, 0, pointer);
        world.alloc.trim(&world.slot(0), 0);
    });
    assert_eq!(sbrks(&calls), []);
    assert!(calls.iter().any(|c| matches!(c, Seen::Purge(_))), "its pages go all the same");
    world.check();
    world.finish();
}

#[test]
fn a_trim_that_fails_changes_nothing() {
    let world = plain();
    let pointers: Vec<_> = (0..5).map(|_| world.malloc(0, LARGE)).collect();
    world.alloc.os.kernel().faults.plan(1, u64::MAX, heapwise_testkit::faults::Kind::Sbrk.bit());
    pointers.iter().for_each(|&p| free(&world, 0, p));
    world.alloc.trim(&world.slot(0), 0);
    world.check();
    world.alloc.os.kernel().faults.lift();
    world.finish();
}

/// 100 MiB of small blocks; the first and the last few stay.
fn burst(world: &World) -> Vec<usize> {
    let pointers: Vec<_> =
        (0..100 * MIB / 1024).map(|_| world.alloc.malloc(&world.slot(0), 1016)).collect();
    let slot = world.slot(0);
    for &pointer in &pointers {
        heapwise_testkit::pattern::fill(pointer, 1016, 7);
    }
    let middle = 50..pointers.len() - 50;
    pointers[middle].iter().for_each(|&p| world.alloc.free(&slot, p));
    pointers
}

#[test]
fn the_middle_goes_back_by_itself() {
    let world = plain();
    let pointers = burst(&world);
    let (first, last) = (pointers[0], pointers[pointers.len() - 1]);
    assert!(last - first > 99 * MIB);
    // And what the top has ahead: up to one huge page.
    let budget = world.alloc.settings.get(Setting::PurgeBudget) + 2 * MIB;
    let f = world.alloc.figures();
    assert!(f.dirty_bytes <= budget, "{} bytes dirty", f.dirty_bytes);
    // What is left in memory: the budget, and what the cache still holds.
    let cached = f.cached.bytes;
    assert!(resident_bytes(first, last - first) <= budget + 2 * cached + 64 * PAGE);
    assert!(cached <= 2 * MIB, "{cached} bytes cached");
    world.alloc.check().unwrap();
}

#[test]
fn purging_can_be_turned_off() {
    let world = set(&[(Setting::Purge, 0), (Setting::TrimThreshold, usize::MAX)]);
    let calls = seen(&world, || _ = burst(&world));
    assert!(!calls.iter().any(|c| matches!(c, Seen::Purge(_))));
    assert!(world.alloc.figures().dirty_bytes > 90 * MIB);
    assert!(world.alloc.trim(&world.slot(0), 0), "malloc_trim still gives it back");
    assert_eq!(world.alloc.figures().dirty_bytes, 0);
}

#[test]
fn tokens_bound_what_churn_may_fault_in_again() {
    let world = set(&[NO_MAPPINGS, (Setting::TrimThreshold, usize::MAX)]);
    let slot = world.slot(0);
    let guard = world.alloc.malloc(&slot, LARGE);
    let round = || {
        let pointer = world.alloc.malloc(&slot, 8 * MIB);
        (pointer..pointer + 8 * MIB).step_by(PAGE).for_each(|page| smash(page, 1));
        let wall = world.alloc.malloc(&slot, LARGE);
        world.alloc.free(&slot, pointer);
        world.alloc.free(&slot, wall);
        world.alloc.os.pass_ns(SECOND / 1000);
    };
    // What went, went in order to be faulted in again by the next round.
    let given = |rounds: usize| {
        let before = world.alloc.os.kernel().given_back_bytes;
        (0..rounds).for_each(|_| round());
        world.alloc.os.kernel().given_back_bytes - before
    };
    world.alloc.os.trace();
    // A thousand rounds a second; tokens for 64 MiB are saved up, 40 MiB come a second.
    let (first, later) = (given(100), given(1000));
    assert!(first <= 64 * MIB + 5 * MIB + 2 * 8 * MIB, "{first} at first");
    assert!(later <= 40 * MIB + 2 * 8 * MIB, "{later} in a second");
    // A pause brings tokens back.
    world.alloc.os.pass_ns(10 * SECOND);
    assert!(given(3) >= 8 * MIB);
    world.alloc.free(&slot, guard);
}

#[test]
fn a_block_that_grows_into_the_top_takes_tokens_too() {
    let world = set(&[NO_MAPPINGS, (Setting::TrimThreshold, usize::MAX)]);
    let slot = world.slot(0);
    let round = || {
        let small = world.alloc.malloc(&slot, LARGE);
        let large = world.alloc.realloc(&slot, small, 4 * MIB);
        assert_eq!(large, small, "the top is behind it");
        (large..large + 4 * MIB).step_by(PAGE).for_each(|page| smash(page, 1));
        world.alloc.free(&slot, large);
        world.alloc.os.pass_ns(SECOND / 1000);
    };
    world.alloc.os.trace();
    (0..20).for_each(|_| round());
    let before = world.alloc.os.kernel().given_back_bytes;
    (0..1000).for_each(|_| round());
    let given = world.alloc.os.kernel().given_back_bytes - before;
    assert!((4 * MIB..=20 * MIB + 2 * 4 * MIB).contains(&given), "{given} in a second");
}

#[test]
fn a_tick_purges_what_stayed_dirty_for_a_whole_window() {
    let world = plain();
    let pointers: Vec<_> = (0..9).map(|_| world.malloc(0, LARGE)).collect();
    pointers.iter().step_by(2).for_each(|&p| free(&world, 0, p));
    let dirty = world.alloc.figures().dirty_bytes;
    assert!(dirty > 4 * 60_000, "within the budget it stays: {dirty}");
    world.alloc.tick();
    world.alloc.tick();
    assert_eq!(world.alloc.figures().dirty_bytes, 0);
    world.check();
    assert_eq!(world.calloc(0, 1, LARGE) % 16, 0);
    world.finish();
}

#[test]
fn quiet_ticks_end_the_helper_and_work_calls_it_again() {
    let world = set(&[(Setting::PurgeHelper, 2)]);
    let starts = || world.alloc.os.helper_starts.load(Relaxed);
    let pointers: Vec<_> = (0..3).map(|_| world.malloc(0, LARGE)).collect();
    free(&world, 0, pointers[1]);
    assert_eq!(starts(), 1);
    let ticks = (0..20).take_while(|_| world.alloc.tick()).count();
    assert!((2..10).contains(&ticks), "{ticks}");
    free(&world, 0, pointers[0]);
    assert_eq!(starts(), 2);
}

#[test]
fn no_helper_for_little_in_a_program_with_one_thread() {
    let world = plain();
    let pointers: Vec<_> = (0..9).map(|_| world.malloc(0, LARGE)).collect();
    pointers.iter().step_by(2).for_each(|&p| free(&world, 0, p));
    assert_eq!(world.alloc.os.helper_starts.load(Relaxed), 0);
    let world = set(&[(Setting::PurgeHelper, 0), (Setting::Purge, 1), NO_MAPPINGS]);
    let block = world.malloc(0, 32 * MIB);
    free(&world, 0, block);
    assert_eq!(world.alloc.os.helper_starts.load(Relaxed), 0, "never if told so");
}

#[test]
fn a_helper_that_cannot_be_had_is_not_asked_for_again() {
    let world = set(&[(Setting::PurgeHelper, 2)]);
    world.alloc.os.helper_allowed.store(false, Relaxed);
    let pointers: Vec<_> = (0..9).map(|_| world.malloc(0, LARGE)).collect();
    pointers.iter().for_each(|&p| free(&world, 0, p));
    assert_eq!(world.alloc.os.helper_starts.load(Relaxed), 1);
}

#[test]
fn trim_gives_everything_back_in_every_arena() {
    let world = threads(3, &[]);
    for thread in 0..3 {
        let pointers: Vec<_> = (0..200).map(|_| world.malloc(thread, 3000)).collect();
        pointers.iter().step_by(2).for_each(|&p| free(&world, thread, p));
        world.malloc(thread, LARGE);
    }
    assert!(world.alloc.trim(&world.slot(0), 0));
    let f = world.alloc.figures();
    assert_eq!((f.cached.bytes, f.dirty_bytes), (0, 0));
    world.check();
    world.finish();
}

#[test]
fn trim_leaves_a_running_threads_cache_alone() {
    let world = threads(2, &[]);
    for thread in 0..2 {
        let pointers: Vec<_> = (0..50).map(|_| world.malloc(thread, 100)).collect();
        pointers.iter().for_each(|&p| free(&world, thread, p));
    }
    let second = world.slot(1);
    let id = cache(&world, 1).tid.load(Relaxed);
    world.alloc.os.kernel().awake.insert(id);
    world.alloc.trim(&world.slot(0), 0);
    assert_eq!(arena(&world, 1).index.get(), 1);
    let held = world.alloc.arena_figures(1).unwrap().0.cached.count;
    assert!(held >= 50, "{held}");
    assert_ne!(world.alloc.malloc(&second, 100), 0);
}

#[test]
fn trim_keeps_the_pad() {
    let world = plain();
    world.malloc(0, 1);
    world.alloc.trim(&world.slot(0), 64 << 10);
    let top = world.alloc.figures().top.bytes;
    assert!(top > 64 << 10 && top < (64 << 10) + 3 * PAGE, "{top}");
    assert!(!world.alloc.trim(&world.slot(0), 64 << 10), "nothing more to give");
}

#[test]
fn empty_reserved_heaps_go_whole() {
    let world = threads(2, &[NO_MAPPINGS]);
    world.malloc(0, 1);
    let pointers: Vec<_> = (0..3).map(|_| world.malloc(1, 40 * MIB)).collect();
    let heaps = || world.alloc.heaps(arena(&world, 1)).count();
    assert_eq!(heaps(), 3, "40 MiB do not fit behind 40 MiB");
    pointers.iter().for_each(|&p| free(&world, 1, p));
    let calls = seen(&world, || _ = world.alloc.trim(&world.slot(1), 0));
    assert_eq!(calls.iter().filter(|c| **c == Seen::Unmap(64 * MIB)).count(), 2, "{calls:?}");
    assert_eq!(heaps(), 1);
    world.check();
    assert_ne!(world.malloc(1, 40 * MIB), 0);
    world.finish();
}

#[test]
fn the_break_is_not_lowered_page_by_page() {
    let world = plain();
    let pointers: Vec<_> = (0..400).map(|_| world.malloc(0, 30_000)).collect();
    let calls = seen(&world, || pointers.iter().rev().for_each(|&p| free(&world, 0, p)));
    let steps = sbrks(&calls);
    assert!(!steps.is_empty() && steps.iter().all(|&d| d <= -(60 << 10)), "{steps:?}");
    world.check();
}
