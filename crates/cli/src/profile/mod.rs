//! `heapwise profile` and `heapwise run --profile`: which stacks allocate, and which keep.

mod attach;
pub mod flame;
pub mod living;
mod naming;
mod page;
pub use page::escape;
pub mod pprof;
pub mod sites;
pub mod symbols;
pub mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use heapwise_trace::Trace;

use self::sites::Sites;
use self::symbols::Symbols;
use crate::failure::{Failure, OURS, USAGE};
use crate::run::plain;

/// Most frames of a stack.
pub const DEPTH: u32 = 128;
/// Bytes of stack that a sample may copy.
pub const SNIPPET_BYTES: u32 = 16 << 10;

/// The help behind the options.
pub const HELP: &str = "\
Examples:
  heapwise run --profile -o job.pb.gz -- python3 job.py
  go tool pprof -http=: job.pb.gz
  heapwise run --profile=64K -o job.svg -- ./server
  heapwise profile 4711 --for 30s -o now.html
  heapwise record --stacks -o t.hwt -- ./server
  heapwise profile t.hwt
  heapwise profile t.hwt --leaks
  heapwise profile t.hwt -o t.html

A profile is sampled: on average every 512 KiB that a thread asks for one allocation is watched, with
its stack, until it is freed. What a site is said to have allocated or to keep is an estimate without
bias; a site of n samples is known to about 1/√n. The raw form (.hwt) is a trace, and a trace of
`heapwise record --stacks` is a profile without sampling.

The form follows the file's name: .pb.gz or .pprof (pprof), .folded (collapsed stacks), .svg (flame
graph), .html, .json, .txt, .hwt (raw).

Exit code: 0; 2 wrong usage, or FILE is no trace; 3 no such process; 4 not permitted; 5 the process is not
on our heap; 125 a file cannot be read or written, or the process takes no commands now.";

/// The forms of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for people
    Text,
    /// One object, `heapwise.profile/1`
    Json,
    /// Gzipped protobuf, for `go tool pprof`, Pyroscope, Parca
    Pprof,
    /// Collapsed stacks, one a line with a number
    Folded,
    /// A flame graph
    Svg,
    /// A page with the flame graph and tables
    Html,
    /// The sampled trace itself
    Raw,
}

impl Format {
    /// By the file's name; pprof if that says nothing.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => Self::Text,
            Some("json") => Self::Json,
            Some("folded" | "collapsed") => Self::Folded,
            Some("svg") => Self::Svg,
            Some("html" | "htm") => Self::Html,
            Some("hwt") => Self::Raw,
            _ => Self::Pprof,
        }
    }
}

/// Which of a site's figures a flame graph and collapsed stacks show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Bytes that live at the end
    #[default]
    Live,
    /// Bytes allocated in all
    Allocated,
}

/// Show which stacks allocate and which keep: of a running process, or from a trace with stacks
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// A running process of ours; or a trace of `heapwise record --stacks` or of
    /// `heapwise run --profile -o FILE.hwt`
    #[arg(value_name = "PID|FILE")]
    target: PathBuf,

    /// How long a process is sampled; Ctrl-C ends it early
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// One sample of a process every RATE bytes, on average
    #[arg(long, value_name = "RATE", default_value = "512K", value_parser = parse_rate)]
    rate: u64,

    /// Write to OUT, in the form that its name says
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// The form, whatever the name
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// One JSON object (heapwise.profile/1): short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// What a flame graph and collapsed stacks show
    #[arg(long, value_enum, default_value_t)]
    show: Show,

    /// Only sites whose live bytes only grow
    #[arg(long)]
    leaks: bool,
}

