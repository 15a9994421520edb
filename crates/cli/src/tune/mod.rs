//! `heapwise tune`: which settings of malloc would suit this program, found by replaying it.
//!
//! ```text
//! candidates ──► sweep ──► combine ──► confirm ──► judge ──► render
//! one setting    a run     pairs of    the best,    the front,  lines to
//! at a time      of each   what helped several runs  a verdict  paste
//! ```

mod candidates;
mod judge;
mod render;
mod search;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use heapwise_replay::streams::Playing;

use crate::replay::{TouchArg, load, session::Session};

/// Find the malloc settings that suit a recorded program, by replaying it under each
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// A trace that `heapwise record` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Whose settings
    #[arg(long = "for", value_enum, default_value = "glibc")]
    subject: Whose,

    /// What matters
    #[arg(long, value_enum, default_value = "memory")]
    goal: Goal,

    /// How much more of the other it may cost, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0, value_parser = parse_percent)]
    allow: f64,

    /// Runs that confirm each of the best
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,

    /// What to write into blocks
    #[arg(long, value_enum, default_value = "all")]
    touch: TouchArg,

    /// Keep the original's pauses; every run takes as long as the original did
    #[arg(long)]
    pace: bool,

    #[command(flatten)]
    part: load::Part,

    /// Print one JSON object (heapwise.tune/1)
    #[arg(long)]
    json: bool,
}

/// Whose settings are tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// The C library's malloc: every candidate is played for real
    Glibc,
    /// Ours: candidates are played on the simulated kernel, the best for real
    Heapwise,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// Less mean RSS, at no more processor time than --allow
    Memory,
    /// Less processor time, at no more mean RSS than --allow
    Cpu,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise record -o server.trace -- ./server; heapwise tune server.trace
          What should GLIBC_TUNABLES be?
  heapwise tune --goal cpu --allow 10 server.trace
          Faster, if it costs at most 10 % more memory
  heapwise tune --for heapwise server.trace
          Settings of our allocator

First each setting alone is played once, then the best of different settings together, then the best
of all and the defaults several times, interleaved. What is recommended is better than the defaults by
more than both spread, and by 3 % at least; if nothing is, the defaults are best, and it says so.

RSS and processor time are those of the replay: the heap, and the work of malloc, of the kernel
for it, and of writing each block once. What else the program does is not in it: where malloc is a
tenth of a program's time, 20 % of it is 2 % of the program's. Replays do not keep pauses unless
--pace is given, so what idle time gives back does not show.

Ctrl-C ends the search and prints what is known by then.

Exit code: 0 searched, also if the defaults are best; 1 a run failed; 2 wrong usage, no trace, a
damaged one.";

fn parse_percent(text: &str) -> Result<f64, String> {
    let value = text.trim_end_matches('%').parse::<f64>().ok();
    value.filter(|value| (0.0..=1000.0).contains(value)).ok_or("a number from 0 to 1000".into())
}

/// Searches and prints.
pub fn run(args: TuneArgs) -> anyhow::Result<ExitCode> {
    let script = load::script(&args.file, &args.part)?;
    let session = Session::new(&script, Playing { touch: args.touch.into(), paced: args.pace })?;
    let found = search::search(&session, &script, args.subject, args.runs, args.goal, args.allow)?;
    let verdict = judge::judge(&found.confirmed, args.goal, args.allow);
    let shown =
        render::Shown { file: &args.file, script: &script, whose: args.subject, goal: args.goal };
    let mut out = anstream::stdout();
    if args.json {
        let object = render::object(&shown, &found, &verdict);
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        render::write(&shown, &found, &verdict, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
