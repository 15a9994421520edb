//! Our allocator on the simulated kernel, in both backings.

use heapwise_seed::Rng;
use heapwise_sim::user::User;
use heapwise_sim::{Behind, Config, Fidelity, Injection, Kernel, What, boot_shared};
use std::cell::RefCell;
use std::collections::BTreeMap;

fn with_user<R>(
    behind: Behind,
    config: Config,
    work: impl FnOnce(&RefCell<Kernel<'_>>, &User<'_, '_>) -> R,
) -> R {
    let config = Config { window: Some(behind), fidelity: Fidelity::Bytes, ..config };
    boot_shared(&config, |kernel| {
        let pid = kernel.borrow_mut().spawn("program").unwrap();
        work(kernel, &User::new(kernel, pid, 3))
    })
    .unwrap()
}

#[test]
fn a_real_store_takes_a_real_fault() {
    with_user(Behind::Frames, Config::default(), |cell, user| {
        cell.borrow_mut().watch();
        let before = cell.borrow().process(user.pid()).unwrap().mm.rss().anon;
        let pointer = user.malloc(0, 1000);
        assert_ne!(pointer, 0);
        user.touch(pointer, 1000, 7);
        assert!(user.ended().is_none());
        let after = cell.borrow().process(user.pid()).unwrap().mm.rss().anon;
        assert!(after > before, "{before} pages, then {after}");
        let events = cell.borrow_mut().events();
        assert!(events.iter().any(|event| matches!(event.what, What::Brk { .. })));
        assert!(events.iter().any(|event| matches!(event.what, What::Fault { .. })));
        // Read back through the frame, not through the window.
        let big = user.malloc(0, 1 << 20);
        let place: *mut u64 = std::ptr::with_exposed_provenance_mut((big + 4095) & !4095);
        // SAFETY: inside of the block.
        unsafe { place.write_volatile(0xfeed) };
        let page = heapwise_vm::VirtAddr::new(place.expose_provenance() as u64);
        assert_eq!(cell.borrow_mut().load(user.pid(), page), Ok(0xfeed));
        user.free(0, big);
        user.free(0, pointer);
        cell.borrow().check().unwrap();
    });
}

/// A random program; every block is full of its own byte.
fn random(behind: Behind, seed: u64, steps: usize, faults: bool) {
    let config = Config { seed, ram_bytes: 128 << 20, ..Config::default() };
    with_user(behind, config, |cell, user| {
        let mut rng = Rng::new(seed);
        let mut blocks: BTreeMap<usize, (usize, u8)> = BTreeMap::new();
        for step in 0..steps {
            if faults && rng.one_in(20) {
                let what = match rng.below(3) {
                    0 => Injection::CallFails,
                    1 => Injection::ForeignSbrk(1 + rng.below(9000) as i64),
                    _ => Injection::MappingInTheWay,
                };
                cell.borrow_mut()
                    .plan(|plan| plan.at_call(plan.calls_seen + 1 + rng.below(2), what));
            }
            let thread = rng.below(3) as usize;
            if rng.below(5) < 3 || blocks.is_empty() {
                let request = match rng.below(20) {
                    0 => rng.below(400_000) as usize,
                    1..4 => rng.below(9000) as usize,
                    _ => rng.below(300) as usize,
                };
                let pointer = user.malloc(thread, request);
                if pointer == 0 {
                    assert!(faults, "seed {seed}, step {step}: {request} bytes refused");
                    continue;
                }
                let byte = step as u8;
                let place: *mut u8 = std::ptr::with_exposed_provenance_mut(pointer);
                // SAFETY: just given, so long.
                unsafe { place.write_bytes(byte, request) };
                let below = blocks.range(..pointer + request.max(1)).next_back();
                let clash = below.is_some_and(|(at, (bytes, _))| at + bytes > pointer);
                assert!(!clash, "seed {seed}, step {step}: two blocks at {pointer:#x}");
                blocks.insert(pointer, (request, byte));
            } else {
                let nth = rng.below(blocks.len() as u64) as usize;
                let (&pointer, &(bytes, byte)) = blocks.iter().nth(nth).unwrap();
                let place: *const u8 = std::ptr::with_exposed_provenance(pointer);
                // SAFETY: a block of ours, so long.
                let whole = unsafe { std::slice::from_raw_parts(place, bytes) };
                assert!(whole.iter().all(|found| *found == byte), "seed {seed}, step {step}");
                blocks.remove(&pointer);
                user.free(thread, pointer);
            }
            if rng.one_in(60) {
                user.trim(thread, 0);
            }
            if rng.one_in(40) {
                cell.borrow_mut().pass_ns(600_000_000);
                user.alloc.tick();
            }
            if faults || step % 64 == 0 {
                user.alloc
                    .check()
                    .unwrap_or_else(|flaw| panic!("seed {seed}, step {step}: {flaw:?}"));
            }
            assert_eq!(user.ended(), None, "seed {seed}, step {step}");
        }
        user.settle().unwrap();
        cell.borrow().check().unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
    });
}

#[test]
fn random_programs_on_real_faults() {
    for seed in 0..6 {
        random(Behind::Frames, seed, 1500, false);
    }
}

#[test]
fn random_programs_on_real_faults_and_calls_that_fail() {
    for seed in 0..8 {
        random(Behind::Frames, seed, 600, true);
    }
}

#[test]
fn random_programs_on_memory() {
    for seed in 0..12 {
        random(Behind::Memory, seed, 3000, seed % 2 == 0);
    }
}

/// What a program of fixed steps costs the machine.
fn figures(behind: Behind) -> (u64, u64, u64) {
    with_user(behind, Config::default(), |cell, user| {
        let mut blocks = Vec::new();
        for nth in 0..3000 {
            let bytes = 16 + nth % 700 * 3;
            let pointer = user.malloc(0, bytes);
            user.touch(pointer, bytes, 1);
            blocks.push(pointer);
        }
        for pointer in blocks.drain(..).step_by(2) {
            user.free(0, pointer);
        }
        user.settle().unwrap();
        let kernel = cell.borrow();
        let process = kernel.process(user.pid()).unwrap();
        (kernel.counts.calls, process.mm.rss().anon, process.mm.usage().total)
    })
}

#[test]
fn both_backings_see_the_same_calls_and_pages() {
    assert_eq!(figures(Behind::Frames), figures(Behind::Memory));
}

#[test]
fn the_killer_ends_a_program_in_the_middle_of_a_store() {
    let config = Config { ram_bytes: 16 << 20, ..Config::default() };
    with_user(Behind::Frames, config, |cell, user| {
        let block = user.malloc(0, 32 << 20);
        if block != 0 {
            user.touch(block, 32 << 20, 1);
            assert_eq!(user.ended(), Some(heapwise_sim::TouchError::Killed));
            assert!(cell.borrow().process(user.pid()).is_none());
        }
    });
}

#[test]
fn misuse_ends_it_with_the_usual_line() {
    with_user(Behind::Frames, Config::default(), |_, user| {
        let block = user.malloc(0, 100);
        user.free(0, block);
        let line = user.fatal_line(|| user.free(0, block));
        assert!(line.is_some_and(|line| line.contains("double free")));
    });
}
