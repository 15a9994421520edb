//! The `heapwise` command: one subcommand a module, this file only dispatches.

mod bins;
mod cli;
mod condition;
mod diff;
mod doctor;
mod exit;
mod explain;
mod export;
mod exporter;
mod failure;
mod html;
mod interrupt;
mod journey;
mod lab;
mod library;
mod maps;
mod pages;
mod profile;
mod progress;
mod query;
mod record;
mod replay;
mod report;
mod run;
mod sim;
mod snapshot;
mod table;
mod target;
mod timeline;
mod trim;
mod tunables;
mod tune;
mod units;
mod view;
mod watch;

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    if let Some(code) = play_steps() {
        return code;
    }
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Record(args) => record::run(args),
        Command::Timeline(args) => timeline::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Lab(args) => lab::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Maps(args) => maps::run(args),
        Command::Bins(args) => bins::run(args),
        Command::Export(args) => export::run(args),
        Command::Query(args) => query::run(args),
        Command::Exporter(args) => exporter::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Report(args) => html::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Trim(args) => trim::run(args),
        Command::Journey(args) => journey::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Lib(args) => print_library(args.json),
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
    };
    outcome.unwrap_or_else(|error| {
        if broken_pipe(&error) {
            // The reader has had enough (`heapwise man | head`).
            return ExitCode::SUCCESS;
        }
        complain(&format!("{error:#}"));
        ExitCode::from(error.downcast_ref::<Failure>().map_or(1, |failure| failure.code))
    })
}

/// `heapwise replay` starts itself in this role: before anything else, since what we
/// allocate would be in its figures.
fn play_steps() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let steps = arguments.next().filter(|first| first == replay::PLAYER).and(arguments.next())?;
    Some(match heapwise_replay::player::play(&steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    })
}

/// One line on standard error, as all our messages are.
pub fn complain(message: &str) {
    const NAME: Style = AnsiColor::Red.on_default().bold();
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{NAME}heapwise:{NAME:#} {message}");
}

/// One line on standard error that is no complaint.
pub fn remark(message: &str) {
    let _ = writeln!(anstream::stderr(), "heapwise: {message}");
}

/// `heapwise lib`, for `LD_PRELOAD=$(heapwise lib) PROGRAM`.
fn print_library(as_json: bool) -> anyhow::Result<ExitCode> {
    let path = library::locate()?;
    let mut line = path.as_os_str().as_bytes().to_vec();
    if as_json {
        let object = serde_json::json!({
            "schema": "heapwise.lib/1",
            "path": path.to_string_lossy(),
            "file_bytes": std::fs::metadata(&path)?.len(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        line = object.to_string().into_bytes();
    }
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    Ok(ExitCode::SUCCESS)
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
