//! `heapwise journey`: one request through every layer, on the simulated kernel.
//!
//! ```text
//!   arguments or a script ─► heapwise_sim::journey ─► text │ json │ html with a stepper
//! ```

mod html;
mod json;
mod text;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use heapwise_sim::journey::{Act, HELP as STATEMENTS, Journey, JourneyError, parse, travel};

use crate::failure::{Failure, USAGE};

/// Help behind the options.
pub fn help() -> String {
    format!(
        "\
Examples:
  heapwise journey malloc 1000
          From the call to the break, the VMA, the first touch, the frame, and back
  heapwise journey malloc 1000 --touch --then free
          And what free does with it
  heapwise journey malloc --size 256K --touch --html journey.html
          A page to step through, with the state before and after each step
  heapwise journey --script steps.txt --json

Our allocator runs on a simulated kernel in this process: its loads and stores take real page faults,
which that kernel serves. One seed, one journey: the same addresses and frames each time.

A script has a statement a line (# begins a comment):
{STATEMENTS}

Exit code: 0, or 2 for what makes no sense."
    )
}

/// A call.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Call {
    Malloc,
    Calloc,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Then {
    Free,
}

/// Follow one request from malloc to the physical page and back, on a simulated kernel
#[derive(Debug, Args)]
pub struct JourneyArgs {
    /// The call
    #[arg(value_enum, required_unless_present = "script", conflicts_with = "script")]
    call: Option<Call>,

    /// How many bytes (64K, 1M are understood)
    #[arg(value_name = "SIZE", conflicts_with = "script")]
    bytes: Option<String>,

    /// The same
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["bytes", "script"])]
    size: Option<String>,

    /// Write to every page of the block afterwards
    #[arg(long, conflicts_with = "script")]
    touch: bool,

    /// And then
    #[arg(long, value_enum, conflicts_with = "script")]
    then: Option<Then>,

    /// The statements of this file
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Decides the machine's secrets and so the tags
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print one JSON document (schema heapwise.journey/1)
    #[arg(long, conflicts_with = "html")]
    json: bool,

    /// Write a page to step through
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Travels and tells.
pub fn run(args: JourneyArgs) -> anyhow::Result<ExitCode> {
    let text = statements(&args)?;
    let acts: Vec<Act> = parse(&text).map_err(|error| {
        let place = args.script.as_ref().map_or_else(String::new, |p| format!("{}: ", p.display()));
        let told = if args.script.is_some() { error.to_string() } else { error.why };
        Failure::new(USAGE, format!("{place}{told}"))
    })?;
    if acts.is_empty() {
        return Err(Failure::new(USAGE, "the script has no statement".to_owned()).into());
    }
    let journey: Journey = travel(&acts, args.seed).map_err(|error| {
        let code = if matches!(error, JourneyError::Boot(_)) { 1 } else { USAGE };
        Failure::new(code, error.to_string())
    })?;
    if let Some(path) = &args.html {
        let page = html::page(&text, &journey);
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &json::document(&text, &journey))?;
        writeln!(out)?;
    } else {
        text::print(&mut out, &journey)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments as a script.
fn statements(args: &JourneyArgs) -> anyhow::Result<String> {
    if let Some(path) = &args.script {
        let text = fs::read_to_string(path);
        return Ok(text.map_err(|error| {
            Failure::new(USAGE, format!("cannot read {}: {error}", path.display()))
        })?);
    }
    let size = args.bytes.as_ref().or(args.size.as_ref());
    let size = size.ok_or_else(|| {
        Failure::new(USAGE, "how many bytes? heapwise journey malloc 1000".to_owned())
    })?;
    let call = match args.call {
        Some(Call::Calloc) => "calloc",
        _ => "malloc",
    };
    let mut text = format!("p = {call} {size}\n");
    if args.touch {
        text.push_str("touch p\n");
    }
    if args.then == Some(Then::Free) {
        text.push_str("free p\n");
    }
    Ok(text)
}
