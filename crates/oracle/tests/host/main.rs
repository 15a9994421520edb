//! The host's kernel against the model: random scripts, and one script for each corner.
//!
//! `HEAPWISE_ORACLE_SEED=n` starts elsewhere; the long run is
//! `cargo run --release -p heapwise-oracle -- --seconds 600`.

mod files;

use heapwise_oracle::compare::{Difference, check};
use heapwise_oracle::host::{self, Initial};
use heapwise_oracle::op::{Op, Step, signal_result};
use heapwise_oracle::{generate, ours, shrink};
use std::fmt::Write;
use std::path::Path;

const PAGE: u64 = 4096;
const STACK: u64 = 8 << 20;
const AREA: u64 = 0x1000_0000_0000;
const UNLIMITED: u64 = u64::MAX;

fn child() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_oracle-child"))
}

/// Whether the host can be asked; says so if not.
fn has_oracle() -> bool {
    let why = host::unsuitable().or_else(|| match host::run(child(), STACK, &[]) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Some(error.to_string())
        }
        // Any other failure is one of the tests.
        _ => None,
    });
    if let Some(why) = &why {
        println!("left out: {why}");
    }
    why.is_none()
}

fn initial(stack: u64) -> Initial {
    host::run(child(), stack, &[]).expect("the child runs").initial
}

fn report(stack: u64, steps: &[Step], difference: Difference) -> String {
    let (steps, difference) = shrink::shrink(child(), stack, steps, difference);
    let mut text = String::new();
    for step in &steps[steps.len().saturating_sub(60)..] {
        writeln!(text, "  {} {:x?}", step.who, step.op).unwrap();
    }
    text + &difference.text
}

/// Both sides agree on a script; returns what the host answered.
fn agree(stack: u64, steps: &[Step]) -> Vec<i64> {
    let found = check(child(), stack, steps).expect("the child runs");
    if let Some(difference) = found {
        panic!("{}", report(stack, steps, difference));
    }
    let run = host::run(child(), stack, steps).expect("the child runs");
    run.answers.iter().map(|answer| answer.result).collect()
}

fn steps(ops: &[Op]) -> Vec<Step> {
    ops.iter().map(|op| Step::new(*op)).collect()
}

const fn mmap(at: u64, pages: u64, prot: u64, flags: u64) -> Op {
    Op::Mmap { at, length: pages * PAGE, prot, flags, file: u64::MAX, offset: 0 }
}

const fn map_file(at: u64, pages: u64, prot: u64, flags: u64, page: u64) -> Op {
    Op::Mmap { at, length: pages * PAGE, prot, flags, file: 0, offset: page * PAGE }
}

const RW: u64 = 3;
const PRIVATE: u64 = 0x22;
const FIXED: u64 = 0x10;

#[test]
fn random_scripts_do_the_same() {
    if !has_oracle() {
        return;
    }
    let seed = std::env::var("HEAPWISE_ORACLE_SEED").ok().and_then(|n| n.parse().ok());
    let first: u64 = seed.unwrap_or(0x5eed);
    let initial = initial(STACK);
    for seed in first..first + 24 {
        let script = ours::with_process(&initial, STACK, ours::NODES, |ours| {
            generate::script(seed, 150, ours)
        });
        if let Some(difference) = check(child(), STACK, &script).expect("the child runs") {
            let text = report(STACK, &script, difference);
            panic!("HEAPWISE_ORACLE_SEED={seed} replays this:\n{text}");
        }
    }
}

