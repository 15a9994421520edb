//! The fast paths, in instructions: `malloc` and `free` of a cached small
//! chunk, `free` of another thread's, `posix_memalign` and `malloc_usable_size`, counted by callgrind from the exported
//! symbol, `ret` included, the PLT excluded. A test that fails when they grow.

use heapwise_tests::allocator::Allocator;
use heapwise_tests::compile::compile;
use heapwise_tests::library;
use heapwise_tests::program::find_or_skip;
use heapwise_tests::run::{on, run};
use heapwise_tests::workspace::{self, Scratch};
use std::fs;
use std::time::Duration;

const MALLOC_AT_MOST: f64 = 18.0;
const FREE_AT_MOST: f64 = 20.0;
/// With its share of the parcel's way home, which is larger for large blocks.
const FOREIGN_FREE_AT_MOST: f64 = 95.0;
/// Of a small or medium class alike.
const MEMALIGN_AT_MOST: f64 = 76.0;
/// A server may ask at each malloc and each free.
const USABLE_AT_MOST: f64 = 17.0;
const USABLE_OF_MEDIUM_AT_MOST: f64 = 42.0;
/// Few enough calls that the whole file takes seconds, many enough that one
/// stray slow path would show.
const COUNTS: [u64; 2] = [1_000, 21_000];

/// Instructions inside `function`, those it calls included, in a run of a program with `count`.
fn inside(program: &str, function: &str, size: usize, count: u64) -> u64 {
    let file = workspace::tests().join("instructions").join(program);
    let program = compile(&file, &["-pthread".into()]);
    let valgrind = find_or_skip("valgrind").expect("the caller has looked");
    let scratch = Scratch::new("callgrind");
    let profile = scratch.path().join("profile");
    // Collection is on only between a call of the function and its return.
    // callgrind, unlike memcheck, leaves malloc to the program.
    let mut command = on(Allocator::Heapwise, valgrind);
    command
        .args(["-q", "--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--toggle-collect={function}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([size.to_string(), count.to_string()]);
    let outcome = run(command, None, Duration::from_secs(120));
    assert!(outcome.success(), "valgrind: {}", outcome.describe());
    let profile = fs::read_to_string(profile).expect("callgrind leaves a profile");
    profile
        .lines()
        .find_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")))
        .and_then(|total| total.trim().parse().ok())
        .unwrap_or_else(|| panic!("no total in the profile of `{function}`"))
}

fn instructions(program: &str, function: &str, size: usize) -> f64 {
    let [few, many] = COUNTS.map(|count| inside(program, function, size, count));
    (many - few) as f64 / (COUNTS[1] - COUNTS[0]) as f64
}

fn check(program: &str, function: &str, at_most: f64, sizes: &[usize]) {
    if find_or_skip("valgrind").is_none() {
        return;
    }
    for &size in sizes {
        let count = instructions(program, function, size);
        eprintln!("{function} in {program} of {size} bytes: {count:.2} instructions");
        // The C library's own is only measured.
        if library::shared().is_some() {
            assert!(
                count <= at_most,
                "{function} of {size} bytes: {count:.2} instructions, {at_most} allowed"
            );
        }
    }
}

#[test]
fn malloc_of_a_cached_small_chunk() {
    check("pairs.c", "malloc", MALLOC_AT_MOST, &[1, 32, 100, 500, 1000]);
}

#[test]
fn free_of_a_cached_small_chunk() {
    check("pairs.c", "free", FREE_AT_MOST, &[1, 32, 100, 500, 1000]);
}

#[test]
fn free_of_another_threads_small_chunk() {
    check("foreign.c", "free", FOREIGN_FREE_AT_MOST, &[32, 500]);
}

#[test]
fn posix_memalign_of_a_cached_chunk() {
    check("aligned.c", "posix_memalign", MEMALIGN_AT_MOST, &[64, 192, 1024, 4096]);
}

#[test]
fn malloc_usable_size_of_an_own_block() {
    check("usable.c", "malloc_usable_size", USABLE_AT_MOST, &[1, 32, 500, 1000]);
    check("usable.c", "malloc_usable_size", USABLE_OF_MEDIUM_AT_MOST, &[2000, 40_000]);
}
