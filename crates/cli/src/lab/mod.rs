//! `heapwise lab`: the articles' experiments, live.
//!
//! Each experiment runs in a child process, once under glibc and once under
//! Heapwise, and is judged by the same words on both sides.
//!
//! ```text
//! experiments/NAME   what the child does, what the judge expects     (one a file)
//!   ├─ block, process, probe     the child's hands: allocate, act, take notes
//!   └─ calls, maps, experiment   the judge's: system calls, regions, rows
//! hook      the child runs before Rust's runtime has allocated
//! tracer    its system calls, by ptrace
//! harness   one child, start to end
//! outcome   the verdict on one side
//! render, json   how it is shown
//! ```
//! Invariant: what a machine cannot show is skipped and said so, never passed.

mod block;
mod calls;
mod experiment;
mod experiments;
mod harness;
mod hook;
mod json;
mod maps;
mod outcome;
mod probe;
mod process;
mod render;
mod tracer;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use self::experiment::{Experiment, Verdict};
use self::experiments::ALL;
use self::harness::Side;
use self::outcome::Outcome;

const HELP: &str = "\
Examples:
  heapwise lab
          All experiments, a minute at most
  heapwise lab three-sizes hole
          Two of them
  heapwise lab --list
          Their names

Each experiment runs in a child of its own, first under glibc, then with libheapwise.so preloaded.
It shows what the article says, what each side did (addresses, lines of /proc/PID/maps, system calls,
resident memory) and a verdict for each. Rows marked ok or NO count, the others are only shown.
What this machine cannot show is skipped, which is neither a pass nor a failure.

Exit code: 0 if none fails under Heapwise, 1 if one does, 2 for an unknown name. Where glibc does
not do what the article says, that is only reported.";

/// Arguments of `heapwise lab`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct LabArgs {
    /// Experiments to run; all of them if none is named
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(ALL.iter().map(|e| e.name)), hide_possible_values = true)]
    names: Vec<String>,

    /// Print one JSON document (schema heapwise.lab/1) instead of text
    #[arg(long)]
    json: bool,

    /// List the experiments and run none
    #[arg(long, conflicts_with = "json")]
    list: bool,
}

/// One experiment and what came of it on both sides.
struct Report {
    experiment: &'static Experiment,
    glibc: Outcome,
    heapwise: Outcome,
}

/// Runs the experiments; exit code 1 if one of ours fails.
pub fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    let mut out = anstream::stdout().lock();
    if args.list {
        render::list(&mut out, ALL)?;
        return Ok(ExitCode::SUCCESS);
    }
    if cfg!(not(target_env = "gnu")) {
        anyhow::bail!(
            "the lab compares with glibc, and this heapwise is built for another C library"
        );
    }
    let library = crate::library::locate()?;
    let chosen = ALL
        .iter()
        .filter(|e| args.names.is_empty() || args.names.iter().any(|name| name == e.name));
    let mut reports = Vec::new();
    for experiment in chosen {
        let side = |side: Side| -> anyhow::Result<Outcome> {
            Ok(outcome::of(experiment, harness::run(experiment, &side)?))
        };
        let report = Report {
            experiment,
            glibc: side(Side::Glibc)?,
            heapwise: side(Side::Heapwise(library.clone()))?,
        };
        if !args.json {
            render::report(&mut out, &report)?;
            out.flush()?;
        }
        reports.push(report);
    }
    if args.json {
        json::document(&mut out, &library, &reports)?;
    } else {
        render::summary(&mut out, &reports)?;
    }
    let failed = reports.iter().any(|report| report.heapwise.verdict == Verdict::Fails);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
