//! `heapwise run`: a program on our heap.

mod launch;
mod preflight;
mod program;
mod signals;
pub mod supervise;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use heapwise_layout::report::REPORT_ENV;

pub use self::launch::Launch;
pub use self::preflight::{Verdict, inspect};
pub use self::program::plain;
use crate::failure::{Failure, OURS, USAGE};
use crate::profile;
use crate::record;
use crate::record::live::Wanted;
use crate::report::{self, Format, Report, ReportFile};

/// What the dynamic loader loads first.
pub const PRELOAD_ENV: &str = "LD_PRELOAD";

/// Run a program on our heap, and tell how its memory went
#[derive(Debug, Args)]
pub struct RunArgs {
    /// When the program has ended, report how memory went
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    report: Option<Format>,

    /// The report as one JSON object: short for --report=json
    #[arg(long, conflicts_with = "profile")]
    json: bool,

    /// Profile the program: watch an allocation every RATE bytes (512K) on average
    #[arg(long, value_name = "RATE", num_args = 0..=1, require_equals = true, default_missing_value = "512K", value_parser = profile::parse_rate, conflicts_with = "report")]
    profile: Option<u64>,

    /// Write the report to FILE instead of standard error; or the profile, in the form that the
    /// name says (see `heapwise profile --help`), instead of heapwise.pb.gz
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Set a tunable of the allocator; may be given several times
    #[arg(long = "tunable", value_name = "NAME=VALUE")]
    tunables: Vec<String>,

    /// Run a program that cannot be preloaded all the same, without the library
    #[arg(long)]
    anyway: bool,

    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the program; without `--report` this process becomes it.
pub fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut launch = Launch::new(&args.command, &args.tunables, args.anyway)?;
    if let Some(rate) = args.profile {
        let output = args.output.unwrap_or_else(|| PathBuf::from("heapwise.pb.gz"));
        return profiled(&mut launch, rate, &output, &args.command);
    }
    let format = if args.json { Some(Format::Json) } else { args.report };
    let Some(format) = format else {
        if args.output.is_some() {
            return Err(Failure::new(USAGE, "-o wants --report or --profile").into());
        }
        let error = launch.command.exec();
        return Err(launch.exec_failure(&error).into());
    };
    let mut destination = Destination::open(args.output.as_deref())?;
    let file = ReportFile::create().map_err(|error| {
        Failure::new(OURS, format!("cannot make the file that the report is collected in: {error}"))
    })?;
    launch.command.env(REPORT_ENV, file.path());
    let outcome =
        supervise::supervise(&mut launch.command).map_err(|error| launch.exec_failure(&error))?;

    // From here on the exit code is the program's, whatever becomes of the report.
    let code = ExitCode::from(outcome.end.exit_code());
    let written = file.read().and_then(|contents| {
        let inode = file.inode()?;
        let shown = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let library = launch.library.map(|path| path.to_string_lossy().into_owned());
        let still_runs = |pid| report::maps_report(pid, inode, file.path());
        destination.write(&Report::new(shown, library, &outcome, &contents, still_runs), format)
    });
    if let Err(error) = written {
        let place = args.output.as_deref().unwrap_or(Path::new("standard error"));
        crate::complain(&format!(
            "{}: cannot write the report: {}",
            place.display(),
            plain(&error)
        ));
    }
    Ok(code)
}

/// Runs the program and samples its allocations.
fn profiled(
    launch: &mut Launch,
    rate: u64,
    output: &Path,
    command: &[OsString],
) -> anyhow::Result<ExitCode> {
    let format = profile::Format::of(output);
    let failed =
        |error: &io::Error| Failure::new(OURS, format!("{}: {}", output.display(), plain(error)));
    // What cannot be written should not cost a long run.
    File::create(output).map_err(|error| failed(&error))?;
    let raw = tempfile::NamedTempFile::new().map_err(|error| failed(&error))?;
    let trace = if format == profile::Format::Raw { output } else { raw.path() };
    let sink = record::create(trace, None)?;
    let wanted = Wanted {
        sample_bytes: rate,
        stack_depth: profile::DEPTH,
        snippet_bytes: profile::SNIPPET_BYTES,
        touched_bytes: 0,
    };
    let recorded = record::record(launch, wanted, sink, &record::notes("profile", command))?;
    recorded.tell_failures(output);
    if trace != output
        && let Err(error) = profile::convert(trace, output, format, profile::Show::default(), false)
    {
        // The exit code is the program's, whatever becomes of the profile.
        crate::complain(&format!("{error:#}"));
    }
    Ok(ExitCode::from(recorded.outcome.end.exit_code()))
}

/// Where the report goes, opened before the program starts: a name that cannot
/// be written to should not cost a long run.
enum Destination {
    Stderr,
    File(File),
}

impl Destination {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stderr) };
        File::create(path)
            .map(Self::File)
            .map_err(|error| Failure::new(OURS, format!("{}: {}", path.display(), plain(&error))))
    }

    fn write(&mut self, report: &Report, format: Format) -> io::Result<()> {
        let mut text = Vec::new();
        match self {
            Self::Stderr => {
                report::write(report, format, &mut text)?;
                anstream::stderr().write_all(&text)
            }
            Self::File(file) => {
                report::write(report, format, &mut anstream::StripStream::new(&mut text))?;
                file.write_all(&text)
            }
        }
    }
}
