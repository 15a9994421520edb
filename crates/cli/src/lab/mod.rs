//! `heapwise lab`: the articles' experiments, live.

use std::process::ExitCode;

use clap::Args;

/// Arguments of `heapwise lab`.
#[derive(Debug, Args)]
pub struct LabArgs {}

/// Runs the experiments; exit code 1 if one of ours fails.
pub fn run(_args: LabArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the lab is not built yet")
}
