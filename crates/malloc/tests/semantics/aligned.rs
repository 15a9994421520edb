//! memalign and its relatives.

use crate::bench::{PAGE, free, header, plain, seen, set, uncached};
use heapwise_layout::state::HeapInfo;
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::os::Seen;

#[test]
fn every_alignment_and_size() {
    let world = plain();
    for shift in 3..22 {
        for request in [0, 1, 24, 100, 1032, 4096, 70_000, 131_048, 300_000] {
            let pointer = world.memalign(0, 1 << shift, request);
            assert_eq!(pointer % (1 << shift).max(16), 0);
            assert!(world.alloc.usable_size(pointer) >= request);
        }
        world.check();
    }
    world.finish();
}

#[test]
fn lead_and_tail_go_back() {
    let world = plain();
    let pointer = world.memalign(0, PAGE, 1000);
    assert_eq!(header(pointer) & 0xffff_fff0, 1008);
    let f = world.alloc.figures();
    assert_eq!(f.live.bytes, 1008);
    assert_eq!(
        f.live.bytes + f.cached.bytes + f.fast.bytes + f.binned.bytes + f.top.bytes,
        f.system_bytes - size_of::<HeapInfo>()
    );
    world.check();
}

#[test]
fn an_aligned_chunk_joins_the_cache_of_its_size() {
    let world = plain();
    let pointer = world.memalign(0, 64, 100);
    free(&world, 0, pointer);
    assert_eq!(world.malloc(0, 100), pointer);
}

#[test]
fn an_aligned_chunk_of_a_class_serves_every_alignment_of_its_size() {
    let world = plain();
    for request in [64, 192, 1024, 2560, 4096, 16384] {
        let first = world.memalign(0, 32, request);
        free(&world, 0, first);
        let natural = 1 << request.trailing_zeros().min(12);
        assert_eq!(world.memalign(0, natural, request), first, "{request} at {natural}");
        free(&world, 0, first);
        world.check();
    }
    world.finish();
}

#[test]
fn an_aligned_request_looks_beyond_the_newest_chunk() {
    let world = plain();
    let aligned = world.memalign(0, 256, 256);
    let plain: Vec<_> = (0..6).map(|_| world.malloc(0, 256)).collect();
    free(&world, 0, aligned);
    let others = plain.iter().filter(|&&pointer| pointer % 256 != 0).take(5);
    others.for_each(|&pointer| free(&world, 0, pointer));
    assert_eq!(world.memalign(0, 256, 256), aligned);
    world.check();
}

#[test]
fn an_aligned_mapping_keeps_only_its_own_pages() {
    let world = plain();
    let calls = seen(&world, || {
        let pointer = world.memalign(0, 1 << 20, 1 << 20);
        assert_eq!(pointer % (1 << 20), 0);
    });
    assert!(matches!(calls[0], Seen::Map(_)), "{calls:?}");
    let kept: usize = world.alloc.os.kernel().space.areas().map(|(s, _)| s.bytes()).sum();
    assert_eq!(
        kept,
        (1 << 20) + 2 * PAGE,
        "the page before it, for the header, and the one it ends in"
    );
    world.check();
    world.finish();
}

#[test]
fn a_chunk_out_of_a_fastbin_keeps_its_flag() {
    // A free neighbour below the fast chunk that memalign takes as it stands.
    let world = uncached();
    let mut fast = 0;
    let mut below = 0;
    for _ in 0..64 {
        below = world.malloc(0, 200);
        fast = world.malloc(0, 120);
        if fast % 32 == 0 && header(fast) & 0xffff == (128 | 1) {
            break;
        }
        world.malloc(0, 40);
    }
    assert_eq!(fast % 32, 0);
    world.malloc(0, 40);
    free(&world, 0, below);
    free(&world, 0, fast);
    assert_eq!(header(fast) & 1, 0, "the chunk below is free");
    // 32 + 64 + 32: just the fast chunk.
    assert_eq!(world.memalign(0, 32, 50), fast);
    assert_eq!(header(fast) & 1, 0);
    world.check();
    world.finish();
}

#[test]
fn absurd_alignments_are_null() {
    let world = set(&[(Setting::MmapMax, 0)]);
    for align in [1 << 40, 1 << 50, 1 << 62, 1 << 63] {
        assert_eq!(world.memalign(0, align, 10), 0, "{align:#x}");
    }
    world.check();
    world.finish();
}
