//! calloc: always zero, and not zeroed twice.

use crate::bench::{LARGE, PAGE, free, plain, resident_bytes, seen, set};
use heapwise_malloc::tunables::Setting;
use heapwise_testkit::os::Seen;

#[test]
fn untouched_top_is_not_written() {
    let world = plain();
    let slot = world.slot(0);
    world.malloc(0, 1);
    let pointer = world.alloc.calloc(&slot, 1, 100_000);
    let inside = resident_bytes(pointer.next_multiple_of(PAGE), 90_000);
    assert_eq!(inside, 0);
    world.alloc.free(&slot, pointer);
}

#[test]
fn pages_given_back_are_not_written() {
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    let slot = world.slot(0);
    let block = world.malloc(0, 1 << 20);
    world.malloc(0, 1);
    free(&world, 0, block);
    world.alloc.trim(&slot, 0);
    let pointer = world.alloc.calloc(&slot, 1, 1 << 20);
    assert_eq!(pointer, block);
    assert!(resident_bytes(pointer, 1 << 20) <= 2 * PAGE, "its first and last page");
    world.alloc.free(&slot, pointer);
}

#[test]
fn used_memory_is_zeroed() {
    // World::calloc reads every byte; blocks are full of patterns before.
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    for request in [10, 100, 1000, 5000, 40_000, LARGE, 200_000, 3 << 20] {
        let pointers: Vec<_> = (0..5).map(|_| world.malloc(0, request)).collect();
        pointers.iter().step_by(2).for_each(|&p| free(&world, 0, p));
        for count in [1, 3, 7] {
            world.calloc(0, count, request / count);
        }
        world.check();
    }
    world.finish();
}

#[test]
fn a_top_that_shrank_and_grew_is_zero() {
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    for _ in 0..20 {
        let block = world.malloc(0, 2 << 20);
        free(&world, 0, block);
        let zero = world.calloc(0, 1, 1 << 20);
        free(&world, 0, zero);
        world.alloc.os.pass_ns(1_000_000_000);
    }
    world.finish();
}

#[test]
fn perturbed_memory_is_still_zero_for_calloc() {
    let world = set(&[(Setting::Perturb, 0xaa)]);
    let slot = world.slot(0);
    let pointer = world.alloc.malloc(&slot, 100);
    // SAFETY: the block just got.
    let byte = unsafe { heapwise_testkit::host::address::<u8>(pointer + 99).read() };
    assert_eq!(byte, 0x55, "the complement of the byte");
    world.alloc.free(&slot, pointer);
    world.calloc(0, 1, 100);
    world.calloc(0, 1, LARGE);
    world.finish();
}

#[test]
fn a_purge_that_the_kernel_refuses_leaves_zeros_too() {
    let world = set(&[(Setting::MmapThreshold, 1 << 30)]);
    let block = world.malloc(0, 1 << 20);
    world.malloc(0, 1);
    world.alloc.os.kernel().faults.plan(1, 100, heapwise_testkit::faults::Kind::Purge.bit());
    let calls = seen(&world, || {
        free(&world, 0, block);
        world.alloc.trim(&world.slot(0), 0);
    });
    assert!(calls.iter().any(|c| matches!(c, Seen::Purge(_))));
    assert_eq!(world.calloc(0, 1, 1 << 20), block);
    world.finish();
}
