//! `heapwise run`: a program on our heap.

mod preflight;
mod program;
mod signals;
pub mod supervise;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use heapwise_layout::report::REPORT_ENV;

pub use self::preflight::{Verdict, inspect};
use crate::failure::{Failure, NOT_FOUND, OURS};
use crate::library;
use crate::report::{self, Format, Report, ReportFile};
use crate::tunables;

/// What the dynamic loader loads first.
pub const PRELOAD_ENV: &str = "LD_PRELOAD";

/// Run a program on our heap, and tell how its memory went
#[derive(Debug, Args)]
pub struct RunArgs {
    /// When the program has ended, report how memory went
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    report: Option<Format>,

    /// Write the report to FILE instead of standard error
    #[arg(short, long, value_name = "FILE", requires = "report")]
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
    let settings = args
        .tunables
        .iter()
        .map(|argument| tunables::parse(argument))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((name, arguments)) = args.command.split_first() else {
        anyhow::bail!("no program given");
    };
    let program = program::find(name)?;
    let library = if may_preload(&program, args.anyway)? { Some(library::locate()?) } else { None };

    let mut command = Command::new(&program);
    command.arg0(name).args(arguments);
    command.envs(tunables::environment(&settings));
    if let Some(library) = &library {
        command.env(PRELOAD_ENV, preload_list(library, env::var_os(PRELOAD_ENV).as_deref()));
    }

    let Some(format) = args.report else {
        let error = command.exec();
        return Err(preflight::exec_failure(&program, &error).into());
    };
    let mut destination = Destination::open(args.output.as_deref())?;
    let file = ReportFile::create().map_err(|error| {
        Failure::new(OURS, format!("cannot make the file that the report is collected in: {error}"))
    })?;
    command.env(REPORT_ENV, file.path());
    let outcome = supervise::supervise(&mut command)
        .map_err(|error| preflight::exec_failure(&program, &error))?;

    // From here on the exit code is the program's, whatever becomes of the report.
    let code = ExitCode::from(outcome.end.exit_code());
    let written = file.read().and_then(|contents| {
        let inode = file.inode()?;
        let shown = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let library = library.map(|path| path.to_string_lossy().into_owned());
        let still_runs = |pid| report::maps_report(pid, inode, file.path());
        destination.write(&Report::new(shown, library, &outcome, &contents, still_runs), format)
    });
    if let Err(error) = written {
        let place = args.output.as_deref().unwrap_or(Path::new("standard error"));
        crate::complain(&format!(
            "{}: cannot write the report: {}",
            place.display(),
            program::plain(&error)
        ));
    }
    Ok(code)
}

/// Whether the program can take the library; an error if not and `anyway` is not given.
fn may_preload(program: &Path, anyway: bool) -> Result<bool, Failure> {
    match inspect(program) {
        Verdict::Fine => Ok(true),
        Verdict::CannotPreload(_) if anyway => Ok(false),
        Verdict::CannotPreload(why) => Err(Failure::new(
            OURS,
            format!(
                "{} cannot be preloaded: {why}; --anyway runs it on its own heap",
                program.display()
            ),
        )),
        Verdict::MissingInterpreter(why) => {
            Err(Failure::new(NOT_FOUND, format!("{} cannot run: {why}", program.display())))
        }
    }
}

/// Ours first, so that its `malloc` is the one that binds.
fn preload_list(library: &Path, before: Option<&OsStr>) -> OsString {
    let mut list = library.as_os_str().to_owned();
    let others = before.map(OsStr::as_bytes).unwrap_or_default();
    for other in others.split(|byte| b": \t\n".contains(byte)).map(OsStr::from_bytes) {
        if !other.is_empty() && other != library.as_os_str() {
            list.push(":");
            list.push(other);
        }
    }
    list
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
        File::create(path).map(Self::File).map_err(|error| {
            Failure::new(OURS, format!("{}: {}", path.display(), program::plain(&error)))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_once() {
        let list = |before: &str| preload_list(Path::new("/h.so"), Some(OsStr::new(before)));
        assert_eq!(
            [list(""), list("a.so b.so"), list("x.so:/h.so")],
            ["/h.so", "/h.so:a.so:b.so", "/h.so:x.so"]
        );
    }
}
