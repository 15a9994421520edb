//! The five kinds of bins, each doing the job that the articles give it.

use crate::bench::{LARGE, arena, bin, fastbin, free, header, plain, set, uncached};
use heapwise_layout::bins::{UNSORTED, bin_index};
use heapwise_malloc::tunables::Setting;

#[test]
fn a_fastbin_keeps_small_chunks_unmerged_newest_first() {
    let world = uncached();
    let pointers: Vec<_> = (0..4).map(|_| world.malloc(0, 100)).collect();
    world.malloc(0, 10);
    for &pointer in &pointers {
        free(&world, 0, pointer);
    }
    assert_eq!(fastbin(&world, 112).count, 4);
    assert_eq!(header(pointers[1]) & 1, 1, "to its neighbours it looks in use");
    for &pointer in pointers.iter().rev() {
        assert_eq!(world.malloc(0, 100), pointer);
    }
    world.check();
}

#[test]
fn a_large_request_consolidates_the_fastbins() {
    let world = uncached();
    let pointers: Vec<_> = (0..40).map(|_| world.malloc(0, 100)).collect();
    world.malloc(0, 10);
    pointers.iter().for_each(|&p| free(&world, 0, p));
    assert_eq!(fastbin(&world, 112).count, 40);
    // 40 chunks of 112, merged, hold it.
    assert_eq!(world.malloc(0, 4000), pointers[0]);
    assert_eq!(fastbin(&world, 112).count, 0);
    world.check();
}

#[test]
fn what_fastbins_pin_is_bounded() {
    let world = uncached();
    let pointers: Vec<_> = (0..3000).map(|_| world.malloc(0, 100)).collect();
    pointers.iter().for_each(|&p| free(&world, 0, p));
    assert!(world.alloc.figures().fast.bytes <= 128 << 10);
    world.check();
}

#[test]
fn no_fastbins_if_told_so() {
    let world = set(&[(Setting::CacheCount, 0), (Setting::MxFast, 0)]);
    let pointer = world.malloc(0, 50);
    world.malloc(0, 50);
    free(&world, 0, pointer);
    assert_eq!(world.alloc.figures().fast.count, 0);
    assert_eq!(bin(&world, UNSORTED).count, 1);
    let world = set(&[(Setting::CacheCount, 0), (Setting::MxFast, 160)]);
    let pointer = world.malloc(0, 160);
    free(&world, 0, pointer);
    assert_eq!(fastbin(&world, 176).count, 1);
}

#[test]
fn freed_chunks_pass_once_through_the_unsorted_bin() {
    let world = uncached();
    let pointer = world.malloc(0, 200);
    world.malloc(0, 10);
    free(&world, 0, pointer);
    assert_eq!((bin(&world, UNSORTED).count, bin(&world, bin_index(208)).count), (1, 0));
    // A request that it does not fit sorts it.
    world.malloc(0, 300);
    assert_eq!((bin(&world, UNSORTED).count, bin(&world, bin_index(208)).count), (0, 1));
    assert_eq!(world.malloc(0, 200), pointer);
    world.check();
}

#[test]
fn a_small_bin_gives_the_oldest_first() {
    let world = uncached();
    let pointers: Vec<_> = (0..3)
        .map(|_| {
            world.malloc(0, 10);
            world.malloc(0, 200)
        })
        .collect();
    world.malloc(0, 10);
    pointers.iter().for_each(|&p| free(&world, 0, p));
    world.malloc(0, 300);
    assert_eq!(bin(&world, bin_index(208)).count, 3);
    for &pointer in &pointers {
        assert_eq!(world.malloc(0, 200), pointer);
    }
}

