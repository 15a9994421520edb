//! `heapwise trim`: what would go back to the kernel, and, on our heap, makes it go.

mod render;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use heapwise_inspect::control::{self, Refusal, Reply};
use heapwise_inspect::{Allocator, Error, Options, Survey};
use heapwise_layout::control::Command;

use crate::exit;
use crate::failure::{Failure, USAGE};
use crate::target::Target;

/// Predict what giving free memory back would bring, and do it
#[derive(Debug, Args)]
pub struct TrimArgs {
    /// Number or name of a process; to predict, a snapshot file too
    #[arg(value_name = "TARGET")]
    target: OsString,

    /// Predict, and change nothing (this is the default)
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,

    /// Do it, where the process is on our heap; say how, where it is not
    #[arg(long)]
    apply: bool,

    /// Do it also where the process has seccomp filters of its own: they may end it
    #[arg(long, requires = "apply")]
    force: bool,

    /// Print one JSON object (heapwise.trim/1)
    #[arg(long)]
    json: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise trim 4711
          What would come back, arena by arena
  heapwise trim --apply redis-server
          Make it come back, and compare with the prediction

With --apply the process is asked through a block of its memory that its idle helper looks at; the
helper empties the caches of threads that sleep, merges, and gives every whole free page back. Where
no helper runs, one thread is stopped by ptrace for less than a millisecond to start it (a call
like epoll_wait may then return EINTR, as under a debugger). What the threads of running arenas hold
in their caches stays.

Exit code:
  0  predicted, or done
  2  wrong usage, or several processes have that name
  3  no such process
  4  not permitted; says which right is missing
  5  not an allocator that is read here
  6  a heap could not be walked to its end: the prediction is too low
  7  --apply was not carried out: a process on glibc's heap (says how to do it there), stopped, traced,
     under a seccomp filter, or without an answer within 30 seconds";

/// `--apply` was not carried out.
const NOT_APPLIED: u8 = 7;
/// An answer comes by then, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to tell.
struct Trim {
    before: Survey,
    typed: String,
    wanted: bool,
    done: Option<Done>,
    refusal: Option<String>,
}

/// A trim that was carried out.
struct Done {
    reply: Reply,
    took: Duration,
    after: Survey,
}

impl Trim {
    fn predicted(&self) -> usize {
        self.before.trim_gain()
    }

    /// How to do it by other means; empty where it was done, or can be by ours.
    fn how(&self) -> Vec<String> {
        let Allocator::Glibc(_) = self.before.allocator else { return Vec::new() };
        let pid = self.before.pid;
        vec![
            format!("gdb -p {pid} -batch -ex 'call (int)malloc_trim(0)'"),
            "heapwise run -- CMD".into(),
        ]
    }
}

impl Done {
    /// By how much the RSS fell.
    fn measured(&self, before: &Survey) -> usize {
        before.rss.saturating_sub(self.after.rss)
    }
}

/// Looks, does it if asked to, and prints.
pub fn run(args: TrimArgs) -> anyhow::Result<ExitCode> {
    let target = Target::of(&args.target)?;
    let mut trim = Trim {
        before: target.glance(Options::default())?,
        typed: crate::target::quoted(&args.target),
        wanted: args.apply,
        done: None,
        refusal: None,
    };
    let mut code = exit::of_survey(&trim.before);
    if args.apply {
        let Target::Process(pid) = target else {
            return Err(Failure::new(USAGE, "--apply needs a process, not a file").into());
        };
        if code == 0 || code == exit::PARTIAL {
            code = apply(pid, &target, &mut trim, args.force)?.unwrap_or(code);
        }
    }
    let mut out = anstream::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&render::object(&trim))?)?;
    } else {
        render::write(&trim, &mut out)?;
    }
    out.flush()?;
    exit::code(code)
}

/// Asks the process; an exit code of its own where it was not carried out.
fn apply(pid: u32, target: &Target, trim: &mut Trim, force: bool) -> anyhow::Result<Option<u8>> {
    if let Allocator::Glibc(_) = trim.before.allocator {
        trim.refusal = Some("it is on glibc's heap, which takes no commands from outside".into());
        crate::complain("not done: the process is on glibc's heap; below is how to do it there");
        return Ok(Some(NOT_APPLIED));
    }
    let start = Instant::now();
    let reply = control::find(pid).map_err(Refusal::from).and_then(|root| {
        let root = root.ok_or_else(|| Refusal::NotNow("its heap has changed".into()))?;
        control::request(pid, &root, Command::Trim, 0, PATIENCE, force)
    });
    match reply {
        Ok(reply) => {
            let took = start.elapsed();
            let after = target.glance(Options::default())?;
            trim.done = Some(Done { reply, took, after });
            Ok(None)
        }
        Err(Refusal::Unreachable(error @ Error::NoSuchProcess(_))) => {
            Err(exit::failure(&error).into())
        }
        Err(refusal) => {
            let code = match &refusal {
                Refusal::Unreachable(Error::NotPermitted { .. }) => exit::NOT_PERMITTED,
                _ => NOT_APPLIED,
            };
            crate::complain(&format!("not done: {refusal}"));
            trim.refusal = Some(refusal.to_string());
            Ok(Some(code))
        }
    }
}
