//! Forgeries of random contents: how many escape. The checks at `free` are
//! exact for pointers outside the heaps, and a matter of probability for
//! pointers into the middle of a chunk and for overwritten headers, whose tag
//! of 16 bits is a keyed checksum: the promise is less than 1 in 1000.

use heapwise_tests::allocator::Allocator;
use heapwise_tests::compile::compile;
use heapwise_tests::run::{on, run};
use heapwise_tests::workspace;
use std::time::Duration;

/// Runs `trials` of one kind; fails if one crashes or more than `allowed` escape.
fn check(kind: &str, trials: u64, allowed: u64) {
    let program = compile(&workspace::tests().join("escapes/trials.c"), &[]);
    let mut command = on(Allocator::Heapwise, program);
    command.args([kind, &trials.to_string()]);
    let outcome = run(command, None, Duration::from_secs(120));
    assert!(outcome.success(), "{kind}: {}", outcome.describe());
    let text = outcome.stdout_text();
    let counts = text.lines().last().unwrap_or_default();
    eprintln!("{kind}: {counts} (of {trials}, {allowed} escapes allowed)");
    let [caught, crashed, escaped] = ["caught", "crashed", "escaped"].map(|word| {
        let mut words = counts.split(' ').skip_while(|w| *w != word).skip(1);
        words.next().and_then(|n| n.parse::<u64>().ok()).expect("a count")
    });
    assert_eq!(caught + crashed + escaped, trials);
    assert_eq!(crashed, 0, "{kind}: {text}");
    assert!(escaped <= allowed, "{kind}: {text}");
}

#[test]
fn pointers_into_chunks_of_random_contents() {
    check("middle", 20_000, 19);
}

#[test]
fn pointers_into_chunks_of_plausible_contents() {
    check("plausible", 10_000, 9);
}

#[test]
fn headers_overwritten_by_random_words() {
    check("header", 20_000, 19);
}

/// One value of the lowest byte changes only the flag P, which the neighbour
/// edits and no tag covers: 1 in 255 of the one-byte overruns, which are 1 in 7.
#[test]
fn headers_overwritten_in_part() {
    check("partial", 40_000, 39);
}

#[test]
fn forged_sizes_with_random_tags() {
    check("forged", 10_000, 9);
}

/// By construction, not by chance: none.
#[test]
fn pointers_anywhere() {
    check("pointer", 10_000, 0);
}
