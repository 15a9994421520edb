//! Our own heap, looked at from outside, against what the program itself counted.

mod common;

use common::{Target, library};
use heapwise_inspect::control;
use heapwise_inspect::heap::Kind;
use heapwise_inspect::heap::summary::{Claim, What};
use heapwise_inspect::{Allocator, Depth, Options, ROWS, Row, Survey, survey};
use heapwise_layout::control::Command;
use heapwise_layout::settings::Setting;
use heapwise_layout::state::Parts;

const SHAPES: [&str; 10] = [
    "holes", "parts", "pinned", "gaps", "lists", "live", "mapped", "foreign", "blocked", "threads",
];

/// Without purging, so that what is freed stays and a trim has something to return.
fn start(shape: &str) -> Option<Target> {
    let library = library()?.to_str().expect("a plain path");
    Target::start(
        shape,
        &[("LD_PRELOAD", library), ("HEAPWISE_PURGE", "0"), ("HEAPWISE_PURGE_HELPER", "0")],
    )
}

fn look(target: &Target) -> Survey {
    let options = Options { paint: true, bins: true, ..Options::default() };
    survey(target.pid(), options).expect("our own child may be looked at")
}

fn nominal(seen: &Survey, kinds: &[Kind]) -> (usize, usize) {
    let counts = seen.heaps.arenas.iter().flat_map(|a| kinds.iter().map(|&kind| a.count(kind)));
    counts.fold((0, 0), |sum, count| (sum.0 + count.chunks, sum.1 + count.bytes))
}

#[test]
fn the_rows_sum_to_the_kernels_rss_and_the_walk_is_whole() {
    for shape in SHAPES {
        let Some(target) = start(shape) else { return };
        let seen = look(&target);
        assert!(matches!(seen.allocator, Allocator::Heapwise), "{shape}: {:?}", seen.allocator);
        assert_eq!(seen.depth, Depth::Whole, "{shape}");
        let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
        assert_eq!(sum, seen.rss, "{shape}");
        assert_eq!(Some(seen.rss), seen.figures.rss_rollup, "{shape}");
        assert_eq!(look(&target).rss, seen.rss, "{shape}: the look changed the target");
        assert_eq!(seen.account.tally[Row::Unattributed], 0, "{shape}");
        assert_eq!(seen.flaws(), 0, "{shape}");
    }
}

#[test]
fn where_a_large_heap_counts_what_it_merges_is_the_allocators_own() {
    let Some(target) = start("parts") else { return };
    let seen = look(&target);
    let is_parts =
        |claim: &&Claim| claim.what == What::Tables && claim.span.bytes() == size_of::<Parts>();
    let parts: Vec<&Claim> = seen.heaps.claims.iter().filter(is_parts).collect();
    assert_eq!(parts.len(), 1);
    assert!(parts[0].tally[Row::AllocatorMetadata] > 0);
}

#[test]
fn the_account_is_what_the_program_counted() {
    for shape in SHAPES {
        let Some(target) = start(shape) else { return };
        let seen = look(&target);
        let (live, live_bytes) = nominal(&seen, &[Kind::Live]);
        let mapped = seen.heaps.mapped;
        let extra = (live + mapped.chunks).checked_sub(target.truth("live"));
        assert!(
            extra.is_some_and(|extra| extra <= 16),
            "{shape}: {live} of {}",
            target.truth("live")
        );
        let user = live_bytes - 8 * live + mapped.bytes - 16 * mapped.chunks;
        let more = user.checked_sub(target.truth("live_bytes"));
        assert!(more.is_some_and(|more| more <= 320 << 10), "{shape}: {more:?}");
        assert_eq!(mapped.chunks, target.truth("hblks"), "{shape}");
        assert_eq!(mapped.bytes, target.truth("hblkhd"), "{shape}");
        assert_eq!(seen.account.tally[Row::LiveUser], live_bytes - 8 * live, "{shape}");
    }
}

#[test]
fn the_bins_hold_what_the_walk_found_free() {
    for shape in SHAPES {
        let Some(target) = start(shape) else { return };
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
        let Some(mut target) = start(shape) else { return };
        let before = look(&target);
        target.tell("trim");
        let after = look(&target);
        let predicted = before.trim_gain();
        let measured = before.rss.saturating_sub(after.rss);
        println!("{shape}: predicted {predicted}, measured {measured}");
        let slack = predicted / 100 + 8 * 4096;
        assert!(predicted.abs_diff(measured) <= slack, "{shape}: {predicted} against {measured}");
        assert!(after.trim_gain() <= slack, "{shape}: {} left", after.trim_gain());
    }
}

/// As `heapwise trim --apply` does it: the program sleeps, and its helper may not stay.
#[test]
fn a_trim_asked_for_from_outside_returns_what_was_predicted() {
    for shape in SHAPES {
        let Some(target) = start(shape) else { return };
        let before = look(&target);
        let root = before.root.as_ref().expect("our heap");
        let patience = std::time::Duration::from_secs(30);
        let reply = control::request(target.pid(), root, Command::Trim, 0, patience, false)
            .unwrap_or_else(|refusal| panic!("{shape}: {refusal}"));
        assert_eq!(reply.left, 0, "{shape}");
        let after = look(&target);
        let predicted = before.trim_gain();
        let measured = before.rss.saturating_sub(after.rss);
        println!("{shape}: predicted {predicted}, measured {measured}");
        // The helper's own stack has become resident meanwhile.
        let slack = predicted / 100 + 12 * 4096;
        assert!(predicted.abs_diff(measured) <= slack, "{shape}: {predicted} against {measured}");
        assert!(after.trim_gain() <= slack, "{shape}: {} left", after.trim_gain());
    }
}

#[test]
fn the_settings_are_told() {
    let Some(target) = start("mapped") else { return };
    let root = look(&target).root.expect("our heap");
    assert_eq!(root.settings.get(Setting::Purge), Some(0));
    assert_eq!(root.settings.get(Setting::PurgeHelper), Some(0));
    assert!(root.settings.get(Setting::MmapThreshold).is_some_and(|bytes| bytes >= 128 << 10));
    assert!(root.tokens.is_some_and(|tokens| tokens.unsigned_abs() <= 1 << 30));
    assert_eq!(root.helper_tid, 0);
}

#[test]
fn looking_twice_gives_the_same_figures() {
    for shape in SHAPES {
        let Some(target) = start(shape) else { return };
        let (first, second) = (look(&target), look(&target));
        assert_eq!(first.account.tally, second.account.tally, "{shape}");
        assert_eq!(first.trim_gain(), second.trim_gain(), "{shape}");
    }
}

#[test]
fn arenas_know_their_threads() {
    let Some(target) = start("threads") else { return };
    let seen = look(&target);
    let mut threads: Vec<u32> = seen.heaps.arenas.iter().flat_map(|a| a.threads.clone()).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 5, "{threads:?}");
    // One more may be there: our own helper, which allocates nothing.
    let all: Vec<u32> = seen.threads.all.iter().map(|thread| thread.tid).collect();
    assert!(threads.iter().all(|tid| all.contains(tid)), "{threads:?} {all:?}");
}
