//! Frees that wait for the headers of their chunks: where they do, for how long, and that every
//! misuse is still told.

use crate::bench::{LARGE, cache, free, header, set, threads};
use heapwise_layout::header::TAG_SHIFT;
use heapwise_layout::state::WAITING;
use heapwise_malloc::cache::{Resized, realloc_fast};
use heapwise_malloc::fatal::Fault;
use heapwise_malloc::tunables::Setting;
use heapwise_malloc::waiting::{Waited, free_either, malloc_either};
use heapwise_seed::Rng;
use heapwise_testkit::World;
use heapwise_testkit::op::Op;
use std::sync::atomic::Ordering::Relaxed;

const REQUEST: usize = 200;

fn frees_wait(world: &World) -> bool {
    cache(world, 0).wait_span.load(Relaxed) != 0
}

fn waiting(world: &World) -> Vec<usize> {
    cache(world, 0).waiting_pointers().collect()
}

fn is_live(pointer: usize) -> bool {
    header(pointer) >> TAG_SHIFT != 0
}

fn shuffle(blocks: &mut [usize], seed: u64) {
    let mut rng = Rng::new(seed);
    for last in (1..blocks.len()).rev() {
        blocks.swap(last, rng.index(last + 1));
    }
}

/// A world whose first thread's frees wait, and blocks of it in shuffled order, one in five pages.
fn cold(settings: &[(Setting, usize)]) -> (Box<World>, Vec<usize>) {
    let mut all = vec![(Setting::FreeWait, 1)];
    all.extend(settings);
    let world = set(&all);
    let mut blocks: Vec<_> = (0..40_000).map(|_| world.malloc(0, REQUEST)).collect();
    shuffle(&mut blocks, 1);
    blocks.truncate(2000);
    try_again(&world);
    (world, blocks)
}

/// Goes behind the fast paths until frees wait.
fn try_again(world: &World) {
    for _ in 0..100 {
        if frees_wait(world) {
            return;
        }
        behind(world);
    }
    panic!("no trial");
}

/// One call behind the fast paths, with no other effect.
fn behind(world: &World) {
    world.alloc.realloc(&world.slot(0), 0, usize::MAX);
}

/// free as a program calls it, without the model.
fn raw_free(world: &World, pointer: usize) {
    // SAFETY: this thread's cache.
    match unsafe { free_either(cache(world, 0), pointer) } {
        Waited::Done => {}
        Waited::Overflow(pointer) => world.alloc.overflow_at(&world.slot(0), pointer),
        Waited::Other(pointer) => world.alloc.free(&world.slot(0), pointer),
    }
}

/// malloc as a program calls it, without the model.
fn raw_malloc(world: &World) -> usize {
    // SAFETY: this thread's cache.
    match unsafe { malloc_either(cache(world, 0), REQUEST) } {
        0 => world.alloc.malloc(&world.slot(0), REQUEST),
        pointer => pointer,
    }
}

/// Asserts that `misuse` ends the program as a double free.
#[track_caller]
fn ends(world: &World, misuse: impl FnOnce()) {
    let line = world.alloc.os.fatal_line(misuse);
    assert_eq!(line.as_deref(), Some(Fault::DoubleFreeInTransit.line()));
}

#[test]
fn a_free_waits_for_as_many_as_there_are_places() {
    let (world, blocks) = cold(&[]);
    blocks[..WAITING].iter().for_each(|&p| free(&world, 0, p));
    assert_eq!(waiting(&world), blocks[..WAITING]);
    assert!(blocks[..WAITING].iter().all(|&p| is_live(p)));
    // Each further one lets the oldest in.
    for step in 0..WAITING {
        free(&world, 0, blocks[WAITING + step]);
        assert!(!is_live(blocks[step]) && is_live(blocks[step + 1]));
        assert_eq!(world.malloc(0, REQUEST), blocks[step]);
    }
    assert_eq!(waiting(&world).len(), WAITING);
    world.check();
}

