//! Every point where the kernel can refuse: the Nth call fails, once or from
//! then on, for every N of a workload.
//!
//! What must hold: the call that needed the kernel returns null (or finds
//! another way), the heap checks whole at once, every block keeps its contents
//! and can be freed, and once the kernel gives again, so does the allocator.

use heapwise_malloc::tunables::Setting;
use heapwise_seed::Rng;
use heapwise_testkit::World;
use heapwise_testkit::faults::ALL;
use heapwise_testkit::op::Op;
use heapwise_testkit::replay::Replay;
use heapwise_testkit::setup::Setup;

/// Calls beyond the workload's own that are tried too: a failure may lead to more.
const BEYOND: u64 = 20;

/// Runs `work` with nothing failing, then with each call failing in turn.
fn each_call_fails(name: &str, setup: &Setup, work: impl Fn(&World)) {
    let calls = run(setup, &work, None);
    assert!(calls > 3, "{name} makes {calls} calls: too few to be a test");
    for nth in 1..=calls + BEYOND {
        for length in [1, u64::MAX] {
            let _replay = Replay::with(format!(
                "cargo test -p heapwise-malloc --test faults {name}   # call {nth} of {calls}, {length} fail"
            ));
            run(setup, &work, Some((nth, length)));
        }
    }
    println!("{name}: {calls} calls, each failing once and for good");
}

/// Runs `work` in a fresh world; the calls to the kernel that it made.
fn run(setup: &Setup, work: impl Fn(&World), fault: Option<(u64, u64)>) -> u64 {
    let world = World::new(setup.clone());
    if let Some((nth, length)) = fault {
        world.alloc.os.kernel().faults.plan(nth, length, ALL);
    }
    work(&world);
    let calls = world.alloc.os.kernel().faults.calls;
    world.check();
    world.verify_all();
    world.alloc.os.kernel().faults.lift();
    // The kernel gives again: everything can be had.
    for request in [1, 500, 5_000, 100_000, 1 << 20] {
        assert_ne!(world.malloc(0, request), 0, "{request} bytes after the kernel recovered");
    }
    world.finish();
    calls
}

/// A step, and a look at the heap if the kernel refused something in it.
fn step(world: &World, op: Op) {
    let before = world.alloc.os.kernel().faults.refused;
    world.apply(op);
    if world.alloc.os.kernel().faults.refused != before {
        world.check();
    }
}

fn with(threads: usize, settings: &[(Setting, usize)]) -> Setup {
    Setup { threads, settings: settings.to_vec(), ..Setup::plain() }
}

fn seeded(world: &World, seed: u64, operations: usize) {
    let mut rng = Rng::new(seed);
    for _ in 0..operations {
        step(world, Op::decode(rng.word()));
    }
}

#[test]
fn break_that_grows_and_shrinks() {
    each_call_fails("break_that_grows_and_shrinks", &with(1, &[(Setting::TopPad, 0)]), |world| {
        for round in 0..6 {
            step(world, Op::MallocMany { thread: 0, request: 3_000 + 900 * round, count: 40 });
            step(world, Op::Calloc { thread: 0, count: 1, each: 90_000 });
            step(world, Op::FreeMany { thread: 0, pick: round, count: 25 });
        }
        step(world, Op::FreeMany { thread: 0, pick: 0, count: 500 });
        step(world, Op::Trim { thread: 0, pad: 0 });
        step(world, Op::Malloc { thread: 0, request: 10 });
    });
}

#[test]
fn mappings_and_remappings() {
    let setup = with(1, &[(Setting::MmapThreshold, 128 << 10)]);
    each_call_fails("mappings_and_remappings", &setup, |world| {
        for round in 0..8 {
            step(world, Op::Malloc { thread: 0, request: 200_000 + 50_000 * round });
            step(world, Op::Memalign { thread: 0, align: 4096 << round, request: 150_000 });
            step(world, Op::Realloc { thread: 0, pick: 3 * round, request: 400_000 });
            step(world, Op::Realloc { thread: 0, pick: round, request: 140_000 });
            step(world, Op::Realloc { thread: 0, pick: 5 * round, request: 900 });
            step(world, Op::FreeAny { thread: 0, pick: 7 * round });
        }
    });
}

#[test]
fn reserved_heaps_of_a_blocked_break() {
    let setup = with(1, &[(Setting::MmapMax, 0), (Setting::TopPad, 0)]);
    each_call_fails("reserved_heaps_of_a_blocked_break", &setup, |world| {
        world.alloc.os.kernel().brk.block(Some(0));
        for round in 0..4 {
            step(world, Op::MallocMany { thread: 0, request: 60_000, count: 10 });
            step(world, Op::Malloc { thread: 0, request: (30 << 20) + round });
        }
        step(world, Op::FreeMany { thread: 0, pick: 0, count: 500 });
        step(world, Op::Tick);
        step(world, Op::Trim { thread: 0, pad: 0 });
        world.alloc.os.kernel().brk.block(None);
        step(world, Op::MallocMany { thread: 0, request: 50_000, count: 10 });
    });
}

#[test]
fn arenas_of_many_threads() {
    each_call_fails("arenas_of_many_threads", &with(9, &[(Setting::ArenaMax, 6)]), |world| {
        for thread in 0..9 {
            step(world, Op::MallocMany { thread, request: 700, count: 12 });
            step(world, Op::Malloc { thread, request: 100_000 });
        }
        for pick in 0..60 {
            step(world, Op::FreeAny { thread: pick, pick: pick * 77 });
        }
        for thread in 0..9 {
            step(world, Op::Exit { thread });
            step(world, Op::Tick);
        }
        for thread in 0..9 {
            step(world, Op::Calloc { thread, count: 3, each: 40_000 });
        }
    });
}

#[test]
fn table_of_mapped_chunks_that_grows() {
    let setup = with(1, &[(Setting::MmapThreshold, 4096)]);
    // What fails is the table's own mapping, among hundreds of others.
    let calls = run(&setup, map_many, None);
    for nth in (380..420).chain(780..calls.min(820)) {
        for length in [1, 2, u64::MAX] {
            run(&setup, map_many, Some((nth, length)));
        }
    }
}

fn map_many(world: &World) {
    for _ in 0..900 {
        world.apply(Op::Malloc { thread: 0, request: 5_000 });
    }
    for pick in 0..40 {
        step(world, Op::Realloc { thread: 0, pick: pick * 31, request: 9_000 });
    }
}

#[test]
fn seeded_workloads() {
    for seed in 0..6 {
        let setup = Setup {
            interrupt_one_in: 0,
            kind_kernel: true,
            max_bytes: 16 << 20,
            ..Setup::of_seed(seed)
        };
        each_call_fails(&format!("seeded_workloads_{seed}"), &setup, |world| {
            seeded(world, seed, 150)
        });
    }
}
