//! `heapwise explain`: why is the RSS of this process what it is?

pub mod advice;
pub mod holders;
pub mod json;
pub mod text;
pub mod words;

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use heapwise_inspect::verdict::{self, Verdict};
use heapwise_inspect::{Depth, Options};

use crate::condition::Condition;
use crate::diff::{self, Pair};
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

    /// Look twice, so long apart (10s, 500ms, 2m), and say what grows
    #[arg(long = "for", value_name = "TIME", conflicts_with = "command")]
    pause: Option<Pause>,

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

/// A time to wait.
#[derive(Debug, Clone, Copy)]
struct Pause(Duration);

impl FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const DAY: f64 = 86400.0;
        const UNITS: [(&str, f64); 5] =
            [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
        let parsed = UNITS.into_iter().find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            Some(number * seconds)
        });
        parsed
            .filter(|seconds| (0.0..=DAY).contains(seconds))
            .map(|seconds| Self(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| format!("{text:?} is no time like 10s, 500ms or 2m, of a day at most"))
    }
}

/// What is told beside the account.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The chunks that hold up memory.
    pub holders: bool,
    /// What those begin with.
    pub bytes: bool,
    /// Live chunks by size class.
    pub classes: bool,
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
  heapwise explain ./core.4711
          A process that has ended
  heapwise explain --for 30s 4711
          Two looks: does what the program holds grow?
  heapwise explain --fail-if 'reclaimable>20%' -- ./job
          A program as a whole, for CI

The rows sum to the RSS to the byte. The process is neither stopped nor changed: its page state is
read first, then memory of present pages only. For --fail-if: reclaimable (what malloc_trim would
return), rss, or the name of a row as --json gives it; a share of the RSS or a size (64M).

Exit code:
  0  explained
  1  --fail-if holds
  2  wrong usage, several processes have that name, or a file that is neither a core nor a snapshot,
     or a damaged or newer one
  3  no such process
  4  not permitted; says which right is missing, and gives the account of the mappings
  5  not an allocator that is read here; names it, and gives the account of the mappings. Also a JVM,
     and Go with C: the account says how much their heaps have, and looks into malloc's
  6  a heap could not be walked to its end";

/// Looks, prints, and judges.
pub fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let options = Options { first_bytes: args.bytes, ..Options::default() };
    if let Some(pause) = &args.pause {
        return exit::code(explain_growth(&args, options, pause)?);
    }
    exit::code(args.target.each(options, |look| explain(look, &args))?)
}

fn explain(look: &Look, args: &ExplainArgs) -> anyhow::Result<u8> {
    let verdict = verdict::judge(&look.seen);
    let code = exit::of_survey(&look.seen);
    print(look, &verdict, None, args)?;
    Ok(judged(look, code, args))
}

fn judged(look: &Look, code: u8, args: &ExplainArgs) -> u8 {
    match args.fail_if {
        Some(condition)
            if condition.needs_heap()
                && matches!(look.seen.depth, Depth::Mappings | Depth::Counters) =>
        {
            code
        }
        Some(condition) if condition.holds(&look.seen) => exit::CONDITION_HOLDS,
        _ => code,
    }
}

/// The account of the second look, and what has changed since the first.
fn explain_growth(args: &ExplainArgs, options: Options, pause: &Pause) -> anyhow::Result<u8> {
    let (before, look) = args.target.twice(options, pause.0)?;
    let verdict = verdict::judge_after(&before, &look.seen);
    let code = exit::of_survey(&look.seen);
    let pair = Pair::new(&before, &look.seen, &look.typed);
    print(&look, &verdict, Some(&pair), args)?;
    Ok(judged(&look, code, args))
}

fn print(
    look: &Look,
    verdict: &Verdict,
    growth: Option<&Pair<'_>>,
    args: &ExplainArgs,
) -> anyhow::Result<()> {
    let shown = Shown { holders: args.top_holder, bytes: args.bytes, classes: args.classes };
    let mut out = anstream::stdout();
    if args.json {
        let mut object = json::object(look, verdict, shown);
        if let Some(pair) = growth {
            object["growth"] = diff::json::object(pair);
        }
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        text::write(look, verdict, shown, &mut out)?;
        if let Some(pair) = growth {
            writeln!(out)?;
            diff::text::write_growth(pair, &mut out)?;
        }
    }
    out.flush()?;
    Ok(())
}