#[test]
fn what_is_behind_the_fast_paths_lets_all_in() {
    let (world, blocks) = cold(&[]);
    for (some, call) in blocks.chunks(10).zip([
        // A large one that lived on would keep others from waiting.
        (|w| free(w, 0, w.malloc(0, LARGE))) as fn(&World),
        |w| free(w, 0, w.calloc(0, 1, LARGE)),
        |w| _ = w.memalign(0, 4096, 10_000),
        |w| _ = w.alloc.trim(&w.slot(0), 0),
        |w| w.alloc.set_counting(&w.slot(0), true),
    ]) {
        some.iter().for_each(|&p| free(&world, 0, p));
        assert!(waiting(&world).contains(&some[9]));
        call(&world);
        assert_eq!(waiting(&world), []);
        assert!(!some.iter().any(|&p| is_live(p)));
    }
    world.check();
}

#[test]
fn a_double_free_is_told_while_both_wait() {
    let (world, blocks) = cold(&[]);
    raw_free(&world, blocks[0]);
    raw_free(&world, blocks[0]);
    blocks[1..WAITING].iter().for_each(|&p| raw_free(&world, p));
    ends(&world, || raw_free(&world, blocks[WAITING]));
}

#[test]
fn a_double_free_is_told_before_the_chunk_is_handed_out() {
    // The first is carried out; the second waits when malloc comes to the chunk.
    let (world, blocks) = cold(&[]);
    blocks[..=WAITING].iter().for_each(|&p| raw_free(&world, p));
    raw_free(&world, blocks[0]);
    assert_eq!(raw_malloc(&world), blocks[1]);
    ends(&world, || _ = raw_malloc(&world));
    // By realloc, which takes a chunk and gives one.
    let (world, blocks) = cold(&[]);
    blocks[..=WAITING].iter().for_each(|&p| raw_free(&world, p));
    raw_free(&world, blocks[0]);
    assert_eq!(raw_malloc(&world), blocks[1]);
    let resize = || {
        // SAFETY: this thread's cache; a live block.
        let moved = unsafe { realloc_fast(cache(&world, 0), blocks[100], 24) };
        assert!(matches!(moved, Resized::Not), "the small class is empty");
        world.alloc.realloc(&world.slot(0), blocks[100], 24);
    };
    ends(&world, resize);
}

#[test]
fn every_double_free_is_told_however_frees_and_allocations_follow() {
    // Frees and allocations at random, one block freed twice: the program must end before the
    // block has two owners.
    for seed in 0..200 {
        let (world, mut held) = cold(&[]);
        let mut rng = Rng::new(seed);
        let twice = held.pop().expect("blocks");
        let mut told = None;
        let mut step = |call: &dyn Fn()| {
            if told.is_none() {
                told = world.alloc.os.fatal_line(call);
            }
            told.is_none()
        };
        step(&|| raw_free(&world, twice));
        // Between the two the block is not handed out.
        for _ in 0..rng.index(20) {
            let pointer = held.pop().expect("blocks");
            step(&|| raw_free(&world, pointer));
        }
        step(&|| raw_free(&world, twice));
        for _ in 0..100 {
            let goes_on = if rng.one_in(2) {
                let pointer = held.pop().expect("blocks");
                step(&|| raw_free(&world, pointer))
            } else {
                let got = std::cell::Cell::new(0);
                let goes_on = step(&|| got.set(raw_malloc(&world)));
                assert!(!goes_on || got.get() != twice, "handed out in seed {seed}");
                goes_on
            };
            if !goes_on {
                break;
            }
        }
        step(&|| behind(&world));
        assert_eq!(told.as_deref(), Some(Fault::DoubleFreeInTransit.line()), "seed {seed}");
    }
}

#[test]
fn realloc_of_what_waits_is_told() {
    let (world, blocks) = cold(&[]);
    raw_free(&world, blocks[0]);
    ends(&world, || _ = world.alloc.realloc(&world.slot(0), blocks[0], REQUEST));
}

#[test]
fn an_invalid_pointer_is_told() {
    for offset in [16, 8, 1, 64] {
        let (world, blocks) = cold(&[]);
        let line = world.alloc.os.fatal_line(|| {
            raw_free(&world, blocks[0] + offset);
            behind(&world);
        });
        assert_eq!(line.as_deref(), Some(Fault::FreeInvalidPointer.line()), "{offset}");
    }
}

