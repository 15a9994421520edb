//! The page as a file that node_exporter's textfile collector reads.
//!
//! The file is replaced as a whole, never written in place, and goes when we end: figures of
//! processes that nobody watches would stay for ever.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::collect::Collector;
use super::encode::{Format, encode};
use super::serve::ends;
use crate::failure::{Failure, USAGE};

/// The file's name; the collector reads what ends in `.prom`.
const NAME: &str = "heapwise.prom";
/// How soon a signal is noticed.
const TICK: Duration = Duration::from_millis(200);

/// Writes every interval until SIGTERM or SIGINT.
pub fn run(
    directory: &Path,
    collector: &mut Collector,
    interval: Duration,
    once: bool,
) -> anyhow::Result<ExitCode> {
    if !directory.is_dir() {
        return Err(Failure::new(USAGE, format!("no directory {}", directory.display())).into());
    }
    if once {
        write(directory, collector)?;
        return Ok(ExitCode::SUCCESS);
    }
    let signals = SignalFd::with_flags(&ends()?, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut failing = false;
    loop {
        let begun = Instant::now();
        let written = write(directory, collector);
        // A full disk may have room again later: said once, tried again.
        if let (Err(error), false) = (&written, failing) {
            crate::complain(&format!("{error:#}"));
        }
        failing = written.is_err();
        while begun.elapsed() < interval {
            if signals.read_signal()?.is_some() {
                let _ = fs::remove_file(directory.join(NAME));
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(TICK.min(interval));
        }
    }
}

fn write(directory: &Path, collector: &mut Collector) -> anyhow::Result<()> {
    let temporary = directory.join(format!(".{NAME}.{}", std::process::id()));
    let file = directory.join(NAME);
    let page = encode(&collector.page(), Format::Plain);
    let written = fs::write(&temporary, page).and_then(|()| fs::rename(&temporary, &file));
    written.with_context(|| {
        let _ = fs::remove_file(&temporary);
        format!("cannot write {}", file.display())
    })
}
