//! `heapwise timeline`: what a program asked of malloc and malloc of the kernel, joined, over time.

pub mod html;
mod json;
mod model;
pub mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

pub use self::model::{Story, Wanted};
use crate::failure::{Failure, OURS};
use crate::profile::{open, unreadable};
use crate::run::plain;

/// The help behind the options.
pub const HELP: &str = "\
Examples:
  heapwise record -o t.hwt -- python3 job.py
  heapwise timeline t.hwt
  heapwise timeline t.hwt --all --limit 1000
  heapwise timeline t.hwt --html t.html

Shows live bytes and RSS over time, then each call of malloc and its like that reached the kernel, as
ltrace would show it, with the kernel calls that it made, as strace would; calls that the allocator
served alone are counted between them, and shown one by one with --all.

Exit code: 0; 2 wrong usage, or FILE is no trace; 125 a file cannot be read or written.";

/// Show what malloc asked of the kernel, why, and how memory went, from a trace
#[derive(Debug, Args)]
pub struct TimelineArgs {
    /// A trace of `heapwise record`
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// One object, `heapwise.timeline/1`
    #[arg(long, conflicts_with = "html")]
    json: bool,

    /// Write a page with pictures to OUT
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,

    /// Only this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Every call, also those that the allocator served alone
    #[arg(long)]
    all: bool,

    /// Most calls shown
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Shows a timeline.
pub fn run(args: TimelineArgs) -> anyhow::Result<ExitCode> {
    let trace = open(&args.file)?;
    let wanted = Wanted { pid: args.pid, all: args.all, limit: args.limit };
    let story = Story::of(&trace, &wanted).map_err(|error| unreadable(&args.file, &error))?;
    if let Some(damage) = &story.damage {
        crate::complain(&format!("{}: {damage}; this is of what is whole", args.file.display()));
    }
    if let Some(path) = &args.html {
        write_page(path, &story)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = Vec::new();
    if args.json {
        json::write(&story, &mut out)?
    } else {
        text::write(&story, &mut out)?
    }
    anstream::stdout().write_all(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn write_page(path: &Path, story: &Story) -> Result<(), Failure> {
    let written = File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        html::write(story, &mut out)?;
        out.flush()
    });
    written.map_err(|error: io::Error| {
        Failure::new(OURS, format!("{}: {}", path.display(), plain(&error)))
    })
}
