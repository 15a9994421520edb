//! `heapwise record`: every malloc, free and kernel call of a program, into a trace.
//!
//! ```text
//! program's threads ──► chunks in shared memory ──► recorder's thread ──► F
//!  (record.rs of          live.rs                    collect.rs            sink.rs
//!   the allocator)                                    unpack.rs, modules.rs
//! ```

pub mod collect;
pub mod elf;
pub mod live;
mod modules;
pub mod sink;
mod unpack;
mod unwind;

use std::ffi::OsString;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use heapwise_layout::live::LIVE_ENV;
use serde_json::{Value, json};

use self::collect::{Collector, Totals};
use self::live::{Live, Wanted};
use self::sink::Sink;
use crate::failure::{Failure, OURS};
use crate::profile;
use crate::run::{self, Launch, supervise};
use crate::units;

/// The help behind the options.
pub const HELP: &str = "\
Examples:
  heapwise record -o trace.hwt -- python3 job.py
  heapwise record -o trace.hwt --stacks -- ./server
  heapwise record -o last.hwt --last 60s -- ./server
  heapwise timeline trace.hwt

The trace has every malloc, calloc, realloc, aligned allocation and free of the program and its
descendants, with thread, size, address and time (to a microsecond); every brk, mmap, munmap, mremap, mprotect and
madvise that the allocator made of it; and how RSS and page faults went. It survives fork, exec and
a crash of the program: what was called before is in it. Ctrl-C goes to the program; the trace is
ended when that ends. A full disk ends the trace, not the program.

Threads write into memory that they share with the recorder. If they are faster than it for long,
they wait for it; nothing is lost.

Exit code: as of `heapwise run`. A trace that cannot be written to its end is an error message; the
exit code stays the program's.";

/// Record every malloc, free and kernel call of a program into a trace
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Write the trace to FILE
    #[arg(short, long, value_name = "FILE", default_value = "heapwise.hwt")]
    output: PathBuf,

    /// Keep only the last while: 60s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    last: Option<Duration>,

    /// Take the stack of every allocation, at most DEPTH frames
    #[arg(long, value_name = "DEPTH", num_args = 0..=1, require_equals = true, default_missing_value = "64", value_parser = clap::value_parser!(u32).range(1..=1024))]
    stacks: Option<u32>,

    /// Note how much of a block is in memory when it ends or shrinks, of blocks of at least BYTES
    /// (64 KiB is the least that counts); 0 for none. A replay touches just so much of them
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10)]
    touched: u64,

    /// When the program has ended, say on standard error what was recorded, as one JSON object
    /// (heapwise.recording/1)
    #[arg(long)]
    json: bool,

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

/// Records.
pub fn run(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let mut launch = Launch::new(&args.command, &args.tunables, args.anyway)?;
    let sink = create(&args.output, args.last)?;
    let wanted = Wanted {
        sample_bytes: 0,
        stack_depth: args.stacks.unwrap_or(0),
        snippet_bytes: if args.stacks.is_some() { profile::SNIPPET_BYTES } else { 0 },
        touched_bytes: args.touched,
    };
    let recorded = record(&mut launch, wanted, sink, &notes("record", &args.command))?;
    let code = recorded.outcome.end.exit_code();
    if args.json {
        recorded.tell_failures(&args.output);
        // Standard output is the program's. With standard error closed there is nobody left to tell.
        let _ = writeln!(stderr(), "{}", recorded.object(&args.output, code));
    } else {
        recorded.tell(&args.output);
    }
    Ok(ExitCode::from(code))
}

/// A finished recording.
pub struct Recorded<T> {
    /// What came of the work; of a program how it ended.
    pub outcome: T,
    /// What was recorded.
    pub totals: Totals,
    /// Bytes of the trace, or what kept it from being whole.
    pub written: Result<u64, String>,
}

/// Opens the trace's file before the program starts: a name that cannot be written to should
/// not cost a long run.
pub fn create(path: &Path, last: Option<Duration>) -> Result<Sink, Failure> {
    let window = last.map(|last| u64::try_from(last.as_nanos()).unwrap_or(u64::MAX));
    Sink::create(path, window)
        .map_err(|error| Failure::new(OURS, format!("{}: {}", path.display(), run::plain(&error))))
}