#[test]
fn the_oracle_sees_a_wrong_model() {
    if !has_oracle() {
        return;
    }
    // A script that each side is given differently must differ.
    let honest =
        steps(&[mmap(AREA, 4, RW, PRIVATE | FIXED), Op::Write(AREA, 1), Op::Munmap(AREA, PAGE)]);
    let run = host::run(child(), STACK, &honest).unwrap();
    for (nth, other) in [
        (0, mmap(AREA, 5, RW, PRIVATE | FIXED)),
        (0, mmap(AREA, 4, 7, PRIVATE | FIXED)),
        (1, Op::Read(AREA)),
        (1, Op::Write(AREA + 16 * PAGE, 1)),
        (2, Op::Munmap(AREA + PAGE, PAGE)),
        (2, Op::Munmap(AREA + 1, PAGE)),
    ] {
        let mut other_steps = honest.clone();
        other_steps[nth].op = other;
        let differs = ours::with_process(&run.initial, STACK, ours::NODES, |ours| {
            let mut comparison = heapwise_oracle::compare::Comparison::new(&run);
            let answers: Vec<_> = other_steps.iter().map(|step| ours.step(step)).collect();
            run.answers
                .iter()
                .zip(&answers)
                .any(|(host, ours)| comparison.difference(host, ours).is_some())
        });
        assert!(differs, "{other:?} went unnoticed");
    }
}

#[test]
fn fork_copies_on_write() {
    if !has_oracle() {
        return;
    }
    let mut script = steps(&[
        mmap(AREA, 8, RW, PRIVATE | FIXED),
        mmap(AREA + 16 * PAGE, 8, RW, 0x31),
        mmap(AREA + 32 * PAGE, 4, RW, PRIVATE | FIXED),
        Op::Madvise(AREA + 32 * PAGE, 2 * PAGE, 10),
        Op::Madvise(AREA + 34 * PAGE, 2 * PAGE, 18),
        Op::Write(AREA, 1),
        Op::Write(AREA + PAGE, 2),
        Op::Read(AREA + 2 * PAGE),
        Op::Write(AREA + 16 * PAGE, 3),
        Op::Write(AREA + 34 * PAGE, 4),
        Op::Fork,
    ]);
    let both = [
        Op::Look,
        Op::Read(AREA),
        Op::Write(AREA, 5),
        Op::Read(AREA),
        Op::Read(AREA + 2 * PAGE),
        Op::Write(AREA + 2 * PAGE, 6),
        Op::Read(AREA + 16 * PAGE),
        Op::Write(AREA + 17 * PAGE, 7),
        Op::Read(AREA + 32 * PAGE),
        Op::Read(AREA + 34 * PAGE),
        Op::Mprotect(AREA + PAGE, PAGE, 1),
        Op::Mprotect(AREA + PAGE, PAGE, 3),
        Op::Munmap(AREA + PAGE, PAGE),
        mmap(AREA + PAGE, 1, RW, PRIVATE | FIXED),
        Op::Madvise(AREA, 2 * PAGE, 8),
        Op::Madvise(AREA, 2 * PAGE, 4),
    ];
    for op in both {
        // Each stores its own.
        let childs = if let Op::Write(at, value) = op { Op::Write(at, value + 100) } else { op };
        script.push(Step { who: 1, ..Step::new(childs) });
        script.push(Step::new(op));
    }
    agree(STACK, &script);
}

#[test]
fn limits_of_address_space_and_data() {
    if !has_oracle() {
        return;
    }
    let brk = ours::with_process(&initial(STACK), STACK, ours::NODES, |ours| ours.start_brk());
    let results = agree(
        STACK,
        &steps(&[
            Op::Limit(1, 8 << 20),
            Op::Brk(brk + 100 * PAGE),
            Op::Brk(brk + (16 << 20)),
            mmap(AREA, 2000, RW, PRIVATE | FIXED),
            mmap(AREA, 2000, 1, PRIVATE | FIXED),
            Op::Mprotect(AREA, 2000 * PAGE, 3),
            Op::Mprotect(AREA, 200 * PAGE, 3),
            Op::Mremap { at: AREA, old: 200 * PAGE, new: 2000 * PAGE, flags: 1, to: 0 },
            Op::Limit(1, UNLIMITED),
            Op::Limit(0, 16 << 20),
            mmap(0, 3000, 0, PRIVATE),
            mmap(0, 100, 0, PRIVATE),
            // Replacing counts only what comes on top, but an end is cut all the same.
            mmap(AREA + PAGE, 3000, 0, PRIVATE | FIXED),
            mmap(AREA + PAGE, 20, 0, PRIVATE | FIXED),
            Op::Brk(brk + (32 << 20)),
            Op::Mremap { at: AREA, old: PAGE, new: 3000 * PAGE, flags: 1, to: 0 },
            Op::Mremap { at: AREA, old: PAGE, new: PAGE, flags: 5, to: 0 },
            Op::Limit(0, UNLIMITED),
            mmap(0, 1 << 23, RW, PRIVATE),
            // A promise too much: private, what was there stays; shared, it is gone.
            mmap(AREA, 1 << 34, RW, PRIVATE | FIXED),
            mmap(AREA, 1 << 34, 0, 0x31),
        ]),
    );
    let enomem = -12;
    assert_eq!(results[3], enomem);
    assert_eq!(results[5], enomem);
    assert_eq!(results[10], enomem);
    assert_eq!(results[12], enomem);
}

