//! Huge pages: only for a heap that small chunks have filled, one block ahead of them.

use crate::bench::{PAGE, arena, free, plain, seen, set, smash, threads};
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
    let bytes = |call: &Seen| if let Seen::Huge(bytes) = call { *bytes } else { 0 };
    calls.iter().map(bytes).sum::<usize>() / (2 * MIB)
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

/// Allocates and frees a large chunk, every page of it written or one alone.
fn large_block(world: &World, bytes: usize, filled: bool) {
    let pointer = world.alloc.malloc(&world.slot(0), bytes);
    let step = if filled { PAGE } else { bytes };
    (pointer..pointer + bytes).step_by(step).for_each(|page| smash(page, 1));
    world.alloc.free(&world.slot(0), pointer);
}

#[test]
fn large_chunks_take_huge_pages_once_such_were_filled() {
    let world = set(&[SETTING]);
    fill(&world, 0, 6 * MIB);
    let large = || huge(&seen(&world, || _ = world.alloc.malloc(&world.slot(0), 10 * MIB)));
    // Mapped and freed, so that the next come from the heap.
    large_block(&world, 20 * MIB, false);
    assert_eq!(large(), 0, "nothing is proven");
    large_block(&world, MIB, true);
    large_block(&world, MIB, true);
    assert!((4..=6).contains(&large()), "two were filled");
    large_block(&world, 20 * MIB, false);
    assert_eq!(large(), 0, "one was not");
    world.alloc.check().unwrap();
}

#[test]
fn one_is_proof_if_a_huge_page_fits_into_it() {
    for (bytes, proves) in [(MIB, false), (2 * MIB, true)] {
        let world = set(&[SETTING]);
        large_block(&world, 20 * MIB, false);
        large_block(&world, bytes, true);
        let calls = seen(&world, || _ = world.alloc.malloc(&world.slot(0), 15 * MIB));
        assert_eq!(huge(&calls) > 0, proves, "{bytes} bytes");
        world.alloc.check().unwrap();
    }
}

#[test]
fn what_large_chunks_have_shown_counts_in_a_small_arena() {
    let world = threads(2, &[]);
    large_block(&world, 20 * MIB, true);
    large_block(&world, MIB, true);
    let calls = seen(&world, || _ = world.alloc.malloc(&world.slot(1), 10 * MIB));
    assert!((4..=6).contains(&huge(&calls)), "{}", huge(&calls));
    let calls = seen(&world, || _ = fill(&world, 1, 3 * MIB));
    assert!(huge(&calls) <= 2, "small chunks have the rest, and then what they prove themselves");
    world.alloc.check().unwrap();
}

#[test]
fn a_mapping_begins_with_a_huge_page_once_such_were_filled() {
    for (align, filled) in [(16, false), (16, true), (8192, true)] {
        let world = plain();
        large_block(&world, MIB, filled);
        large_block(&world, 40 * MIB, filled);
        let mut pointer = 0;
        let calls =
            seen(&world, || pointer = world.alloc.memalign(&world.slot(0), align, 41 * MIB));
        assert_eq!(pointer % align, 0);
        let whole = calls.iter().find_map(|call| match call {
            Seen::Huge(bytes) => Some(bytes / (2 * MIB)),
            _ => None,
        });
        assert_eq!(whole, filled.then_some(20), "{calls:?}");
        if align == 16 && filled {
            assert_eq!(pointer % (2 * MIB), 16);
        }
        let mapped = world.alloc.usable_size(pointer) + 16;
        assert!(
            (41 * MIB..41 * MIB + 2 * PAGE + align).contains(&mapped),
            "no page beyond: {mapped}"
        );
        world.alloc.free(&world.slot(0), pointer);
        world.alloc.check().unwrap();
    }
}

#[test]
fn a_very_long_mapping_begins_with_small_pages_and_goes_on_with_huge_ones() {
    let world = plain();
    large_block(&world, 40 * MIB, true);
    let mut pointer = 0;
    let calls = seen(&world, || pointer = world.alloc.malloc(&world.slot(0), 200 * MIB));
    let advised = calls.iter().find_map(|call| match call {
        Seen::Huge(bytes) => Some(*bytes),
        _ => None,
    });
    let mapped = world.alloc.usable_size(pointer) + 16;
    assert_eq!(advised, Some(mapped - 2 * MIB), "{calls:?}");
    world.alloc.free(&world.slot(0), pointer);
    world.alloc.check().unwrap();
}

#[test]
fn the_threshold_learns_in_powers_of_two_where_large_chunks_are_filled() {
    let world = plain();
    let threshold = || world.alloc.settings.get(Setting::MmapThreshold);
    large_block(&world, 3 * MIB, false);
    assert_eq!(threshold(), 3 * MIB + PAGE, "as it came");
    large_block(&world, 5 * MIB, true);
    large_block(&world, 6 * MIB, true);
    assert_eq!(threshold(), 8 * MIB);
    large_block(&world, 17 * MIB, true);
    assert_eq!(threshold(), 32 * MIB);
    world.alloc.check().unwrap();
}

#[test]
fn a_mapping_that_grows_takes_huge_pages_once_it_was_filled() {
    for filled in [false, true] {
        let world = plain();
        let slot = world.slot(0);
        let mut pointer = world.alloc.malloc(&slot, MIB);
        let mut advised = Vec::new();
        for log2 in 1..5 {
            if filled {
                (pointer..pointer + (MIB << log2 >> 1))
                    .step_by(PAGE)
                    .for_each(|page| smash(page, 1));
            }
            let grow = || pointer = world.alloc.realloc(&slot, pointer, MIB << log2);
            advised.push(seen(&world, grow).iter().any(|call| matches!(call, Seen::Huge(_))));
        }
        // 2 MiB are too few for a huge page that is whole.
        assert_eq!(advised, [false, filled, filled, filled]);
        world.alloc.free(&slot, pointer);
        world.alloc.check().unwrap();
    }
}

#[test]
fn what_was_given_back_comes_again_in_huge_pages() {
    let world = set(&[SETTING]);
    let pointers = fill(&world, 0, 40 * MIB);
    let slot = world.slot(0);
    for pointer in &pointers[100..pointers.len() - 100] {
        world.alloc.free(&slot, *pointer);
    }
    world.alloc.trim(&slot, 0);
    let calls = seen(&world, || _ = fill(&world, 0, 38 * MIB));
    assert!(huge(&calls) >= 15, "{}", huge(&calls));
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