/// Runs the program and records it.
pub fn record(
    launch: &mut Launch,
    wanted: Wanted,
    sink: Sink,
    notes: &[(String, String)],
) -> Result<Recorded<supervise::Outcome>, Failure> {
    with_recorder(wanted, sink, notes, |live| {
        launch.command.env(LIVE_ENV, live.path());
        supervise::supervise(&mut launch.command).map_err(|error| launch.exec_failure(&error))
    })
}

/// Does `work` while a recorder collects what comes into the shared memory.
pub fn with_recorder<T>(
    wanted: Wanted,
    sink: Sink,
    notes: &[(String, String)],
    work: impl FnOnce(&Live) -> Result<T, Failure>,
) -> Result<Recorded<T>, Failure> {
    let live = Live::create(wanted).map_err(|error| {
        let mut why = run::plain(&error);
        if error.raw_os_error() == Some(libc::EFBIG) {
            why += "; it takes `ulimit -f` for 1 GiB, though no disk";
        }
        Failure::new(OURS, format!("cannot make the memory that a recording passes through: {why}"))
    })?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let (live, done) = (&live, &done);
        let recorder = scope.spawn(move || {
            block_signals();
            // The main thread waits for this, or is gone.
            let _ = ready.send(());
            Collector::new(live, sink, notes).run(done)
        });
        let _ = is_ready.recv();
        let outcome = work(live);
        done.store(true, Release);
        live.wake();
        let joined = recorder.join();
        let outcome = outcome?;
        let (totals, written) =
            joined.map_err(|_| Failure::new(OURS, "the recorder failed; the trace ends early"))?;
        Ok(Recorded { outcome, totals, written })
    })
}

impl<T> Recorded<T> {
    /// Says what became of the trace: all of it on a terminal, else only what went wrong.
    pub fn tell(&self, path: &Path) {
        if let Ok(bytes) = self.written
            && stderr().is_terminal()
        {
            crate::complain(&self.summary(path, bytes));
        }
        self.tell_failures(path);
    }

    /// Says what went wrong, if anything did.
    pub fn tell_failures(&self, path: &Path) {
        if let Err(error) = &self.written {
            crate::complain(error);
        }
        if self.totals.cut_short {
            crate::complain(&format!(
                "{}: holds less than --last asked for: the events filled {}",
                path.display(),
                units::bytes(sink::RING_BYTES as u64)
            ));
        }
        if self.totals.lost > 0 {
            crate::complain(&format!(
                "{} events found no room and are missing in {}",
                units::count(self.totals.lost),
                path.display()
            ));
        }
    }

    /// `heapwise.recording/1`.
    fn object(&self, path: &Path, exit_code: u8) -> Value {
        let Totals { records, processes, lost, cut_short } = self.totals;
        json!({
            "schema": "heapwise.recording/1",
            "file": path.to_string_lossy(),
            "file_bytes": self.written.as_ref().ok(),
            "error": self.written.as_ref().err(),
            "events": records,
            "events_lost": lost,
            "cut_short": cut_short,
            "processes": processes,
            "exit_code": exit_code,
        })
    }

    fn summary(&self, path: &Path, bytes: u64) -> String {
        let Totals { records, processes, .. } = self.totals;
        let each = bytes as f64 / records.max(1) as f64;
        let process = if processes == 1 { "process" } else { "processes" };
        format!(
            "{}: {} events of {processes} {process}, {} ({each:.1} bytes an event)",
            path.display(),
            units::count(records),
            units::bytes(bytes),
        )
    }
}

/// What a trace says of its recording.
pub fn notes(mode: &str, command: &[OsString]) -> Vec<(String, String)> {
    let words = command.iter().map(|word| word.to_string_lossy());
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let host = nix::unistd::gethostname().unwrap_or_default();
    [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("mode", mode.to_owned()),
        ("command", words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")),
        ("start_unix_ns", start.as_nanos().to_string()),
        ("host", host.to_string_lossy().into_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A word as a shell would take it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The recorder's thread takes no signals: they are for the one that supervises.
fn block_signals() {
    let all = nix::sys::signal::SigSet::all();
    // Cannot fail: the set is valid.
    let _ = all.thread_block();
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_as_a_shell_takes_them() {
        assert_eq!(["a", "", "a b", "it's"].map(quoted), ["a", "''", "'a b'", "'it'\\''s'"]);
    }
}
