//! `heapwise replay`: a recorded trace again, on any malloc and on the simulated kernel.

pub mod load;
pub mod render;
pub mod session;
pub mod subject;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use heapwise_replay::streams::{Playing, Touch};

use self::session::{Plan, Session};
use self::subject::Subject;

/// The hidden word by which this program starts itself as the player.
pub const PLAYER: &str = "play-steps";

/// Repeat a recorded trace on our allocator, any other malloc, or the simulated kernel
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A trace that `heapwise record` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Play on our allocator (the default if nothing else is named)
    #[arg(long)]
    heapwise: bool,

    /// Play on the C library's malloc
    #[arg(long)]
    glibc: bool,

    /// Play on the malloc of this library, as libjemalloc.so.2 (repeatable)
    #[arg(long, value_name = "LIBRARY")]
    preload: Vec<PathBuf>,

    /// Play our allocator on the simulated kernel: the same figures every time
    #[arg(long)]
    sim: bool,

    /// Give all of them this environment variable, as MALLOC_ARENA_MAX=1 (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = subject::parse_setting)]
    env: Vec<(String, String)>,

    /// Runs of each, interleaved
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// What to write into blocks
    #[arg(long, value_enum, default_value = "all")]
    touch: TouchArg,

    /// Keep the original's pauses, so that what idle time does is seen; takes as long as it did
    #[arg(long)]
    pace: bool,

    /// Do not count kernel calls, which takes a run more of each, under a tracer
    #[arg(long)]
    no_calls: bool,

    #[command(flatten)]
    part: load::Part,

    /// Print one JSON object (heapwise.replay/1)
    #[arg(long)]
    json: bool,

    /// Run this once too, without a recording, to see how near the replay comes to it
    #[arg(last = true, value_name = "COMMAND")]
    original: Vec<OsString>,
}

/// [`Touch`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TouchArg {
    /// Every byte, as most programs do
    All,
    /// Every byte, but nothing into what calloc gave
    NotCalloc,
    /// A byte a page: memory as with `all`, in less time
    Pages,
    /// Nothing: only the allocator's own stores
    None,
}

impl From<TouchArg> for Touch {
    fn from(touch: TouchArg) -> Self {
        match touch {
            TouchArg::All => Self::All,
            TouchArg::NotCalloc => Self::NotCalloc,
            TouchArg::Pages => Self::Pages,
            TouchArg::None => Self::Nothing,
        }
    }
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise replay server.trace --heapwise --glibc --preload libjemalloc.so.2
          Three mallocs under the same load, side by side
  heapwise replay server.trace --glibc --env MALLOC_ARENA_MAX=1
          What would that setting do?
  heapwise replay server.trace --sim
          On the simulated kernel: exact and repeatable
  heapwise replay job.trace --glibc -- ./job input
          How near does the replay come to the program itself?

Each thread does what it did, in its order; what one thread does to another's block waits until
that block is there; and no thread runs far ahead. The player's own tables are shared memory and
read through small buffers: the figures are those of the heap alone.

A trace does not say what the program wrote into its blocks. By default all of each is written,
right after it was allocated; the RSS of a program that asks for more than it uses is lower.

Mean RSS is the mean over the time of the trace, from samples. Every figure is the median of the
runs, with the largest distance from it (±). Of a COMMAND, which is run once with its output
dropped, times are the whole program's, and memory and calls those from its heap's first growth on,
files and stacks left out. Overhead is mean RSS beyond what the program held.

Exit code: 0 played; 1 a run failed; 2 wrong usage, no trace, a damaged one.";

/// Plays and prints.
pub fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let script = load::script(&args.file, &args.part)?;
    let mut subjects =
        Subject::choose(args.heapwise, args.glibc, &args.preload, args.sim, &args.env)?;
    if !args.original.is_empty() {
        subjects.insert(0, Subject::original(&args.original));
    }
    let playing = Playing { touch: args.touch.into(), paced: args.pace };
    let session = Session::new(&script, playing)?;
    let plan = Plan { runs: args.runs, count_calls: !args.no_calls };
    let results = session.play(&subjects, plan)?;
    let mut out = anstream::stdout();
    if args.json {
        let object = render::object(&args.file, &script, &results);
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        render::write(&args.file, &script, &results, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