#[test]
fn large_bins_give_the_best_fit() {
    let world = plain();
    let sizes = [90_000, 75_000, 110_000, 75_000, 82_000];
    let pointers: Vec<_> = sizes
        .iter()
        .map(|&size| {
            let pointer = world.malloc(0, size);
            world.malloc(0, LARGE);
            pointer
        })
        .collect();
    pointers.iter().for_each(|&p| free(&world, 0, p));
    world.malloc(0, 125_000);
    // 64 KiB to 96 KiB is one bin, 96 KiB to 128 KiB the next.
    assert_eq!([75_008, 110_016, UNSORTED].map(|size| bin(&world, bin_of(size)).count), [4, 1, 0]);
    world.check();
    assert_eq!(world.malloc(0, 81_000), pointers[4], "82,000 is the smallest that fits");
    assert_eq!(world.malloc(0, 100_000), pointers[2]);
    world.check();
}

/// The bin of a size; a bin's own number stays.
fn bin_of(size: usize) -> usize {
    if size == UNSORTED { size } else { bin_index(size) }
}

#[test]
fn the_map_of_bins_leads_to_the_next_larger() {
    let world = uncached();
    let pointer = world.malloc(0, 5000);
    world.malloc(0, 10);
    free(&world, 0, pointer);
    world.malloc(0, 6000);
    // No chunk of 320 and none between: the one of 5,136 is cut.
    assert_eq!(world.malloc(0, 310), pointer);
    assert_eq!(bin(&world, UNSORTED).count, 1, "the rest is unsorted again");
    world.check();
}

#[test]
fn the_last_remainder_keeps_small_requests_side_by_side() {
    let world = uncached();
    let pointer = world.malloc(0, 5000);
    world.malloc(0, 10);
    free(&world, 0, pointer);
    let first = world.malloc(0, 300);
    let second = world.malloc(0, 300);
    let third = world.malloc(0, 400);
    assert_eq!(
        [second - first, third - second],
        [320 - 8 + 8 - 8, 312].map(|d: usize| d.next_multiple_of(16))
    );
    assert_eq!(first, pointer);
}

#[test]
fn the_top_serves_what_nobody_else_can() {
    let world = plain();
    let first = world.malloc(0, LARGE);
    let before = world.alloc.figures().top.bytes;
    let second = world.malloc(0, 20_000);
    assert!(second > first);
    assert!(world.alloc.figures().top.bytes < before - 20_000);
}

#[test]
fn boundary_tags_merge_both_ways() {
    let world = plain();
    let [a, b, c, guard] = [0; 4].map(|_| world.malloc(0, LARGE));
    free(&world, 0, a);
    free(&world, 0, c);
    assert_eq!(world.alloc.figures().binned.count, 2);
    free(&world, 0, b);
    assert_eq!(world.alloc.figures().binned.count, 1);
    assert_eq!(world.alloc.figures().binned.bytes, 3 * 70_016);
    assert_eq!(header(guard) & 1, 0);
    free(&world, 0, guard);
    assert_eq!(world.alloc.figures().binned.count, 0, "all of it is top");
    world.check();
}

#[test]
fn all_five_kinds_at_once() {
    let world = uncached();
    let pointers: Vec<_> = [100, 200, 3000, LARGE]
        .iter()
        .map(|&size| {
            let pointer = world.malloc(0, size);
            world.malloc(0, 10);
            pointer
        })
        .collect();
    // Small and large bins by sorting, the others by freeing afterwards.
    free(&world, 0, pointers[1]);
    free(&world, 0, pointers[2]);
    world.malloc(0, 90_000);
    free(&world, 0, pointers[3]);
    // This one, larger than 64 KiB, has consolidated the fastbins: the fast chunk last.
    free(&world, 0, pointers[0]);
    assert_eq!(fastbin(&world, 112).count, 1);
    assert_eq!(bin(&world, bin_index(208)).count, 1, "small");
    assert_eq!(bin(&world, bin_index(3088)).count, 1, "large");
    assert_eq!(bin(&world, UNSORTED).count, 1, "unsorted");
    assert!(world.alloc.figures().top.bytes > 0);
    assert_eq!(arena(&world, 0).index.get(), 0);
    world.check();
    world.finish();
}