#[test]
fn large_chunks_do_not_wait() {
    let (world, blocks) = cold(&[]);
    let large = world.malloc(0, LARGE);
    let aligned = world.memalign(0, 4096, LARGE);
    for &pointer in &blocks[..WAITING / 2] {
        free(&world, 0, pointer);
    }
    for pointer in [large, aligned] {
        free(&world, 0, pointer);
        assert!(!is_live(pointer));
        assert_eq!(waiting(&world), []);
    }
    world.check();
}

#[test]
fn warm_frees_do_not_wait_for_long() {
    let (world, blocks) = cold(&[]);
    // The same few blocks again and again.
    let few = &blocks[..20];
    for round in 0.. {
        for &pointer in few {
            raw_free(&world, pointer);
        }
        behind(&world);
        if !frees_wait(&world) {
            break;
        }
        assert!(round < 20, "frees still wait");
        few.iter().for_each(|_| _ = raw_malloc(&world));
    }
    assert_eq!(waiting(&world), []);
}

#[test]
fn frees_of_medium_blocks_end_a_trial_at_once() {
    let (world, _) = cold(&[]);
    let mut blocks: Vec<_> = (0..200).map(|_| world.malloc(0, 20_000)).collect();
    shuffle(&mut blocks, 2);
    try_again(&world);
    blocks[..12].iter().for_each(|&p| free(&world, 0, p));
    behind(&world);
    assert!(!frees_wait(&world));
    world.check();
}

#[test]
fn cold_frees_go_on_waiting() {
    let (world, blocks) = cold(&[]);
    for some in blocks.chunks(20) {
        some.iter().for_each(|&p| free(&world, 0, p));
        behind(&world);
        assert!(frees_wait(&world));
    }
    world.check();
}

#[test]
fn small_arenas_never_wait() {
    for least in [0, 4 << 20] {
        let world = set(&[(Setting::FreeWait, least)]);
        let blocks: Vec<_> = (0..4000).map(|_| world.malloc(0, REQUEST)).collect();
        for some in blocks.chunks(20) {
            some.iter().for_each(|&p| free(&world, 0, p));
            behind(&world);
            assert!(!frees_wait(&world));
        }
    }
}

#[test]
fn what_waits_counts_as_free() {
    let (world, blocks) = cold(&[]);
    let before = world.alloc.figures();
    blocks[..10].iter().for_each(|&p| free(&world, 0, p));
    let after = world.alloc.figures();
    assert_eq!(waiting(&world).len(), 10);
    assert_eq!(before.live.count - after.live.count, 10);
    assert_eq!(before.live.bytes - after.live.bytes, 10 * 208);
    assert_eq!(after.cached.count - before.cached.count, 10);
}

#[test]
fn the_helper_lets_in_what_a_sleeping_thread_left() {
    let (world, blocks) = cold(&[]);
    blocks[..10].iter().for_each(|&p| free(&world, 0, p));
    assert_eq!(waiting(&world).len(), 10);
    world.apply(Op::Tick);
    world.apply(Op::Tick);
    assert_eq!(waiting(&world), []);
    assert!(!blocks[..10].iter().any(|&p| is_live(p)));
    world.check();
    world.finish();
}

#[test]
fn what_another_thread_left_waiting_is_let_in_after_a_fork() {
    let world = threads(2, &[(Setting::FreeWait, 1)]);
    let mut blocks: Vec<_> = (0..40_000).map(|_| world.malloc(0, REQUEST)).collect();
    world.malloc(1, REQUEST);
    shuffle(&mut blocks, 2);
    try_again(&world);
    blocks[..10].iter().for_each(|&p| free(&world, 0, p));
    let left = cache(&world, 0);
    assert_eq!(left.waiting_pointers().count(), 10);
    world.apply(Op::Fork { thread: 1, into_child: true });
    assert_eq!(left.waiting_pointers().count(), 0);
    world.check();
    world.finish();
}

#[test]
fn a_profile_that_begins_finds_what_waits_let_in_first() {
    let (world, blocks) = cold(&[]);
    blocks[..10].iter().for_each(|&p| free(&world, 0, p));
    world.alloc.set_sampling(true);
    assert!(!frees_wait(&world));
    assert_eq!(cache(&world, 0).range_span.load(Relaxed), 0);
    free(&world, 0, blocks[10]);
    assert_eq!(waiting(&world), []);
    assert!(cache(&world, 0).range_span.load(Relaxed) > 0, "free is open again");
    world.check();
}