/// Profiles.
pub fn run(args: ProfileArgs) -> anyhow::Result<ExitCode> {
    let asked = if args.json { Some(Format::Json) } else { args.format };
    let format = match (asked, &args.output) {
        (Some(format), _) => format,
        (None, Some(output)) => Format::of(output),
        (None, None) => Format::Text,
    };
    let file = match process(&args.target) {
        Some(pid) => return run_process(pid, &args, format),
        None => &args.target,
    };
    if format == Format::Raw {
        return Err(Failure::new(USAGE, "a trace is raw already: copy it").into());
    }
    match &args.output {
        Some(output) => convert(file, output, format, args.show, args.leaks)?,
        None => print(file, format, args.show, args.leaks)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The number of a process; a file of that name goes first.
fn process(target: &Path) -> Option<u32> {
    target.to_str()?.parse().ok().filter(|_| !target.exists())
}

fn run_process(pid: u32, args: &ProfileArgs, format: Format) -> anyhow::Result<ExitCode> {
    let raw = tempfile::NamedTempFile::new()?;
    let kept = args.output.as_deref().filter(|_| format == Format::Raw);
    let trace = kept.unwrap_or(raw.path());
    attach::sample(pid, args.time, args.rate, trace)?.tell_failures(trace);
    match &args.output {
        Some(_) if kept.is_some() => {}
        Some(output) => convert(trace, output, format, args.show, args.leaks)?,
        None => print(trace, format, args.show, args.leaks)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A mean distance of samples.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match heapwise_malloc::tunables::parse(text.as_bytes()) {
        Some(rate @ 1..) => Ok(rate as u64),
        _ => Err("a rate is a number of bytes: 4096, 64K, 1M".into()),
    }
}

fn print(trace: &Path, format: Format, show: Show, leaks: bool) -> anyhow::Result<()> {
    let mut out = Vec::new();
    render(trace, format, show, leaks, &mut out)?;
    anstream::stdout().write_all(&out)?;
    Ok(())
}

/// Writes the profile in a trace to a file.
pub fn convert(
    trace: &Path,
    output: &Path,
    format: Format,
    show: Show,
    leaks: bool,
) -> anyhow::Result<()> {
    let failed =
        |error: &io::Error| Failure::new(OURS, format!("{}: {}", output.display(), plain(error)));
    let mut file = BufWriter::new(File::create(output).map_err(|error| failed(&error))?);
    render(trace, format, show, leaks, &mut file)?;
    file.flush().map_err(|error| failed(&error))?;
    Ok(())
}

/// The profile in a trace, in one of its forms.
pub fn render(
    path: &Path,
    format: Format,
    show: Show,
    leaks: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let trace = open(path)?;
    let mut sites = Sites::of(&trace).map_err(|error| unreadable(path, &error))?;
    if let Some(damage) = &sites.damage {
        crate::complain(&format!("{}: {damage}; this is of what is whole", path.display()));
    }
    if sites.allocated.count > 0.0 && sites.sites.iter().all(|site| site.stack.is_empty()) {
        crate::complain(&format!(
            "{}: was recorded without stacks; record with --stacks",
            path.display()
        ));
    }
    if leaks {
        sites.sites.retain(sites::Site::only_grows);
    }
    let mut symbols = Symbols::default();
    match format {
        Format::Text => text::write(&trace, &sites, &mut symbols, leaks, out)?,
        Format::Json => text::write_json(&trace, &sites, &mut symbols, out)?,
        Format::Pprof => pprof::write(&trace, &sites, &mut symbols, out)?,
        Format::Folded => flame::folded(&trace, &sites, &mut symbols, show, out)?,
        Format::Svg => flame::svg(&trace, &sites, &mut symbols, show, out)?,
        Format::Html => page::write(&trace, &sites, &mut symbols, show, out)?,
        Format::Raw => io::copy(&mut File::open(path)?, out).map(|_| ())?,
    }
    Ok(())
}

/// Opens a trace; a failure names it.
pub fn open(path: &Path) -> Result<Trace, Failure> {
    Trace::open(path).map_err(|error| unreadable(path, &error))
}

/// One sentence on a trace that cannot be read.
pub fn unreadable(path: &Path, error: &heapwise_trace::Error) -> Failure {
    match error {
        heapwise_trace::Error::Io(error) => {
            Failure::new(OURS, format!("{}: {}", path.display(), plain(error)))
        }
        other => Failure::new(USAGE, format!("{} {other}", path.display())),
    }
}
