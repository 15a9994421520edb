//! How a heap grows: the break, reserved heaps when it will not move, other people's breaks.

use crate::bench::{LARGE, PAGE, arena, free, header, plain, seen, set};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::World;
use heapwise_testkit::os::{Boot, Seen};
use heapwise_testkit::setup::Setup;

#[test]
fn first_small_malloc_moves_the_break_once_by_132_kib() {
    let world = plain();
    assert_eq!(seen(&world, || _ = world.malloc(0, 1)), [Seen::Sbrk(0x21000)]);
    let more = seen(&world, || {
        for _ in 0..100 {
            world.malloc(0, 1000);
        }
    });
    assert_eq!(more, []);
}

#[test]
fn a_break_inside_a_page_is_rounded_at_its_end() {
    let boot = Boot { break_offset: 1000, ..Boot::default() };
    let world = World::new(Setup { boot, ..Setup::plain() });
    assert_eq!(seen(&world, || _ = world.malloc(0, 1)), [Seen::Sbrk(0x21000 - 1000)]);
    assert_eq!(world.alloc.os.kernel().brk.now() % PAGE, 0);
}

#[test]
fn a_small_chunk_is_the_request_and_a_header() {
    let world = plain();
    for (request, chunk) in
        [(1, 32), (24, 32), (25, 48), (32, 48), (40, 48), (41, 64), (1032, 1040)]
    {
        let pointer = world.malloc(0, request);
        assert_eq!(header(pointer) & 0xffff_ffff_fff0, chunk, "request {request}");
        assert_eq!(world.alloc.usable_size(pointer), chunk as usize - 8);
    }
}

#[test]
fn the_break_grows_by_need_and_pad() {
    let world = plain();
    world.malloc(0, 1);
    let top = world.alloc.figures().top.bytes;
    world.malloc(0, LARGE);
    // 70,000 is a chunk of 70,016; what is left of the top counts.
    let need = 70_016 + (128 << 10) + 32 - (top - 70_016);
    let moved = seen(&world, || _ = world.malloc(0, LARGE));
    assert_eq!(moved, [Seen::Sbrk(need.next_multiple_of(PAGE) as isize)]);
}

#[test]
fn somebody_elses_break_closes_the_stretch_with_fenceposts() {
    let world = plain();
    let low = world.malloc(0, LARGE);
    world.malloc(0, LARGE);
    assert!(world.alloc.os.foreign_sbrk(5000));
    let high = world.malloc(0, LARGE);
    assert!(high > low + (192 << 10));
    let main = arena(&world, 0);
    let heaps: Vec<_> =
        world.alloc.heaps(main).map(|h| (h.on_break.get(), h.fence.get())).collect();
    assert_eq!(heaps.len(), 2);
    assert_eq!(heaps[0], (1, 0), "the newest has the top");
    assert_ne!(heaps[1].1, 0, "the older one ends in fenceposts");
    world.check();
    // What lies below is still used.
    free(&world, 0, low);
    assert_eq!(world.malloc(0, LARGE), low);
    world.finish();
}

#[test]
fn a_blocked_break_sends_the_main_arena_to_a_reserved_heap() {
    let world = plain();
    world.malloc(0, 1);
    world.alloc.os.kernel().brk.block(Some(0));
    let calls = seen(&world, || {
        for _ in 0..40 {
            assert_ne!(world.malloc(0, 30_000), 0);
        }
    });
    assert!(calls.contains(&Seen::Reserve(128 << 20)), "{calls:x?}");
    assert!(calls.iter().any(|c| matches!(c, Seen::Commit(_))));
    let small = world.malloc(0, 10);
    assert_ne!(small, 0);
    let heap = world.alloc.heaps(arena(&world, 0)).next().unwrap();
    assert_eq!(heap.on_break.get(), 0);
    assert_eq!(header(world.malloc(0, LARGE)) & 4, 0, "A stays clear in the main arena");
    world.check();
    world.finish();
}

#[test]
fn a_process_without_a_break_still_has_a_heap() {
    let world = plain();
    world.alloc.os.kernel().brk.block(Some(0));
    for request in [1, 100, 5000, LARGE] {
        assert_ne!(world.malloc(0, request), 0);
    }
    world.finish();
}

#[test]
fn a_lowered_break_is_fatal() {
    let world = plain();
    world.malloc(0, LARGE);
    world.alloc.os.pull_break_down(2 * PAGE);
    let line = world.alloc.os.fatal_line(|| {
        for _ in 0..4 {
            world.malloc(0, LARGE);
        }
    });
    assert_eq!(line.as_deref(), Some("break adjusted to free malloc space"));
}

#[test]
fn a_break_lowered_below_an_older_stretch_is_fatal() {
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    world.malloc(0, LARGE);
    world.alloc.os.kernel().brk.block(Some(0));
    world.malloc(0, 200_000);
    world.alloc.os.kernel().brk.block(None);
    world.alloc.os.pull_break_down(2 * PAGE);
    // The newest heap is a reserved one; its end says nothing of the break.
    let line = world.alloc.os.fatal_line(|| _ = world.malloc(0, 65 << 20));
    assert_eq!(line.as_deref(), Some("break adjusted to free malloc space"));
}

#[test]
fn a_break_raced_by_somebody_else_starts_a_stretch_of_zeros() {
    let world = plain();
    world.malloc(0, LARGE);
    world.alloc.os.kernel().race = 777;
    world.malloc(0, LARGE);
    let heap = world.alloc.heaps(arena(&world, 0)).next().unwrap();
    let end = heap.end.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(end % PAGE, 0, "ends on a page although the break does not");
    world.check();
    for _ in 0..50 {
        world.calloc(0, 1, 60_000);
    }
    world.finish();
}

#[test]
fn closing_a_stretch_does_not_trim_the_new_one() {
    // Trimming at any size: the old top, freed, must not cost the new one its pages.
    let world = set(&[
        (Setting::TrimThreshold, 0),
        (Setting::TopPad, 0),
        (Setting::MmapThreshold, 1 << 30),
    ]);
    world.malloc(0, 1);
    let first = world.malloc(0, 120_000);
    world.malloc(0, 1);
    free(&world, 0, first);
    assert!(world.alloc.os.foreign_sbrk(100));
    assert_ne!(world.malloc(0, 300_000), 0);
    world.check();
    world.finish();
}

#[test]
fn what_cannot_be_had_is_null_and_changes_nothing() {
    let world = plain();
    world.malloc(0, 100);
    let before = world.alloc.figures();
    for request in [usize::MAX, isize::MAX as usize, isize::MAX as usize - 63, 1 << 45] {
        assert_eq!(world.malloc(0, request), 0, "{request}");
        assert_eq!(world.calloc(0, 1, request), 0);
        assert_eq!(world.memalign(0, 64, request), 0);
    }
    assert_eq!(world.calloc(0, usize::MAX / 2, 3), 0, "overflow");
    assert_eq!(world.alloc.figures(), before);
}
