//! `heapwise watch`: a process over time, on a terminal.
//!
//! ```text
//! sampler   a thread that looks, at a pace that costs little ──► News
//! app       what is known and what is shown; keys change it, news change it
//! screen    draws an app, panel by panel; theme makes it fit the terminal
//! terminal  takes the terminal over, and gives it back whatever happens
//! stream    the same as JSON, a line a look
//! program   a program that is started to be watched
//! ```

mod app;
mod keys;
mod program;
mod sampler;
mod screen;
mod stream;
mod terminal;
mod theme;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use heapwise_inspect::{Depth, Options};

use self::app::App;
use self::program::Program;
use self::sampler::{Look, Sampler};
use self::theme::Theme;
use crate::exit;
use crate::failure::{Failure, OURS, USAGE};
use crate::profile::living::Living;
use crate::snapshot;
use crate::target::Target;

/// Watch the memory of a process on the terminal: its account over time, its heaps, events
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Number or name of a process
    #[arg(
        value_name = "PID|NAME",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    target: Option<OsString>,

    /// How often to look; longer where a look takes much
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// Print one screen as text and end
    #[arg(long, conflicts_with_all = ["json", "command"])]
    once: bool,

    /// Print a JSON object a look, a line each (heapwise.watch/1)
    #[arg(long)]
    json: bool,

    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Write a snapshot of the last look here at the end, and wherever the key s asks for one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["once", "json"])]
    save: Option<PathBuf>,

    /// Draw with ASCII alone; the default where the locale or the terminal has no more
    #[arg(long)]
    ascii: bool,

    /// Draw without colour, as with NO_COLOR
    #[arg(long)]
    no_color: bool,

    /// Run a program, as it is, and watch it until it ends or you do, which ends it
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A program that has just been started has no C library until its loader has mapped it.
const LOADING: Duration = Duration::from_millis(300);

/// What stands below the options.
pub fn help() -> String {
    format!(
        "\
Examples:
  heapwise watch redis-server
          By name, a look a second
  heapwise watch --interval 200ms 4711
          Five looks a second, as long as they cost less than 3 % of a processor
  heapwise watch --once --ascii 4711 | mail -s heap me
          One screen, as text
  heapwise watch --json --for 1min 4711 > heap.jsonl
          For a program
  heapwise watch -- python3 job.py
          A program from its start on; what it writes last is told when the screen is yours again

Keys:
{}
The process is neither stopped nor changed. History is bounded: the whole session stays in sight,
the older the coarser. When the process ends, its last state stays on the screen.

Exit code: as for heapwise explain, 0 when the process ends or you do.",
        keys::help()
    )
}

/// Looks again and again.
pub fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    if args.command.is_empty() {
        let pid = process(args.target.as_deref().unwrap_or_default())?;
        return watch(pid, &args, Duration::ZERO);
    }
    can_draw(&args)?;
    let program = Program::start(&args.command, !args.json)?;
    let code = watch(program.pid(), &args, LOADING);
    program.end()?;
    code
}

fn process(target: &OsStr) -> Result<u32, Failure> {
    let Target::Process(pid) = Target::of(target)? else {
        let file = target.display();
        return Err(Failure::new(
            USAGE,
            format!("{file} does not change: heapwise report shows what a snapshot holds"),
        ));
    };
    Ok(pid)
}

fn can_draw(args: &WatchArgs) -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.once && !args.json && !is_terminal {
        return Err(Failure::new(
            USAGE,
            "watch draws on a terminal, and this is none: --once prints one screen as text, \
             --json a line a look",
        ));
    }
    Ok(())
}

/// With a heap that is not there yet, one that may still be loaded, it begins after `patience`.
fn watch(pid: u32, args: &WatchArgs, patience: Duration) -> anyhow::Result<ExitCode> {
    can_draw(args)?;
    // Before the terminal is taken: what goes wrong at once is told in the usual way.
    let options = Options {
        paint: true,
        bins: args.save.is_some(),
        first_bytes: args.save.is_some(),
        ..Options::default()
    };
    let first = first_look(pid, options, patience)?;
    if args.json {
        return stream::run(pid, first, args.interval, args.duration);
    }
    let theme = Theme::new(args.ascii, args.no_color);
    if args.once {
        return once(first, args.interval, theme);
    }
    let code = code_of(&first);
    let mut app = App::new(theme, args.interval);
    app.look(first);
    app.save_as.clone_from(&args.save);
    let sampler = Sampler::start(pid, options, app.pace.clone());
    terminal::run(&mut app, &sampler, args.duration)?;
    if let (Some(path), Some(current)) = (&args.save, &app.current) {
        snapshot::keep(&current.seen, path)
            .map_err(|error| Failure::new(OURS, format!("{}: {error:#}", path.display())))?;
    }
    if let Some(words) = app.last_words() {
        // With the terminal gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{words}");
    }
    exit::code(code)
}

/// A large heap takes seconds, in which a terminal should not look dead.
fn first_look(pid: u32, options: Options, patience: Duration) -> anyhow::Result<Look> {
    const ERASE_LINE: &str = "\r\x1b[K";
    let is_seen = io::stderr().is_terminal();
    // With standard error closed there is nobody to tell.
    if is_seen {
        let _ = write!(io::stderr(), "heapwise: looking at {pid} ...");
    }
    let begun = Instant::now();
    let look = loop {
        let look = sampler::look(pid, options, &mut Living::default());
        let is_unread = match &look {
            Ok(look) => look.seen.depth == Depth::Mappings,
            // In the middle of its exec.
            Err(_) => true,
        };
        if !is_unread || begun.elapsed() >= patience {
            break look;
        }
        thread::sleep(Duration::from_millis(2));
    };
    if is_seen {
        let _ = write!(io::stderr(), "{ERASE_LINE}");
    }
    look.map_err(|error| exit::failure(&error).into())
}

/// A heap that changes under the walk is told on the screen, and is no failure of watching.
fn code_of(look: &Look) -> u8 {
    match look.seen.depth {
        Depth::Partial => 0,
        Depth::Whole | Depth::Mappings | Depth::Counters => exit::of_survey(&look.seen),
    }
}

fn once(look: Look, interval: Duration, theme: Theme) -> anyhow::Result<ExitCode> {
    let code = exit::of_survey(&look.seen);
    let mut app = App::new(theme, interval);
    app.look(look);
    // A pipe has no size; a terminal does.
    let (width, height) = ratatui::crossterm::terminal::size()
        .ok()
        .filter(|_| io::stdout().is_terminal())
        .map_or((100, 40), |(width, height)| (width.max(40), height.saturating_sub(1).max(20)));
    let mut out = anstream::stdout();
    out.write_all(screen::text(&mut app, width, height).as_bytes())?;
    out.flush()?;
    exit::code(code)
}
