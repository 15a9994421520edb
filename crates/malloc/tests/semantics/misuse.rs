//! Every line that ends a program, provoked: exact text.

use crate::bench::{LARGE, arena, cache, free, plain, set, smash, threads, uncached};
use heapwise_layout::header::{TAG_SHIFT, sampled_tag};
use heapwise_malloc::fatal::Fault;
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;

/// Asserts that `misuse` ends the program with the line of `fault`.
#[track_caller]
fn ends(world: &World, fault: Fault, misuse: impl FnOnce()) {
    assert_eq!(world.alloc.os.fatal_line(misuse).as_deref(), Some(fault.line()));
}

/// free, straight, without the model.
fn raw_free(world: &World, pointer: usize) {
    world.alloc.free(&world.slot(0), pointer);
}

/// A chunk of the heap, freed into the unsorted bin, its neighbours in use.
fn binned(world: &World) -> usize {
    let [_, pointer, _] = [0; 3].map(|_| world.alloc.malloc(&world.slot(0), LARGE));
    raw_free(world, pointer);
    pointer
}

#[test]
fn free_of_no_block() {
    for offset in [16, 32, 8, 1, 4096, 60_000] {
        let world = plain();
        let pointer = world.malloc(0, LARGE);
        ends(&world, Fault::FreeInvalidPointer, || raw_free(&world, pointer + offset));
    }
    let world = plain();
    for nowhere in [8, 16, 4096, usize::MAX, usize::MAX - 15, 1 << 46, 1 << 63] {
        ends(&world, Fault::FreeInvalidPointer, || raw_free(&world, nowhere));
    }
    ends(&world, Fault::ReallocInvalidPointer, || {
        world.alloc.realloc(&world.slot(0), 4096, 10);
    });
}

#[test]
fn the_tag_of_watched_chunks_is_valid_only_while_there_are_any() {
    for request in [100, 5000, 60_000] {
        let world = plain();
        let [watched, other, _] = [0; 3].map(|_| world.malloc(0, request));
        world.alloc.watch(watched);
        free(&world, 0, watched);
        ends(&world, Fault::DoubleFreeInTransit, || raw_free(&world, watched));
        // The other tag that would fit this chunk: nobody has such a one any more.
        let header = crate::bench::header(other);
        let tag = sampled_tag(header >> TAG_SHIFT);
        smash(other - 8, header & ((1 << TAG_SHIFT) - 1) | tag << TAG_SHIFT);
        ends(&world, Fault::FreeInvalidSize, || raw_free(&world, other));
    }
}

#[test]
fn double_free_wherever_the_chunk_is() {
    for request in [10, 1000, 5000, 60_000] {
        let world = plain();
        let pointer = world.malloc(0, request);
        // At the top a medium chunk would go home at once.
        world.malloc(0, request);
        free(&world, 0, pointer);
        ends(&world, Fault::DoubleFreeInTransit, || raw_free(&world, pointer));
        ends(&world, Fault::DoubleFreeInTransit, || {
            world.alloc.realloc(&world.slot(0), pointer, 20);
        });
    }
    let world = uncached();
    let pointer = world.malloc(0, 100);
    free(&world, 0, pointer);
    ends(&world, Fault::DoubleFreeInTransit, || raw_free(&world, pointer));

    let world = plain();
    let pointer = binned(&world);
    ends(&world, Fault::DoubleFreeBinned, || raw_free(&world, pointer));

    let world = plain();
    let pointer = world.malloc(0, LARGE);
    free(&world, 0, pointer);
    ends(&world, Fault::DoubleFreeTop, || raw_free(&world, pointer));
}

#[test]
fn double_free_across_threads() {
    let world = threads(3, &[]);
    world.malloc(1, 10);
    let pointer = world.malloc(0, 100);
    free(&world, 1, pointer);
    for thread in 0..3 {
        let slot = world.slot(thread);
        ends(&world, Fault::DoubleFreeInTransit, || world.alloc.free(&slot, pointer));
    }
}

#[test]
fn double_free_of_a_mapping() {
    let world = plain();
    let pointer = world.malloc(0, 1 << 20);
    free(&world, 0, pointer);
    ends(&world, Fault::FreeInvalidPointer, || raw_free(&world, pointer));
}

#[test]
fn an_overwritten_header() {
    for word in [0, u64::MAX, 0x4141_4141_4141_4141, 0x31, 0x7000_0000_0000_0031] {
        let world = plain();
        let pointer = world.malloc(0, 40);
        world.malloc(0, 40);
        smash(pointer - 8, word);
        let line = world.alloc.os.fatal_line(|| raw_free(&world, pointer));
        assert!(line.is_some_and(|l| l.starts_with("free(): ")), "{word:x}");
    }
    let world = plain();
    let pointer = world.malloc(0, 40);
    let header = crate::bench::header(pointer);
    smash(pointer - 8, header + 16);
    ends(&world, Fault::FreeInvalidSize, || raw_free(&world, pointer));
}

