//! Fuzzes the allocator on stable Rust.
//!
//! ```text
//! cargo run --profile fuzz -p heapwise-fuzz -- --seconds 20      mutates for 20 s
//! cargo run --profile fuzz -p heapwise-fuzz -- --replay FILE     one input, again
//! cargo run --profile fuzz -p heapwise-fuzz -- --minimize FILE   the same failure, shorter
//! cargo run --profile fuzz -p heapwise-fuzz -- --trace           the trace reader, see trace.rs
//! cargo run --profile fuzz -p heapwise-fuzz -- --kernel …        any of the first three: pages
//!                                                                and slabs, see kernel.rs
//! cargo run --profile fuzz -p heapwise-fuzz -- --vm              the address spaces, see vm.rs
//! fuzz/guided --seconds 20                                       with compiled-in counters
//! ```
//! An input is a simulated program (see `input.rs`) for the world of
//! `heapwise-testkit`, which checks the heap after every few operations. An
//! input that reaches what none before did stays in the corpus (`reach.rs`).
//! The first failure ends the run: it is written to a file, with the command
//! that replays it. `--seed` decides everything but the time.

mod counters;
mod crash;
mod input;
mod kernel;
mod minimize;
mod reach;
mod search;
mod trace;
mod vm;

use input::Input;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: heapwise-fuzz [--kernel] [--seconds N] [--seed N] [--corpus DIR]
       heapwise-fuzz [--kernel] --replay FILE
       heapwise-fuzz [--kernel] --minimize FILE
       heapwise-fuzz --trace [--seconds N] [--seed N]
       heapwise-fuzz --trace-replay FILE
       heapwise-fuzz --vm [--seconds N] [--seed N]
       heapwise-fuzz --vm-replay FILE";

/// What the command line asks for.
enum Task {
    Search { seconds: u64, seed: u64, corpus: Option<PathBuf> },
    Replay(PathBuf),
    Minimize(PathBuf),
    Trace { seconds: u64, seed: u64 },
    TraceReplay(PathBuf),
    Vm { seconds: u64, seed: u64 },
    VmReplay(PathBuf),
}

fn task() -> Option<Task> {
    let (mut seconds, mut seed, mut corpus, mut trace, mut vm) = (20, 0, None, false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        if flag == "--trace" {
            trace = true;
            continue;
        }
        if flag == reach::KERNEL {
            reach::set_kernel();
            continue;
        }
        if flag == "--vm" {
            vm = true;
            continue;
        }
        let value = arguments.next()?;
        match flag.as_str() {
            "--seconds" => seconds = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            "--corpus" => corpus = Some(value.into()),
            "--replay" => return Some(Task::Replay(value.into())),
            "--trace-replay" => return Some(Task::TraceReplay(value.into())),
            "--vm-replay" => return Some(Task::VmReplay(value.into())),
            "--minimize" => return Some(Task::Minimize(value.into())),
            _ => return None,
        }
    }
    if vm {
        return Some(Task::Vm { seconds, seed });
    }
    if trace {
        return Some(Task::Trace { seconds, seed });
    }
    Some(Task::Search { seconds, seed, corpus })
}

fn main() -> ExitCode {
    let Some(task) = task() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match task {
        Task::Search { seconds, seed, corpus } => {
            crash::save_failures();
            search::search(Duration::from_secs(seconds), seed, corpus.as_deref());
            ExitCode::SUCCESS
        }
        Task::Trace { seconds, seed } => {
            trace::search(Duration::from_secs(seconds), seed);
            ExitCode::SUCCESS
        }
        Task::TraceReplay(file) => match trace::replay(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::from(2)
            }
        },
        Task::Vm { seconds, seed } => {
            vm::search(Duration::from_secs(seconds), seed);
            ExitCode::SUCCESS
        }
        Task::VmReplay(file) => match vm::replay(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::from(2)
            }
        },
        Task::Replay(file) => match Input::read(&file) {
            Ok(input) => {
                reach::run(&input);
                println!("{}: {} operations, no failure", file.display(), input.words.len());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::from(2)
            }
        },
        Task::Minimize(file) => match minimize::minimize(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::FAILURE
            }
        },
    }
}
