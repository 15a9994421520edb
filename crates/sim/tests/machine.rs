//! The machine: nothing is lost, whatever happens; one seed, one run.

use heapwise_pages::{Order, Request};
use heapwise_seed::Rng;
use heapwise_sim::{Config, Injection, Kernel, Pid, TouchError, boot};
use heapwise_vm::{Access, Advice, MapFlags, MapRequest, Prot, VirtAddr};

const PAGE: u64 = 4096;

fn map(kernel: &mut Kernel<'_>, pid: Pid, pages: u64) -> Option<VirtAddr> {
    kernel.mmap(pid, MapRequest::anonymous(pages * PAGE, Prot::RW)).ok()
}

/// Runs `work`, ends all processes, and counts: every frame is back.
fn whole<R>(config: &Config, work: impl FnOnce(&mut Kernel<'_>) -> R) -> R {
    boot(config, |kernel| {
        let before = kernel.free_frames();
        let result = work(kernel);
        kernel.check().unwrap();
        let pids: Vec<Pid> = kernel.processes().map(|process| process.pid).collect();
        for pid in pids {
            kernel.exit(pid);
        }
        kernel.objects.shrink();
        kernel.check().unwrap();
        // The two images stay in memory, as in a page cache: at most 64 pages.
        let cached = before - kernel.free_frames();
        assert!(cached <= 64, "{cached} frames are lost");
        assert_eq!(kernel.commit.committed, 0);
        result
    })
    .unwrap()
}

#[test]
fn a_gibibyte_asked_ten_mebibytes_touched() {
    let config = Config { ram_bytes: 1 << 30, ..Config::default() };
    whole(&config, |kernel| {
        let pid = kernel.spawn("lazy").unwrap();
        let start = map(kernel, pid, 1 << 18).unwrap();
        kernel.touch_range(pid, start, 10 << 20, Access::Write).unwrap();
        let process = kernel.process(pid).unwrap();
        assert!(process.mm.usage().total >= 1 << 18);
        assert_eq!(process.mm.rss().anon, 2560 + 2, "and the stack's page, and .data's");
    });
}

#[test]
fn the_killer_takes_the_worst_and_its_memory_returns() {
    let config = Config { ram_bytes: 64 << 20, ..Config::default() };
    whole(&config, |kernel| {
        let exempt = kernel.spawn("sshd").unwrap();
        kernel.process_mut(exempt).unwrap().oom_adjust = -1000;
        let small = kernel.spawn("small").unwrap();
        let large = kernel.spawn("large").unwrap();
        let at = map(kernel, exempt, 4096).unwrap();
        kernel.touch_range(exempt, at, 16 << 20, Access::Write).unwrap();
        let at = map(kernel, small, 1024).unwrap();
        kernel.touch_range(small, at, 4 << 20, Access::Write).unwrap();
        let at = map(kernel, large, 15_000).unwrap();
        let end = kernel.touch_range(large, at, 15_000 * PAGE, Access::Write);
        assert_eq!(end, Err(TouchError::Killed));
        assert!(kernel.process(large).is_none());
        assert!(kernel.process(small).is_some() && kernel.process(exempt).is_some());
        assert_eq!(kernel.counts.oom_kills, 1);
    });
}

#[test]
fn a_group_at_its_limit_kills_its_own() {
    whole(&Config::default(), |kernel| {
        kernel.set_group(7, 512);
        let inside = kernel.spawn("inside").unwrap();
        let outside = kernel.spawn("outside").unwrap();
        kernel.join_group(inside, 7);
        let at = map(kernel, outside, 4096).unwrap();
        kernel.touch_range(outside, at, 16 << 20, Access::Write).unwrap();
        let at = map(kernel, inside, 4096).unwrap();
        let end = kernel.touch_range(inside, at, 16 << 20, Access::Write);
        assert_eq!(end, Err(TouchError::Killed));
        let group = kernel.group(7).unwrap();
        assert_eq!((group.usage, group.kills, group.peak), (0, 1, 512));
        assert!(kernel.process(outside).is_some());
    });
}

#[test]
fn a_fragmented_buddy_has_no_large_block_until_it_is_compacted() {
    let config = Config { ram_bytes: 64 << 20, ..Config::default() };
    whole(&config, |kernel| {
        let pid = kernel.spawn("holes").unwrap();
        let pages = 14_000;
        let start = map(kernel, pid, pages).unwrap();
        kernel.touch_range(pid, start, pages * PAGE, Access::Write).unwrap();
        for nth in 0..pages {
            kernel.store(pid, start.up(nth * PAGE), nth).unwrap();
        }
        for nth in (0..pages).step_by(2) {
            kernel.madvise(pid, start.up(nth * PAGE), PAGE, Advice::DontNeed).unwrap();
        }
        let order = Order::for_bytes((2 << 20) + 1).unwrap();
        assert_eq!(order, Order::MAX);
        // What is left in whole blocks, somebody else has.
        let mut others = Vec::new();
        while let Some(block) = kernel.take_block(order, Request::KERNEL) {
            others.push(block);
        }
        assert!(kernel.take_block(order, Request::KERNEL).is_none());
        let done = kernel.compact(order);
        assert!(done.success && done.moved > 0, "{done:?}");
        let block = kernel.take_block(order, Request::KERNEL).expect("a block, now");
        for nth in (1..pages).step_by(2) {
            assert_eq!(kernel.load(pid, start.up(nth * PAGE)), Ok(nth), "page {nth}");
        }
        others.push(block);
        for block in others {
            kernel.give_block(block, order);
        }
    });
}

/// A random program of many processes; what it did, as text.
fn story(seed: u64, faults: bool) -> String {
    let config = Config { ram_bytes: 32 << 20, cpus: 3, seed, ..Config::default() };
    whole(&config, |kernel| {
        kernel.watch();
        let mut rng = Rng::new(seed);
        let mut text = String::new();
        let mut held: Vec<(Pid, VirtAddr, u64)> = Vec::new();
        kernel.set_group(1, 2000);
        for step in 0..600 {
            kernel.on_cpu(rng.below(3) as usize);
            if faults && rng.one_in(40) {
                let what = match rng.below(5) {
                    0 => Injection::CallFails,
                    1 => Injection::ForeignSbrk(rng.below(10_000) as i64),
                    2 => Injection::MappingInTheWay,
                    3 => Injection::OutOfMemory,
                    _ => Injection::FrameMissing,
                };
                kernel.plan(|plan| plan.at_call(plan.calls_seen + 1 + rng.below(4), what));
            }
            let pids: Vec<Pid> = kernel.processes().map(|process| process.pid).collect();
            let pid = pids.get(rng.below(pids.len() as u64) as usize).copied();
            let pick = rng.below(held.len().max(1) as u64) as usize;
            match (rng.below(10), pid) {
                (_, None) | (0, _) => {
                    if pids.len() < 12
                        && let Ok(pid) = kernel.spawn("p")
                        && rng.one_in(2)
                    {
                        kernel.join_group(pid, 1);
                    }
                }
                (1, Some(pid)) if pids.len() < 12 => {
                    if let Ok(child) = kernel.fork(pid) {
                        let own: Vec<_> = held.iter().filter(|one| one.0 == pid).copied().collect();
                        held.extend(own.iter().map(|one| (child, one.1, one.2)));
                    }
                }
                (2, Some(pid)) if rng.one_in(3) => kernel.exit(pid),
                (3, Some(pid)) => {
                    let pages = 1 + rng.below(600);
                    let mut request = MapRequest::anonymous(pages * PAGE, Prot::RW);
                    if rng.one_in(3) {
                        request.flags = MapFlags::SHARED | MapFlags::ANONYMOUS;
                    }
                    if let Ok(at) = kernel.mmap(pid, request) {
                        held.push((pid, at, pages));
                    }
                }
                (4, Some(pid)) => {
                    let brk = kernel.process(pid).unwrap().mm.bounds.brk;
                    let delta = rng.below(1 << 18) as i64 - (1 << 16);
                    kernel.brk(pid, VirtAddr::new(brk.get().wrapping_add_signed(delta)));
                }
                (5, _) if !held.is_empty() => {
                    let (pid, at, pages) = held.swap_remove(pick);
                    let _ = kernel.munmap(pid, at, pages * PAGE);
                }
                (6, _) if !held.is_empty() => {
                    let (pid, at, pages) = held[pick];
                    let advice = if rng.one_in(2) { Advice::DontNeed } else { Advice::Free };
                    let _ = kernel.madvise(pid, at, (1 + rng.below(pages)) * PAGE, advice);
                }
                _ if !held.is_empty() => {
                    let (pid, at, pages) = held[pick];
                    let from = rng.below(pages);
                    let access = if rng.one_in(3) { Access::Read } else { Access::Write };
                    let bytes = (1 + rng.below(pages - from)) * PAGE;
                    let _ = kernel.touch_range(pid, at.up(from * PAGE), bytes, access);
                }
                _ => {}
            }
            if step % 100 == 0 {
                kernel.check().unwrap_or_else(|flaw| panic!("seed {seed}, step {step}: {flaw}"));
            }
            for event in kernel.events() {
                use std::fmt::Write;
                writeln!(text, "{event}").unwrap();
            }
        }
        text
    })
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..3 {
        assert_eq!(story(seed, true), story(seed, true), "seed {seed}");
    }
    assert_ne!(story(1, false), story(2, false));
}

#[test]
fn nothing_is_lost_whatever_fails() {
    for seed in 100..130 {
        story(seed, true);
    }
}

/// A fixed little program; false if it could not be done to its end.
fn little(kernel: &mut Kernel<'_>) -> bool {
    let Ok(pid) = kernel.spawn("little") else { return false };
    let Some(start) = map(kernel, pid, 8) else { return false };
    let stored = (0..4).all(|nth| kernel.store(pid, start.up(nth * PAGE), nth + 1).is_ok());
    let Ok(child) = kernel.fork(pid) else { return false };
    let copied = kernel.store(child, start, 9).is_ok();
    let grown = kernel.sbrk(pid, 3 * PAGE as i64).is_some();
    let kept = kernel.load(pid, start).is_ok_and(|word| word == 1 || !stored);
    let object = kernel.kmalloc(3000);
    if let Ok(at) = object {
        kernel.kfree(at).unwrap();
    }
    stored && copied && grown && kept && object.is_ok()
}

#[test]
fn each_frame_missing_in_turn() {
    let mut nth = 1;
    loop {
        let done = whole(&Config::default(), |kernel| {
            kernel.plan(|plan| plan.frames_missing = Some((plan.frames_seen + nth, 1)));
            little(kernel);
            kernel.plan(|plan| {
                let (at, _) = plan.frames_missing.unwrap();
                plan.frames_seen < at
            })
        });
        if done {
            break;
        }
        nth += 1;
    }
    assert!(nth > 10, "only {nth} frames were asked for");
}

#[test]
fn each_call_failing_in_turn() {
    for nth in 1..6 {
        whole(&Config::default(), |kernel| {
            kernel.plan(|plan| plan.at_call(nth, Injection::CallFails));
            little(kernel)
        });
    }
}