#[test]
fn an_overwritten_header_of_the_next_chunk() {
    let world = plain();
    let [pointer, next, _] = [0; 3].map(|_| world.malloc(0, LARGE));
    smash(next - 8, 1);
    ends(&world, Fault::FreeInvalidNextSize, || raw_free(&world, pointer));
    let world = plain();
    let [pointer, next, _] = [0; 3].map(|_| world.malloc(0, LARGE));
    smash(next - 8, 1 << 40 | 1);
    ends(&world, Fault::ReallocInvalidNextSize, || {
        world.alloc.realloc(&world.slot(0), pointer, LARGE + 20_000);
    });
}

#[test]
fn an_overwritten_mapping_header() {
    let world = plain();
    let pointer = world.malloc(0, 1 << 20);
    smash(pointer - 8, 0x1000);
    ends(&world, Fault::UnmapInvalidPointer, || raw_free(&world, pointer));
}

#[test]
fn an_overwritten_top() {
    for word in [0, u64::MAX, 8, 1 << 40] {
        let world = plain();
        world.malloc(0, LARGE);
        smash(arena(&world, 0).top.get() + 8, word);
        ends(&world, Fault::CorruptTop, || _ = world.alloc.malloc(&world.slot(0), LARGE));
    }
}

#[test]
fn overwritten_unsorted_chunks() {
    let request = |world: &World| _ = world.alloc.malloc(&world.slot(0), 100_000);
    let world = plain();
    smash(binned(&world) - 8, 0x4141_4141_4140);
    ends(&world, Fault::CorruptUnsortedSize, || request(&world));

    let world = plain();
    let pointer = binned(&world);
    smash(pointer + 70_016 - 16, 4096);
    ends(&world, Fault::CorruptPrevSize, || request(&world));

    let world = plain();
    smash(binned(&world), 0x4141_4141_4141_4141);
    ends(&world, Fault::CorruptUnsortedRing, || request(&world));
}

#[test]
fn an_overwritten_small_bin() {
    let world = uncached();
    let pointers: Vec<_> = (0..6).map(|_| world.malloc(0, 200)).collect();
    pointers.iter().step_by(2).for_each(|&p| free(&world, 0, p));
    world.malloc(0, 300);
    smash(pointers[0] + 8, 0x4141_4141_4141_4140);
    ends(&world, Fault::CorruptSmallRing, || _ = world.alloc.malloc(&world.slot(0), 200));
}

#[test]
fn an_overwritten_large_bin() {
    let world = plain();
    let pointers: Vec<_> = (0..6)
        .map(|i| world.malloc(0, if i % 2 == 0 { 80_000 + 500 * i } else { LARGE }))
        .collect();
    pointers.iter().step_by(2).for_each(|&p| free(&world, 0, p));
    world.malloc(0, 120_000);
    // fd_nextsize and bk_nextsize stand behind fd and bk.
    for &pointer in pointers.iter().step_by(2) {
        smash(pointer + 16, 0x4141_4141_4140);
        smash(pointer + 24, 0x4141_4141_4141_4140);
    }
    ends(&world, Fault::CorruptLargeRing, || _ = world.alloc.malloc(&world.slot(0), 79_000));
}

#[test]
fn an_overwritten_neighbour_found_while_merging() {
    let world = plain();
    let [a, b, _] = [0; 3].map(|_| world.malloc(0, LARGE));
    free(&world, 0, a);
    smash(a, 0x4141_4141_4141_4140);
    ends(&world, Fault::CorruptRing, || raw_free(&world, b));

    let world = plain();
    let [a, b, _] = [0; 3].map(|_| world.malloc(0, LARGE));
    free(&world, 0, a);
    // prev_size of the chunk that is freed next: the end of the free one before.
    smash(b - 16, 48);
    ends(&world, Fault::CorruptPrevSizeMerging, || raw_free(&world, b));
}

#[test]
fn an_overwritten_chunk_in_a_cache() {
    let world = plain();
    let pointers: Vec<_> = (0..20).map(|_| world.malloc(0, 500)).collect();
    pointers.iter().for_each(|&p| free(&world, 0, p));
    smash(pointers[19], 0x4141_4141_4141_4141);
    assert_eq!(cache(&world, 0).bins[512 / 16].head.get(), pointers[19]);
    ends(&world, Fault::UnalignedInTransit, || _ = world.alloc.trim(&world.slot(0), 0));
}

#[test]
fn an_overwritten_fastbin() {
    let world = uncached();
    let pointers: Vec<_> = (0..3).map(|_| world.malloc(0, 100)).collect();
    pointers.iter().for_each(|&p| free(&world, 0, p));
    smash(pointers[2], 0x4141_4141_4141_4141);
    ends(&world, Fault::CorruptFastbin, || {
        for _ in 0..2 {
            world.alloc.malloc(&world.slot(0), 100);
        }
    });
}

#[test]
fn checking_all_the_time_finds_what_nobody_touched() {
    let world = set(&[(Setting::Check, 3)]);
    let [a, b] = [0; 2].map(|_| world.malloc(0, LARGE));
    assert!(b > a);
    smash(b - 8, 48);
    let line = world.alloc.os.fatal_line(|| _ = world.alloc.malloc(&world.slot(0), LARGE));
    assert!(line.is_some());
}
