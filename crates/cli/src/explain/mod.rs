//! `heapwise explain`: why is the RSS of this process what it is?

mod condition;
mod holders;
mod json;
mod text;
pub mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use heapwise_inspect::{Options, verdict};

use self::condition::Condition;
use crate::exit;
use crate::target::{Look, TargetArgs};

/// Say why the memory of a process is what it is, without restarting or stopping it
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON object (heapwise.explain/1)
    #[arg(long)]
    json: bool,

    /// Name the chunks that hold up the break or free pages
    #[arg(long)]
    top_holder: bool,

    /// With --top-holder, show what those chunks begin with
    #[arg(long, requires = "top_holder")]
    bytes: bool,

    /// List live chunks by size class
    #[arg(long)]
    classes: bool,

    /// Exit with code 1 if this holds, like 'reclaimable>20%' or 'live_user>1.5G'
    #[arg(long, value_name = "CONDITION")]
    fail_if: Option<Condition>,
}

/// What is told beside the account.
#[derive(Debug, Clone, Copy)]
struct Shown {
    holders: bool,
    bytes: bool,
    classes: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise explain 4711
          A process, ours or an unmodified glibc program
  heapwise explain --top-holder --bytes redis-server
          By name, with the chunks that pin memory
  heapwise explain before.hws
          A look that heapwise snapshot kept
  heapwise explain --fail-if 'reclaimable>20%' -- ./job
          A program as a whole, for CI

The rows sum to the RSS to the byte. The process is neither stopped nor changed: its page state is
read first, then memory of present pages only. For --fail-if: reclaimable (what malloc_trim would
return), rss, or the name of a row as --json gives it; a share of the RSS or a size (64M).

Exit code:
  0  explained
  1  --fail-if holds
  2  wrong usage, several processes have that name, or a file that is none of ours, damaged or newer
  3  no such process
  4  not permitted; says which right is missing, and gives the account of the mappings
  5  not an allocator that is read here; names it, and gives the account of the mappings
  6  a heap could not be walked to its end";

/// Looks, prints, and judges.
pub fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let options = Options { first_bytes: args.bytes, ..Options::default() };
    exit::code(args.target.each(options, |look| explain(look, &args))?)
}

fn explain(look: &Look, args: &ExplainArgs) -> anyhow::Result<u8> {
    let code = exit::of_survey(&look.seen);
    print(look, args)?;
    Ok(match args.fail_if {
        Some(condition)
            if condition.needs_heap()
                && matches!(code, exit::NOT_PERMITTED | exit::NOT_RECOGNISED) =>
        {
            code
        }
        Some(condition) if condition.holds(&look.seen) => exit::CONDITION_HOLDS,
        _ => code,
    })
}

fn print(look: &Look, args: &ExplainArgs) -> anyhow::Result<()> {
    let verdict = verdict::judge(&look.seen);
    let shown = Shown { holders: args.top_holder, bytes: args.bytes, classes: args.classes };
    let mut out = anstream::stdout();
    if args.json {
        let object = json::object(look, &verdict, shown);
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        text::write(look, &verdict, shown, &mut out)?;
    }
    out.flush()?;
    Ok(())
}
