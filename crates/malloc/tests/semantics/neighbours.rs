//! What a thread does about memory that lies idle in other arenas, when its own grows.

use crate::bench::{arena, cache, free, threads};
use heapwise_layout::state::{MODE_LENT, MODE_OPEN};
use heapwise_testkit::World;
use heapwise_testkit::op::Op;
use std::sync::atomic::Ordering::Relaxed;

const MILLISECOND: u64 = 1_000_000;

fn blocks(world: &World, thread: usize, count: usize) -> Vec<usize> {
    (0..count).map(|_| world.malloc(thread, 1000)).collect()
}

fn index(world: &World, thread: usize) -> u32 {
    arena(world, thread).index.get()
}

/// Three threads; the second has blocks, the third an arena of its own.
fn before_the_end(count: usize) -> (Box<World>, Vec<usize>) {
    let world = threads(3, &[]);
    blocks(&world, 0, 1);
    let theirs = blocks(&world, 1, count);
    blocks(&world, 2, 1);
    assert_eq!(index(&world, 2), 2, "it began before the other's end");
    (world, theirs)
}

#[test]
fn a_new_thread_moves_into_what_another_has_left() {
    let (world, theirs) = before_the_end(600);
    theirs.iter().for_each(|&p| free(&world, 1, p));
    let left = arena(&world, 1);
    world.apply(Op::Exit { thread: 1 });
    assert!(left.idle_bytes.load(Relaxed) > 500_000);
    let own = blocks(&world, 2, 400);
    assert_eq!(index(&world, 2), 1);
    assert_eq!(left.idle_bytes.load(Relaxed), 0);
    assert_eq!(arena(&world, 2).users.load(Relaxed), 1);
    let left_too = world.alloc.arenas().nth(2).unwrap();
    assert_eq!(left_too.users.load(Relaxed), 0);
    assert!(left_too.system_bytes.load(Relaxed) < 300_000, "it grew once");
    // What it had there goes home all the same.
    own.iter().for_each(|&p| free(&world, 2, p));
    world.check();
    world.finish();
}

#[test]
fn who_frees_what_another_has_left_lives_there() {
    let (world, theirs) = before_the_end(800);
    let (dead, passed_on) = theirs.split_at(400);
    dead.iter().for_each(|&p| free(&world, 1, p));
    world.alloc.detach(&world.slot(1));
    passed_on.iter().for_each(|&p| free(&world, 2, p));
    world.malloc(2, 2000);
    assert_eq!(index(&world, 2), 1, "though its own has not grown");
    world.check();
    world.finish();
}

#[test]
fn the_first_thread_stays_where_it_is() {
    let (world, theirs) = before_the_end(600);
    theirs.iter().for_each(|&p| free(&world, 1, p));
    world.apply(Op::Exit { thread: 1 });
    blocks(&world, 0, 800);
    assert_eq!(index(&world, 0), 0);
    world.check();
}

/// The second thread has freed all of the first one's, then looks around twice.
fn handed_over(world: &World) {
    let theirs = blocks(world, 0, 800);
    blocks(world, 1, 1);
    theirs.iter().for_each(|&p| free(world, 1, p));
    assert!(arena(world, 0).inbox.bytes.load(Relaxed) > 500_000);
    for _ in 0..2 {
        world.alloc.os.pass_ns(2 * MILLISECOND);
        blocks(world, 1, 400);
    }
}

#[test]
fn what_waits_for_a_sleeper_goes_back_before_others_grow_much() {
    let world = threads(2, &[]);
    world.alloc.os.trace();
    handed_over(&world);
    let sleeper = arena(&world, 0);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_LENT);
    assert_eq!(sleeper.inbox.head.load(Relaxed), 0);
    assert_eq!(sleeper.depot_bytes.load(Relaxed), 0);
    assert_eq!(sleeper.dirty_bytes.load(Relaxed), 0);
    let given = world.alloc.os.kernel().given_back_bytes;
    assert!(given > 400_000, "{given} of 800,000");
    assert_ne!(world.malloc(0, 1000), 0);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_OPEN);
    world.check();
    world.finish();
}

#[test]
fn what_waits_for_a_running_thread_is_its_own_affair() {
    let world = threads(2, &[]);
    blocks(&world, 0, 1);
    world.alloc.os.kernel().awake.insert(cache(&world, 0).tid.load(Relaxed));
    handed_over(&world);
    assert_eq!(cache(&world, 0).mode.load(Relaxed), MODE_OPEN);
    assert_ne!(arena(&world, 0).inbox.head.load(Relaxed), 0);
    world.check();
    world.finish();
}
