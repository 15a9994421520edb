//! `heapwise diff`: what has changed between two looks, and what grows.

pub mod json;
pub mod text;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use heapwise_inspect::diff::{Diff, are_read};
use heapwise_inspect::{Options, Survey};

use crate::condition::Condition;
use crate::exit;
use crate::target::Target;

/// Compare two looks: what grew by row, arena, size class and site
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A snapshot, or a process
    #[arg(value_name = "BEFORE")]
    before: OsString,

    /// A snapshot, or a process
    #[arg(value_name = "AFTER")]
    after: OsString,

    /// Print one JSON object (heapwise.diff/1)
    #[arg(long)]
    json: bool,

    /// Exit with code 1 if a figure has grown so much, like 'live_user>10M' or 'rss>5%'
    #[arg(long, value_name = "CONDITION")]
    fail_if: Option<Condition>,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise snapshot redis-server -o before.hws
          Now …
  heapwise diff before.hws redis-server
          … and what has grown since
  heapwise diff --fail-if 'live_user>1M' monday.hws tuesday.hws
          For scripts

Both sides are TARGETs as for heapwise explain. The rows' changes sum to the change of the RSS. Live
chunks are compared by their sizes, resident or not. For --fail-if: growth of reclaimable, rss, or a
row; a share is one of the first look's RSS.

Exit code: as for heapwise explain; where both sides have one, that of the second.";

/// The two sides, and how a user types them.
pub struct Pair<'a> {
    /// The first look.
    pub before: &'a Survey,
    /// The second.
    pub after: &'a Survey,
    /// What has changed.
    pub diff: Diff,
    /// What to look at again.
    pub typed: &'a str,
}

impl<'a> Pair<'a> {
    /// Compares.
    pub fn new(before: &'a Survey, after: &'a Survey, typed: &'a str) -> Self {
        Self { before, after, diff: Diff::of(before, after), typed }
    }

    /// Whether both heaps were read.
    pub fn has_heaps(&self) -> bool {
        are_read(self.before, self.after)
    }
}

/// Looks twice and compares.
pub fn run(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let (first, second) = (Target::of(&args.before)?, Target::of(&args.after)?);
    let before = first.look(Options::default())?;
    let first_code = exit::of_survey(&before);
    let after = second.look(Options::default())?;
    let second_code = exit::of_survey(&after);
    let typed = crate::target::quoted(&args.after);
    let pair = Pair::new(&before, &after, &typed);
    let mut out = anstream::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::object(&pair))?)?;
    } else {
        text::write(&pair, &mut out)?;
    }
    out.flush()?;
    let code = if second_code == 0 { first_code } else { second_code };
    exit::code(match args.fail_if {
        Some(condition) if condition.needs_heap() && !pair.has_heaps() => code,
        Some(condition) if condition.holds_for_growth(&pair.diff) => exit::CONDITION_HOLDS,
        _ => code,
    })
}
