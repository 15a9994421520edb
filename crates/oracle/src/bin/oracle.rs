//! The long run: random scripts on the host and on the model until time is up.
//!
//! ```text
//!   cargo run --release -p heapwise-oracle -- --seconds 600 --seed 1 --steps 300
//! ```
//! The first difference ends it: the seed, the shortest script found, both sides.

use heapwise_oracle::host::{self, Initial};
use heapwise_oracle::op::Step;
use heapwise_oracle::{compare, generate, ours, shrink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: oracle [--seconds N] [--seed N] [--steps N] [--stack BYTES] [--once]";

struct Options {
    seconds: u64,
    seed: u64,
    steps: usize,
    stack: u64,
    once: bool,
}

fn options() -> Option<Options> {
    let mut options = Options { seconds: 60, seed: 1, steps: 300, stack: 8 << 20, once: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        if flag == "--once" {
            options.once = true;
            continue;
        }
        let value = arguments.next()?.parse::<u64>().ok()?;
        match flag.as_str() {
            "--seconds" => options.seconds = value,
            "--seed" => options.seed = value,
            "--steps" => options.steps = value as usize,
            "--stack" => options.stack = value,
            _ => return None,
        }
    }
    Some(options)
}

fn child() -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.set_file_name("oracle-child");
    path
}

/// The script of a seed, and whether it differs.
fn one(
    child: &Path,
    options: &Options,
    initial: &Initial,
    seed: u64,
) -> std::io::Result<Option<(Vec<Step>, compare::Difference)>> {
    let script = ours::with_process(initial, options.stack, ours::NODES, |ours| {
        generate::script(seed, options.steps, ours)
    });
    let found = compare::check(child, options.stack, &script)?;
    Ok(found.map(|difference| shrink::shrink(child, options.stack, &script, difference)))
}

fn run(options: &Options) -> std::io::Result<bool> {
    let child = child();
    let initial = host::run(&child, options.stack, &[])?.initial;
    let (start, mut last) = (Instant::now(), Instant::now());
    let mut seed = options.seed;
    while start.elapsed() < Duration::from_secs(options.seconds) {
        if let Some((steps, difference)) = one(&child, options, &initial, seed)? {
            println!("seed {seed} differs; the shortest script found:");
            for step in &steps {
                println!("  {} {:x?}", step.who, step.op);
            }
            println!("{}", difference.text);
            println!(
                "replay: oracle --once --seed {seed} --steps {} --stack {}",
                options.steps, options.stack
            );
            return Ok(false);
        }
        seed += 1;
        if options.once {
            break;
        }
        if last.elapsed() > Duration::from_secs(60) {
            last = Instant::now();
            eprintln!("seed {seed}: no difference so far");
        }
    }
    let scripts = seed - options.seed;
    println!(
        "{scripts} scripts, {} calls in {:.1} s: no difference",
        scripts * options.steps as u64,
        start.elapsed().as_secs_f64()
    );
    Ok(true)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(why) = host::unsuitable() {
        eprintln!("{why}");
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!(
                "the child cannot be run (build it with `cargo build -p heapwise-oracle`): {error}"
            );
            ExitCode::from(2)
        }
    }
}