#[test]
fn the_stack_grows_as_far_as_it_may() {
    if !has_oracle() {
        return;
    }
    for stack in [1 << 20, STACK, 64 << 20] {
        let top = 0x7fff_ffff_f000;
        let results = agree(
            stack,
            &steps(&[
                Op::Write(top - 40 * PAGE, 1),
                Op::Read(top - 60 * PAGE),
                Op::Write(top - stack, 1),
                Op::Write(top - stack - PAGE, 1),
                mmap(0, 1, RW, PRIVATE),
                // One that grows by its own, and the guard below it.
                mmap(AREA + 600 * PAGE, 1, RW, PRIVATE | FIXED | 0x100),
                Op::Write(AREA + 590 * PAGE, 1),
                mmap(AREA + 300 * PAGE, 1, RW, PRIVATE | FIXED),
                Op::Write(AREA + 557 * PAGE, 1),
                Op::Write(AREA + 556 * PAGE, 1),
                Op::Mprotect(AREA + 300 * PAGE, PAGE, 0),
                Op::Write(AREA + 400 * PAGE, 1),
                Op::Limit(2, 128 * PAGE),
                Op::Write(AREA + 399 * PAGE, 1),
                mmap(AREA + 350 * PAGE, 40, RW, PRIVATE),
                mmap(AREA + 100 * PAGE, 40, RW, PRIVATE),
            ]),
        );
        assert_eq!(results[2], 0);
        assert_eq!(results[3], signal_result(11, 1));
    }
}

#[test]
fn a_moved_range_takes_all_its_mappings_along() {
    if !has_oracle() {
        return;
    }
    let to = AREA + 1024 * PAGE;
    let move_all =
        |pages: u64| Op::Mremap { at: AREA, old: pages * PAGE, new: pages * PAGE, flags: 3, to };
    let results = agree(
        STACK,
        &steps(&[
            mmap(AREA, 4, RW, PRIVATE | FIXED),
            mmap(AREA + 6 * PAGE, 4, 1, PRIVATE | FIXED),
            mmap(AREA + 12 * PAGE, 4, RW, 0x31),
            Op::Write(AREA, 7),
            Op::Write(AREA + 13 * PAGE, 8),
            move_all(14),
            Op::Read(to),
            Op::Read(to + 13 * PAGE),
            Op::Mremap { at: to, old: 4 * PAGE, new: 4 * PAGE, flags: 5, to: 0 },
            Op::Write(to, 9),
            move_all(14),
        ]),
    );
    assert_eq!(results[5..8], [to as i64, 7, 8]);
    assert_eq!(results[10], -14);
}

