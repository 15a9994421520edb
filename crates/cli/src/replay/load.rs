//! From a file to a script, with a progress bar and one clear sentence where that fails.

use std::path::Path;

use clap::Args;
use heapwise_replay::Script;
use heapwise_replay::compile::{self, Options, compile};
use heapwise_trace::Trace;

use crate::failure::{Failure, USAGE};
use crate::progress::Progress;

/// Which part of the trace.
#[derive(Clone, Debug, Args)]
pub struct Part {
    /// The process, if the trace has several; else that with the most allocations
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Only the first N events of it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    first: Option<u64>,
}

/// Opens a trace; what is wrong with it is said, and it is used as far as it goes.
pub fn trace(file: &Path) -> Result<Trace, Failure> {
    Trace::open(file).map_err(|error| unreadable(file, &error))
}

/// `FILE is not a Heapwise trace`, exit code 2.
pub fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(USAGE, format!("{} {error}", file.display()))
}

/// The script of the chosen process.
pub fn script(file: &Path, part: &Part) -> Result<Script, Failure> {
    let trace = trace(file)?;
    let progress = Progress::new("reading the trace", 2 * trace.records());
    let options = Options { pid: part.pid, first: part.first };
    let (script, damage) =
        compile(&trace, options, |read| progress.set(read)).map_err(|error| {
            progress.clear();
            match &error {
                compile::Error::Trace(error) => unreadable(file, error),
                error => unreadable(file, error),
            }
        })?;
    progress.clear();
    match damage {
        Some(error) if error.is_cut() => {
            crate::complain(&format!("{} {error}; what is there is used", file.display()));
        }
        Some(error) => return Err(unreadable(file, &error)),
        None => {}
    }
    if script.original.lost > 0 {
        crate::complain(&format!(
            "{} lost {} records: the replay lacks them too",
            file.display(),
            script.original.lost
        ));
    }
    Ok(script)
}
