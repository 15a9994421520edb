//! Chunks with a mapping of their own, and the threshold that moves.

use crate::bench::{PAGE, free, header, plain, realloc, resident_bytes, seen, set};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::os::Seen;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn a_quarter_mebibyte_is_a_mapping_that_goes_at_free() {
    let world = plain();
    let pointer = world.malloc(0, 256 * KIB);
    assert_eq!(seen(&world, || free(&world, 0, pointer)), [Seen::Unmap(266_240)]);
    let world = plain();
    assert_eq!(seen(&world, || _ = world.malloc(0, 256 * KIB)), [Seen::Map(266_240)]);
}

#[test]
fn the_threshold_is_on_the_chunk() {
    let world = plain();
    // 131,048 bytes make a chunk of 131,056, the last below 128 KiB.
    let calls = seen(&world, || _ = world.malloc(0, 131_048));
    assert!(matches!(calls[..], [Seen::Sbrk(_)]), "{calls:?}");
    let pointer = world.malloc(0, 131_057);
    assert_eq!(pointer % PAGE, 16);
    assert_eq!(header(pointer) & 7, 2, "M alone");
    assert_eq!(world.alloc.usable_size(pointer), 135_168 - 16);
}

#[test]
fn freeing_a_mapping_raises_the_threshold_and_twice_that_trims() {
    let world = plain();
    let pointer = world.malloc(0, MIB);
    assert_eq!(header(pointer) & 2, 2);
    free(&world, 0, pointer);
    let settings = &world.alloc.settings;
    assert_eq!(settings.get(Setting::MmapThreshold), MIB + PAGE);
    assert_eq!(settings.get(Setting::TrimThreshold), 2 * (MIB + PAGE));
    let again = world.malloc(0, MIB);
    assert_eq!(header(again) & 2, 0, "from the heap now");
    world.finish();
}

#[test]
fn the_threshold_never_grows_beyond_32_mib() {
    let world = plain();
    for _ in 0..2 {
        let pointer = world.malloc(0, 33 * MIB);
        assert_eq!(header(pointer) & 2, 2);
        free(&world, 0, pointer);
    }
    assert_eq!(world.alloc.settings.get(Setting::MmapThreshold), 128 * KIB);
}

#[test]
fn values_set_by_hand_freeze_the_threshold() {
    for setting in
        [Setting::MmapThreshold, Setting::TrimThreshold, Setting::TopPad, Setting::MmapMax]
    {
        let world = plain();
        world.alloc.prepare();
        let value = world.alloc.settings.get(setting);
        world.alloc.settings.set(setting, value);
        let pointer = world.malloc(0, MIB);
        free(&world, 0, pointer);
        assert_eq!(world.alloc.settings.get(Setting::MmapThreshold), 128 * KIB, "{setting:?}");
        assert_eq!(header(world.malloc(0, MIB)) & 2, 2);
    }
}

#[test]
fn at_most_so_many_mappings() {
    let world = set(&[(Setting::MmapMax, 2)]);
    let pointers: Vec<_> = (0..4).map(|_| world.malloc(0, MIB)).collect();
    let mapped: Vec<_> = pointers.iter().map(|&p| header(p) & 2 == 2).collect();
    assert_eq!(mapped, [true, true, false, false]);
    free(&world, 0, pointers[0]);
    assert_eq!(header(world.malloc(0, MIB)) & 2, 2, "one went, one may come");
    let world = set(&[(Setting::MmapMax, 0)]);
    assert_eq!(header(world.malloc(0, 40 * MIB)) & 2, 0);
}

#[test]
fn a_mapping_is_the_way_out_when_no_heap_can_grow() {
    let world = set(&[(Setting::MmapMax, 0)]);
    world.malloc(0, 1);
    world.alloc.os.kernel().brk.block(Some(0));
    // More than a reserved heap holds.
    let pointer = world.malloc(0, 100 * MIB);
    assert_eq!(header(pointer) & 2, 2);
    world.finish();
}

#[test]
fn calloc_of_a_mapping_touches_one_page() {
    let world = plain();
    let slot = world.slot(0);
    let pointer = world.alloc.calloc(&slot, 1, 8 * MIB);
    assert_eq!(resident_bytes(pointer - 16, 8 * MIB), PAGE);
    world.alloc.free(&slot, pointer);
}

#[test]
fn mremap_resizes_and_keeps_the_contents() {
    let world = plain();
    let pointer = world.malloc(0, MIB);
    let mut last = pointer;
    let calls = seen(&world, || {
        for request in [2 * MIB, 9 * MIB, 300 * KIB] {
            last = realloc(&world, last, request);
        }
    });
    // Blocks of a world are written, so those that grow to 4 MiB or more may have huge pages.
    let other = calls.iter().filter(|c| !matches!(c, Seen::Remap(..) | Seen::Huge(_))).count();
    let remaps = calls.iter().filter(|c| matches!(c, Seen::Remap(..))).count();
    assert!(other == 0 && remaps == 3, "{calls:?}");
    let same_pages = seen(&world, || _ = realloc(&world, last, 300 * KIB + 100));
    assert_eq!(same_pages, []);
    world.check();
    world.finish();
}

#[test]
fn a_mapping_that_mremap_will_not_move_is_copied() {
    let world = plain();
    let pointer = world.malloc(0, MIB);
    world.alloc.os.kernel().faults.plan(1, 1, heapwise_testkit::faults::Kind::Remap.bit());
    let moved = realloc(&world, pointer, 3 * MIB);
    assert!(moved != 0 && moved != pointer);
    world.alloc.os.kernel().faults.plan(1, u64::MAX, heapwise_testkit::faults::ALL);
    assert_eq!(realloc(&world, moved, 5 * MIB), 0, "neither mremap nor mmap nor break");
    assert_eq!(realloc(&world, moved, MIB), moved, "what shrinks can stay");
    world.finish();
}

#[test]
fn thousands_of_mappings_are_all_found() {
    let world = set(&[(Setting::MmapThreshold, 4 * KIB)]);
    let pointers: Vec<_> = (0..3000).map(|i| world.malloc(0, 4 * KIB + i % 5000)).collect();
    assert_eq!(world.alloc.state.mapped.count.load(std::sync::atomic::Ordering::Relaxed), 3000);
    for pointer in pointers.iter().step_by(2) {
        free(&world, 0, *pointer);
    }
    for _ in 0..2000 {
        world.malloc(0, 20_000);
    }
    world.check();
    world.finish();
}

#[test]
fn a_full_table_does_not_lose_a_chunk_that_moves() {
    let world = set(&[(Setting::MmapThreshold, 4 * KIB)]);
    // The table's first own mapping; without it 511 slots are all there is.
    world.alloc.os.kernel().refused_bytes = 8192;
    let pointers: Vec<_> = (0..600).map(|_| world.malloc(0, 10_000)).collect();
    assert_eq!(header(pointers[500]) & 2, 2);
    assert!(pointers.iter().all(|&p| p != 0), "the heap serves what the table cannot note");
    for &pointer in &pointers[..500] {
        realloc(&world, pointer, 20_000);
    }
    world.check();
    world.finish();
}

#[test]
fn large_mappings_are_advised_to_use_huge_pages_if_told_so() {
    let world = set(&[(Setting::HugeTlb, 1)]);
    let calls = seen(&world, || _ = world.malloc(0, 4 * MIB));
    assert!(matches!(calls[..], [Seen::Map(_), Seen::Huge(_)]), "{calls:?}");
    assert!(matches!(seen(&world, || _ = world.malloc(0, MIB))[..], [Seen::Map(_)]));
}