#[test]
fn the_number_of_mappings_is_limited() {
    if !has_oracle() {
        return;
    }
    let most = u64::from(ours::host_policy().max_map_count);
    if most > 66_000 {
        println!("left out: vm.max_map_count is {most}");
        return;
    }
    // Every second page another mapping: up to a few below the limit, unseen.
    let mut script = steps(&[mmap(AREA, 4 * most, 1, PRIVATE | FIXED)]);
    let first = initial(STACK).look.maps.lines().count() as u64 - 1;
    let pairs = (most - first - 1) / 2;
    let split = |nth: u64| Op::Mprotect(AREA + (2 * nth + 1) * PAGE, PAGE, 0);
    script.extend((0..pairs - 2).map(|nth| Step { blind: true, ..Step::new(split(nth)) }));
    let last = AREA + 2 * (pairs + 20) * PAGE;
    let close: Vec<_> = (pairs - 2..pairs + 3).map(split).collect();
    for op in close {
        script.push(Step { blind: true, ..Step::new(op) });
    }
    for op in [
        Op::Munmap(last, PAGE),
        mmap(0, 1, 1, PRIVATE),
        mmap(0, 1, 3, PRIVATE),
        mmap(0, 1, 5, PRIVATE),
        mmap(0, 1, 7, PRIVATE),
        Op::Mremap { at: last, old: PAGE, new: 2 * PAGE, flags: 1, to: 0 },
        Op::Mremap { at: last, old: PAGE, new: PAGE, flags: 3, to: AREA - 64 * PAGE },
        Op::Madvise(last, PAGE, 1),
        // A whole one, and the end of one, can always go.
        Op::Munmap(AREA + PAGE, PAGE),
        Op::Munmap(AREA + 4 * most * PAGE - PAGE, PAGE),
        Op::Munmap(last, PAGE),
    ] {
        script.push(Step { blind: true, ..Step::new(op) });
    }
    script.push(Step::new(Op::Look));
    let results = agree(STACK, &script);
    assert!(results.contains(&-12), "the limit was not met");
}

#[test]
fn the_break_beside_other_mappings() {
    if !has_oracle() {
        return;
    }
    let brk = ours::with_process(&initial(STACK), STACK, ours::NODES, |ours| ours.start_brk());
    let at = |page: u64| brk + page * PAGE;
    let results = agree(
        STACK,
        &steps(&[
            mmap(at(10), 1, RW, PRIVATE | FIXED),
            Op::Brk(at(9)),
            Op::Brk(at(10)),
            Op::Brk(at(9) - 100),
            Op::Munmap(at(10), PAGE),
            // One that grows down keeps its guard.
            mmap(at(300), 1, RW, PRIVATE | FIXED | 0x100),
            Op::Brk(at(43)),
            Op::Brk(at(44)),
            // Down over a foreign mapping, and through a hole.
            mmap(at(20), 4, 1, 0x31),
            Op::Brk(at(22)),
            Op::Brk(at(43)),
            Op::Munmap(at(30), 13 * PAGE),
            Op::Brk(at(32)),
            Op::Brk(at(29)),
            Op::Mprotect(at(3), PAGE, 1),
            Op::Brk(at(2) + 1),
            Op::Brk(0),
            Op::Brk(at(0)),
        ]),
    );
    assert_eq!(results[1..3], [at(9) as i64, at(9) as i64]);
    assert_eq!(results[6..8], [at(43) as i64, at(43) as i64]);
    assert_eq!(results[12], at(43) as i64);
}

