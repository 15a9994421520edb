//! Fuzzes the trace reader: files damaged in every way, most of them with checksums made right.
//!
//! ```text
//! cargo run --profile fuzz -p heapwise-fuzz -- --trace --seconds 20
//! cargo run --profile fuzz -p heapwise-fuzz -- --trace-replay FILE
//! ```
//! What must hold: no panic, an end, at most one error and that last, and never
//! time that runs backwards in a thread. A file that ends in a new way, or
//! shows new kinds of events, is kept and damaged further.

use heapwise_seed::Rng;
use heapwise_trace::{Error, Trace, What, reseal, sample};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// No event takes less than two bytes of a block, and LZ4 packs at most 255 to one.
const MAX_EVENTS_PER_BYTE: usize = 255;
/// Inputs stay below this.
const MAX_BYTES: usize = 64 << 10;

/// How a file was read: what the search calls new.
#[derive(PartialEq, Eq, Hash)]
struct Outcome {
    error: String,
    events_log2: u32,
    kinds: u32,
    processes: usize,
}

/// Searches for `time`; a failure panics with the file's name.
pub fn search(time: Duration, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut corpus: Vec<Vec<u8>> = (0..4)
        .map(|n| sample::trace(seed + n, 1 + n as u32, 60).expect("memory takes it"))
        .collect();
    let mut seen = HashSet::new();
    let start = Instant::now();
    let mut runs = 0u64;
    while start.elapsed() < time {
        let file = mutated(&corpus, &mut rng);
        let outcome = match std::panic::catch_unwind(|| outcome(&file)) {
            Ok(outcome) => outcome,
            Err(_) => fail(&file),
        };
        runs += 1;
        if seen.insert(outcome) {
            corpus.push(file);
        }
    }
    println!(
        "{runs} traces in {:.1} s; {} kept; no failure",
        start.elapsed().as_secs_f64(),
        corpus.len()
    );
}

/// Reads one file again.
pub fn replay(file: &Path) -> std::io::Result<()> {
    let outcome = outcome(&std::fs::read(file)?);
    println!("{}: 2^{} events, {}", file.display(), outcome.events_log2, outcome.error);
    Ok(())
}

fn fail(file: &[u8]) -> ! {
    let name = format!(
        "fuzz-failures/trace-{:08x}",
        file.iter().fold(7u32, |hash, &byte| { hash.wrapping_mul(31).wrapping_add(byte.into()) })
    );
    let saved = std::fs::create_dir_all("fuzz-failures").and_then(|()| std::fs::write(&name, file));
    match saved {
        Ok(()) => {
            eprintln!("replay: cargo run --profile fuzz -p heapwise-fuzz -- --trace-replay {name}")
        }
        Err(error) => eprintln!("{name} cannot be written: {error}"),
    }
    std::process::exit(1)
}

/// Reads a file to its end and checks what must hold for any.
fn outcome(file: &[u8]) -> Outcome {
    let mut outcome = Outcome { error: String::new(), events_log2: 0, kinds: 0, processes: 0 };
    let trace = match Trace::from_bytes(file.to_vec()) {
        Ok(trace) => trace,
        Err(error) => {
            outcome.error = kind_of(&error);
            return outcome;
        }
    };
    outcome.processes = trace.processes().len();
    let (mut count, mut times) = (0usize, HashMap::new());
    for event in trace.events() {
        assert!(outcome.error.is_empty(), "an item behind the error");
        match event {
            Ok(event) => {
                count += 1;
                outcome.kinds |= 1 << kind(&event.what);
                let last = times.entry((event.process, event.thread)).or_insert(0);
                assert!(*last <= event.time_ns, "time runs backwards");
                *last = event.time_ns;
                let _ = trace.stack(event.process, event.what.stack().unwrap_or(0));
                assert!(count <= file.len() * MAX_EVENTS_PER_BYTE, "events without end");
            }
            Err(error) => outcome.error = kind_of(&error),
        }
    }
    outcome.events_log2 = count.max(1).ilog2();
    outcome
}

/// The error without its place.
fn kind_of(error: &Error) -> String {
    match error {
        Error::Bent { what, .. } => (*what).to_owned(),
        Error::Cut { .. } => "cut".to_owned(),
        Error::Version(_) => "version".to_owned(),
        other => other.to_string(),
    }
}

fn kind(what: &What) -> u32 {
    match what {
        What::Malloc { .. } => 0,
        What::Calloc { .. } => 1,
        What::Aligned { .. } => 2,
        What::Realloc { .. } => 3,
        What::Free { .. } => 4,
        What::Kernel(call) => 5 + call.op as u32,
        What::Sample { .. } => 14,
        What::ThreadStart => 15,
        What::ThreadEnd => 16,
        What::ProcessStart => 17,
        What::Fork { .. } => 18,
        What::ProcessEnd => 19,
        What::Lost { .. } => 20,
        What::ProcessGone => 21,
        What::Touched { .. } => 22,
    }
}

fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut file = corpus[rng.index(corpus.len())].clone();
    for _ in 0..1 + rng.index(5) {
        let at = rng.index(file.len().max(1));
        let end = (at + 1 + rng.index(100)).min(file.len());
        match rng.index(9) {
            0 => file.truncate(at),
            1 if at < end => drop(file.drain(at..end)),
            2 if at < end => {
                let again = file[at..end].to_vec();
                file.splice(at..at, again);
            }
            3 => {
                let other = &corpus[rng.index(corpus.len())];
                let from = rng.index(other.len().max(1));
                let to = (from + rng.index(2000)).min(other.len());
                file.splice(at..at, other[from.min(to)..to].iter().copied());
            }
            4 if at + 8 <= file.len() => {
                // A length, a time, an address at its border.
                let values = [0, 1, u64::MAX, 1 << 20, (1 << 20) + 1, 1 << 63, u64::from(u32::MAX)];
                file[at..at + 8].copy_from_slice(&rng.pick(&values).to_le_bytes());
            }
            5 if at < file.len() => file[at] ^= 1 << rng.index(8),
            _ if at < file.len() => file[at] = rng.word() as u8,
            _ => {}
        }
    }
    file.truncate(MAX_BYTES);
    if !rng.one_in(4) {
        reseal(&mut file);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_damage() {
        search(Duration::from_secs(1), 1);
    }
}
