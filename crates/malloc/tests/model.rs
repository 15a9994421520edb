//! A simulated program against a model of what it holds: long runs by seed,
//! short ones that shrink.
//!
//! ```text
//! HEAPWISE_SEEDS=500 cargo test -p heapwise-malloc --test model         more seeds
//! HEAPWISE_SEED=17   cargo test -p heapwise-malloc --test model long    one, again
//! HEAPWISE_OPS=1000                                                     operations a seed
//! ```

use heapwise_seed::Rng;
use heapwise_testkit::replay::Replay;
use heapwise_testkit::script::run;
use heapwise_testkit::setup::Setup;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Seeds of a run that is not told otherwise: less than a minute on two cores.
const SEEDS: u64 = 48;
/// Operations a seed.
const OPERATIONS: u64 = 100_000;
/// Seeds at once.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

fn run_seed(seed: u64, operations: u64) -> u64 {
    let _replay = Replay::with(format!(
        "HEAPWISE_SEED={seed} HEAPWISE_OPS={operations} cargo test -p heapwise-malloc --test model long"
    ));
    let mut rng = Rng::new(seed);
    run(Setup::of_seed(seed), (0..operations).map(|_| rng.word()))
}

#[test]
fn long_runs_by_seed() {
    let operations = number("HEAPWISE_OPS").unwrap_or(OPERATIONS);
    if let Some(seed) = number("HEAPWISE_SEED") {
        run_seed(seed, operations);
        return;
    }
    let start = Instant::now();
    let seeds = number("HEAPWISE_SEEDS").unwrap_or(SEEDS);
    let (next, total) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Relaxed)
                    && seed < seeds
                {
                    total.fetch_add(run_seed(seed, operations), Relaxed);
                }
            });
        }
    });
    let total = total.into_inner();
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("{seeds} seeds, {total} operations, {rate:.0} a second");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    /// Whole heap checked after every operation; a failure shrinks to a few words.
    #[test]
    fn short_scripts(seed in 0u64..1 << 20, words in prop::collection::vec(any::<u64>(), 1..120)) {
        let _replay = Replay::with(format!("run(Setup {{ check_every: 1, ..Setup::of_seed({seed}) }}, {words:x?})"));
        run(Setup { check_every: 1, ..Setup::of_seed(seed) }, words);
    }
}

/// The helper forbidden, and a chunk that one arena's trim sends to another: found by the above.
#[test]
fn the_end_with_the_helper_forbidden() {
    let words = [
        27_846_566_765_263_216,
        5_746_578_282_155_674_848,
        385_081_469_798_768,
        3_451_179_154_550_210,
        519_016_426_007_540_080,
        21_161_897_328,
        7_074_223_241_001_957_826,
        596_666_150_205_934_012,
        1_682_655_023_574_045_136,
    ];
    run(Setup { check_every: 1, ..Setup::of_seed(934_031) }, words.to_vec());
}