#[test]
fn neighbours_merge_by_families_of_copies() {
    if !has_oracle() {
        return;
    }
    let page = |nth: u64| AREA + nth * PAGE;
    let move_to = |from: u64, pages: u64, to: u64| Op::Mremap {
        at: page(from),
        old: pages * PAGE,
        new: pages * PAGE,
        flags: 3,
        to: page(to),
    };
    agree(
        STACK,
        &steps(&[
            // Two families, then what lies between: it joins one of them.
            mmap(page(0), 2, RW, PRIVATE | FIXED),
            mmap(page(4), 2, RW, PRIVATE | FIXED),
            Op::Write(page(0), 1),
            Op::Write(page(4), 1),
            mmap(page(2), 2, RW, PRIVATE | FIXED),
            // One family on both sides of a piece that goes and comes back.
            mmap(page(20), 6, RW, PRIVATE | FIXED),
            Op::Write(page(20), 1),
            Op::Munmap(page(22), 2 * PAGE),
            mmap(page(22), 2, RW, PRIVATE | FIXED),
            // A family from a neighbour with other rights: equal rights merge later.
            mmap(page(40), 3, RW, PRIVATE | FIXED),
            Op::Mprotect(page(41), PAGE, 1),
            Op::Write(page(40), 1),
            Op::Write(page(42), 1),
            Op::Mprotect(page(41), PAGE, 3),
            // Untouched memory is as if mapped where it moves to; touched is not.
            mmap(page(60), 2, RW, PRIVATE | FIXED),
            mmap(page(80), 2, RW, PRIVATE | FIXED),
            move_to(80, 2, 62),
            mmap(page(80), 2, RW, PRIVATE | FIXED),
            Op::Write(page(80), 1),
            move_to(80, 2, 64),
            move_to(64, 2, 80),
            mmap(page(78), 2, RW, PRIVATE | FIXED),
            Op::Munmap(page(0), 100 * PAGE),
            // Between two families, the one above is joined.
            mmap(page(0), 6, RW, PRIVATE | FIXED),
            Op::Mprotect(page(0), 2 * PAGE, 7),
            Op::Mprotect(page(4), 2 * PAGE, 7),
            Op::Write(page(0), 1),
            Op::Write(page(4), 1),
            Op::Write(page(2), 1),
            Op::Mprotect(page(2), 2 * PAGE, 7),
        ]),
    );
}

#[test]
fn a_childs_families_are_its_own() {
    if !has_oracle() {
        return;
    }
    let child = |op| Step { who: 1, ..Step::new(op) };
    let mut script = steps(&[
        Op::Memfd(0, 9),
        map_file(AREA, 30, RW, 0x12, 4),
        Op::Mprotect(AREA + 27 * PAGE, 2 * PAGE, 0),
        // Behind the file's end: a family all the same.
        Op::Write(AREA + 26 * PAGE, 1),
        mmap(AREA + 64 * PAGE, 4, RW, PRIVATE | FIXED),
        Op::Write(AREA + 64 * PAGE, 1),
        Op::Fork,
    ]);
    script.extend([
        child(Op::Mprotect(AREA + 27 * PAGE, PAGE, 5)),
        child(Op::Mprotect(AREA + 25 * PAGE, 2 * PAGE, 5)),
        child(mmap(AREA + 68 * PAGE, 4, RW, PRIVATE | FIXED)),
        Step::new(mmap(AREA + 68 * PAGE, 4, RW, PRIVATE | FIXED)),
        child(Op::Mprotect(AREA + 66 * PAGE, PAGE, 1)),
        child(Op::Mprotect(AREA + 66 * PAGE, PAGE, 3)),
    ]);
    let results = agree(STACK, &script);
    assert_eq!(results[3], signal_result(7, 2));
}

#[test]
fn smaps_line_by_line() {
    if !has_oracle() {
        return;
    }
    let mut script = steps(&[
        Op::Memfd(0, 20),
        mmap(AREA, 8, RW, PRIVATE | FIXED),
        mmap(AREA + 8 * PAGE, 2, 1, PRIVATE | FIXED | 0x4000),
        map_file(AREA + 16 * PAGE, 20, RW, 0x11, 0),
        map_file(AREA + 40 * PAGE, 20, RW, 0x12, 0),
        mmap(AREA + 64 * PAGE, 2, 7, PRIVATE | FIXED | 0x100),
        Op::Write(AREA, 1),
        Op::Write(AREA + PAGE, 1),
        Op::Read(AREA + 2 * PAGE),
        Op::Read(AREA + 8 * PAGE),
        Op::Write(AREA + 16 * PAGE, 1),
        Op::Write(AREA + 18 * PAGE, 1),
        Op::Read(AREA + 40 * PAGE),
        Op::Write(AREA + 41 * PAGE, 1),
        Op::Madvise(AREA + PAGE, PAGE, 8),
        Op::Madvise(AREA + 4 * PAGE, PAGE, 1),
        Op::Madvise(AREA + 5 * PAGE, PAGE, 2),
        Op::Madvise(AREA + 6 * PAGE, PAGE, 10),
        Op::Madvise(AREA + 7 * PAGE, PAGE, 16),
        Op::Madvise(AREA + 20 * PAGE, PAGE, 16),
        Op::Madvise(AREA + 3 * PAGE, PAGE, 18),
        Op::Smaps,
        Op::Fork,
        Op::Smaps,
    ]);
    for op in [Op::Smaps, Op::Write(AREA, 2), Op::Read(AREA + 16 * PAGE), Op::Smaps] {
        script.push(Step { who: 1, ..Step::new(op) });
    }
    script.push(Step::new(Op::Smaps));
    // The child ends with its last step; it is to be there until now.
    script.push(Step { who: 1, ..Step::new(Op::Read(AREA)) });
    agree(STACK, &script);
}

