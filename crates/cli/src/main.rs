//! The `heapwise` command: one subcommand a module, this file only dispatches.

mod failure;
mod lab;
mod library;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run programs on the Heapwise allocator and see where their memory goes.
#[derive(Debug, Parser)]
#[command(name = "heapwise", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the articles' experiments live, under glibc and under Heapwise.
    Lab(lab::LabArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Lab(args) => lab::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("heapwise: {error:#}");
        ExitCode::FAILURE
    })
}
