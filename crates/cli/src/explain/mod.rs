//! `heapwise explain`: why is the RSS of this process what it is?

mod condition;
pub mod exit;
mod holders;
mod json;
pub mod target;
mod text;
mod watched;
pub mod words;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use heapwise_inspect::{Options, Survey, survey, verdict};

use self::condition::Condition;
use self::watched::Moment;

/// Say why the memory of a process is what it is, without restarting or stopping it
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Number or name of a process
    #[arg(
        value_name = "PID|NAME",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    target: Option<String>,

    /// Run a program, and explain when it ends and on Ctrl-C
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,

    /// Print one JSON object (heapwise.explain/1)
    #[arg(long)]
    json: bool,

    /// Name the chunks that hold up the break or free pages
    #[arg(long)]
    top_holder: bool,

    /// With --top-holder, show what those chunks begin with
    #[arg(long, requires = "top_holder")]
    bytes: bool,

    /// Exit with code 1 if this holds, like 'reclaimable>20%' or 'live_user>1.5G'
    #[arg(long, value_name = "CONDITION")]
    fail_if: Option<Condition>,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise explain 4711
          A process, ours or an unmodified glibc program
  heapwise explain --top-holder --bytes redis-server
          By name, with the chunks that pin memory
  heapwise explain --fail-if 'reclaimable>20%' -- ./job
          A program as a whole, for CI

The rows sum to the RSS to the byte. The process is neither stopped nor changed: its page state is
read first, then memory of present pages only. For --fail-if: reclaimable (what malloc_trim would
return), rss, or the name of a row as --json gives it; a share of the RSS or a size (64M).

Exit code:
  0  explained
  1  --fail-if holds
  2  wrong usage, or several processes have that name
  3  no such process
  4  not permitted; says which right is missing, and gives the account of the mappings
  5  not an allocator that is read here; names it, and gives the account of the mappings
  6  a heap could not be walked to its end";

/// Looks, prints, and judges.
pub fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    if let Some(target) = &args.target {
        let pid = target::resolve(target)?;
        return exit::code(explain(pid, &args)?);
    }
    let last = watched::run(&args.command, |pid, moment| {
        if moment == Moment::Interrupt {
            crate::complain("interrupted; this is how it stands");
        }
        explain(pid, &args)
    })?;
    exit::code(last)
}

fn explain(pid: u32, args: &ExplainArgs) -> anyhow::Result<u8> {
    let seen = survey(pid, Options::default()).map_err(|error| exit::failure(&error))?;
    let code = exit::of_survey(&seen);
    print(&seen, args)?;
    Ok(match args.fail_if {
        Some(condition)
            if condition.needs_heap()
                && matches!(code, exit::NOT_PERMITTED | exit::NOT_RECOGNISED) =>
        {
            code
        }
        Some(condition) if condition.holds(&seen) => exit::CONDITION_HOLDS,
        _ => code,
    })
}

fn print(seen: &Survey, args: &ExplainArgs) -> anyhow::Result<()> {
    let verdict = verdict::judge(seen);
    let holders = args.top_holder.then(|| holders::find(seen, args.bytes));
    let mut out = anstream::stdout();
    if args.json {
        let object = json::object(seen, &verdict, holders.as_deref());
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        text::write(seen, &verdict, holders.as_deref(), &mut out)?;
    }
    out.flush()?;
    Ok(())
}