#[test]
fn large_mappings_are_placed_alike() {
    if !has_oracle() {
        return;
    }
    let huge = 512;
    let file = |pages: u64, page: u64, flags: u64| map_file(0, pages, RW, flags, page);
    agree(
        STACK,
        &steps(&[
            Op::Memfd(0, 4 * huge),
            mmap(0, 3, RW, PRIVATE),
            mmap(0, huge, RW, PRIVATE),
            mmap(0, 2 * huge, RW, PRIVATE),
            mmap(0, 2 * huge + 1, RW, PRIVATE),
            mmap(0, huge, RW, 0x21),
            mmap(0, huge + 7, RW, 0x21),
            mmap(0, huge - 1, RW, 0x21),
            mmap(0, 3 * huge, RW, 0x21),
            file(huge, 0, 1),
            file(huge + 3, 0, 2),
            file(2 * huge, 5, 1),
            file(3 * huge, 5, 2),
            file(huge + 1, huge - 1, 1),
            // Moving asks for a place as mapping does.
            mmap(AREA, 4, RW, PRIVATE | FIXED),
            mmap(AREA + 4 * PAGE, 4, 0, PRIVATE | FIXED),
            Op::Mremap { at: AREA, old: 4 * PAGE, new: huge * PAGE, flags: 1, to: 0 },
            mmap(AREA, 4, RW, 0x31),
            Op::Mremap { at: AREA, old: 4 * PAGE, new: huge * PAGE, flags: 1, to: 0 },
            // In the first 2 GiB, and where no gap is wide enough from the top.
            mmap(0, 3, RW, PRIVATE | 0x40),
            mmap(0, huge, RW, PRIVATE | 0x40),
            mmap(0, (0x7000_0000_0000 - 0x10_0000_0000) / PAGE, 0, PRIVATE | 0x4000),
            mmap(0, (0x6000_0000_0000_u64) / PAGE, 0, PRIVATE | 0x4000),
        ]),
    );
}

#[test]
fn what_dontunmap_leaves_is_as_new() {
    if !has_oracle() {
        return;
    }
    let page = |nth: u64| AREA + nth * PAGE;
    let leave = |from: u64, pages: u64, to: u64| Op::Mremap {
        at: page(from),
        old: pages * PAGE,
        new: pages * PAGE,
        flags: 7,
        to: page(to),
    };
    agree(
        STACK,
        &steps(&[
            mmap(page(0), 4, RW, PRIVATE | FIXED),
            Op::Write(page(1), 5),
            leave(0, 4, 40),
            Op::Read(page(1)),
            Op::Read(page(41)),
            // It has no family any more: it merges with whatever has one.
            mmap(page(6), 2, RW, PRIVATE | FIXED),
            Op::Write(page(6), 1),
            mmap(page(4), 2, RW, PRIVATE | FIXED),
            // A part keeps the family of the whole.
            mmap(page(60), 4, RW, PRIVATE | FIXED),
            Op::Write(page(60), 5),
            leave(60, 2, 80),
            mmap(page(56), 2, RW, PRIVATE | FIXED),
            Op::Write(page(56), 1),
            mmap(page(58), 2, RW, PRIVATE | FIXED),
        ]),
    );
}
