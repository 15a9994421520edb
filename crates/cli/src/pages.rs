//! `heapwise completions` and `heapwise man`, generated from the clap definition.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Arguments of `heapwise man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages, made if need be
    dir: Option<PathBuf>,
}

/// Prints the script.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    // Generated in memory: clap_complete panics where a write to a closed pipe fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "heapwise", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes the pages.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let command = Cli::command();
    match &args.dir {
        None => clap_mangen::Man::new(command).render(&mut io::stdout())?,
        Some(directory) => {
            fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command, directory))
                .with_context(|| format!("{}", directory.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
