//! glibc's heap, looked at from outside, against what the program itself counted.

mod common;

use std::fs;

use common::Target;
use heapwise_inspect::heap::Kind;
use heapwise_inspect::{Allocator, Depth, Options, ROWS, Row, Survey, survey};

const SHAPES: [&str; 9] =
    ["holes", "pinned", "gaps", "lists", "live", "mapped", "foreign", "blocked", "threads"];

fn look(target: &Target) -> Survey {
    let options = Options { paint: true, bins: true, ..Options::default() };
    survey(target.pid(), options).expect("our own child may be looked at")
}

fn kernel_rss(pid: u32) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

fn nominal(seen: &Survey, kinds: &[Kind]) -> (usize, usize) {
    let counts = seen.heaps.arenas.iter().flat_map(|a| kinds.iter().map(|&kind| a.count(kind)));
    counts.fold((0, 0), |sum, count| (sum.0 + count.chunks, sum.1 + count.bytes))
}

#[test]
fn the_rows_sum_to_the_kernels_rss_and_the_walk_is_whole() {
    for shape in SHAPES {
        let Some(target) = Target::start(shape, &[]) else { return };
        let before = kernel_rss(target.pid());
        let seen = look(&target);
        assert!(matches!(seen.allocator, Allocator::Glibc(_)), "{shape}: {:?}", seen.allocator);
        assert_eq!(seen.depth, Depth::Whole, "{shape}");
        let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
        assert_eq!(sum, seen.rss, "{shape}");
        // The program waits, so before, at and after the look are one moment.
        assert_eq!(seen.rss, before, "{shape}");
        assert_eq!(seen.figures.rss_rollup, Some(before), "{shape}");
        assert_eq!(kernel_rss(target.pid()), before, "{shape}: the look changed the target");
        assert_eq!(seen.account.tally[Row::Unattributed], 0, "{shape}");
        assert_eq!(seen.flaws(), 0, "{shape}");
    }
}

#[test]
fn the_account_is_what_the_program_counted() {
    for shape in SHAPES {
        let Some(target) = Target::start(shape, &[]) else { return };
        let seen = look(&target);
        let (live, live_bytes) = nominal(&seen, &[Kind::Live]);
        let mapped = seen.heaps.mapped;
        // libc itself holds a few chunks: thread descriptors' tables.
        let extra = (live + mapped.chunks).checked_sub(target.truth("live"));
        assert!(
            extra.is_some_and(|extra| extra <= 16),
            "{shape}: {live} of {}",
            target.truth("live")
        );
        let user = live_bytes - 8 * live + mapped.bytes - 16 * mapped.chunks;
        let more = user.checked_sub(target.truth("live_bytes"));
        // Aligned mapped chunks cost a little that the program does not see.
        assert!(
            more.is_some_and(|more| more <= (64 << 10) | (4 * (64 << 10))),
            "{shape}: {more:?}"
        );
        assert_eq!(mapped.chunks, target.truth("hblks"), "{shape}");
        assert_eq!(mapped.bytes, target.truth("hblkhd"), "{shape}");
        // To the byte what mallinfo2 says is free: bins, fastbins, tops.
        let (_, free) = nominal(&seen, &[Kind::Free, Kind::Fast, Kind::Top]);
        assert_eq!(free, target.truth("fordblks"), "{shape}");
        let (_, fast) = nominal(&seen, &[Kind::Fast]);
        assert_eq!(fast, target.truth("fsmblks"), "{shape}");
        // All live memory was written to, so it is resident.
        let resident = seen.account.tally[Row::LiveUser];
        assert_eq!(resident, live_bytes - 8 * live, "{shape}");
    }
}

#[test]
fn the_bins_hold_what_the_walk_found_free() {
    for shape in SHAPES {
        let Some(target) = Target::start(shape, &[]) else { return };
        for arena in look(&target).heaps.arenas {
            let bins = arena.bins.iter();
            let (chunks, bytes) =
                bins.fold((0, 0), |sum, bin| (sum.0 + bin.held.chunks, sum.1 + bin.held.bytes));
            let free = arena.count(Kind::Free);
            assert_eq!((chunks, bytes), (free.chunks, free.bytes), "{shape}");
        }
    }
}

#[test]
fn a_trim_returns_what_was_predicted() {
    for shape in SHAPES {
        let Some(mut target) = Target::start(shape, &[]) else { return };
        let before = look(&target);
        target.tell("trim");
        let after = look(&target);
        let predicted = before.trim_gain();
        let measured = before.rss.saturating_sub(after.rss);
        println!("{shape}: predicted {predicted}, measured {measured}");
        // A page or two is the trim's own: code that it runs for the first time.
        let slack = predicted / 100 + 8 * 4096;
        assert!(predicted.abs_diff(measured) <= slack, "{shape}: {predicted} against {measured}");
        assert!(after.trim_gain() <= slack, "{shape}: {} left", after.trim_gain());
    }
}

#[test]
fn looking_twice_gives_the_same_figures() {
    for shape in SHAPES {
        let Some(target) = Target::start(shape, &[]) else { return };
        let (first, second) = (look(&target), look(&target));
        assert_eq!(first.account.tally, second.account.tally, "{shape}");
        assert_eq!(first.trim_gain(), second.trim_gain(), "{shape}");
        assert_eq!(first.rss, second.rss, "{shape}");
    }
}

#[test]
fn without_symbols_the_same_is_found() {
    use heapwise_inspect::glibc::{locate, survey::breaks, symbols::Symbols};
    use heapwise_inspect::process::{maps, memory::Memory, pages::Pages};
    let Some(target) = Target::start("holes", &[]) else { return };
    let Allocator::Glibc(glibc) = look(&target).allocator else { panic!("glibc") };
    let maps = maps::of(target.pid()).unwrap();
    let pages = Pages::of(target.pid(), &maps, 4096).unwrap();
    let memory = Memory::open(target.pid(), &pages).unwrap();
    let data = maps::data_of(&maps, |mapping| mapping.file_name().starts_with("libc"));
    let breaks = breaks(&maps);
    let search =
        locate::Search { data: &data, base: 0, symbols: Symbols::default(), breaks: &breaks };
    let found = locate::find(&memory, &glibc.table, &search).unwrap();
    let known = glibc.found.unwrap();
    assert_eq!((found.main_arena, found.mp), (known.main_arena, known.mp));
    assert!(!found.by_symbols);
}

#[test]
fn threads_have_their_arenas_caches_and_stacks() {
    let Some(target) = Target::start("threads", &[]) else { return };
    let seen = look(&target);
    assert_eq!(seen.threads.all.len(), 5);
    assert!(seen.threads.all.iter().all(|thread| thread.stack.is_some()), "{:?}", seen.threads);
    assert_eq!(seen.threads.kept_stacks.len(), 1, "{:?}", seen.threads);
    let of_arenas: usize = seen.heaps.arenas.iter().map(|arena| arena.threads.len()).sum();
    assert_eq!(of_arenas, 5);
    assert!(seen.heaps.caches.len() >= 4);
    assert!(seen.account.tally[Row::ThreadCaches] > 0);
}

#[test]
fn a_process_that_is_not_there_is_an_error() {
    let error = survey(u32::MAX, Options::default()).unwrap_err();
    assert!(matches!(error, heapwise_inspect::Error::NoSuchProcess(_)), "{error}");
}
