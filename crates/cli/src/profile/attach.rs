//! A running process of ours, sampled for a while: it joins a recording by its control block.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use heapwise_inspect::Error;
use heapwise_inspect::control::{self, Refusal};
use heapwise_layout::control::Command;

use super::{DEPTH, SNIPPET_BYTES};
use crate::exit;
use crate::failure::{Failure, OURS};
use crate::interrupt::Interrupt;
use crate::record::live::Wanted;
use crate::record::{self, Recorded};

/// How long the process may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it still lives.
const LOOK: Duration = Duration::from_millis(50);

/// Samples process `pid` for `time`, until it ends or until Ctrl-C, into the trace `path`.
pub fn sample(pid: u32, time: Duration, rate: u64, path: &Path) -> Result<Recorded<()>, Failure> {
    let root = control::find(pid).map_err(|error| exit::failure(&error))?.ok_or_else(|| {
        let why = format!("process {pid} is not on our heap: start it by heapwise run");
        Failure::new(exit::NOT_RECOGNISED, why)
    })?;
    let sink = record::create(path, None)?;
    let wanted = Wanted {
        sample_bytes: rate,
        stack_depth: DEPTH,
        snippet_bytes: SNIPPET_BYTES,
        touched_bytes: 0,
    };
    let notes = record::notes("profile", &[format!("process {pid}").into()]);
    let interrupt = Interrupt::watch();
    record::with_recorder(wanted, sink, &notes, |live| {
        let ours = u64::from(std::process::id()) << 32 | u64::from(live.descriptor());
        control::request(pid, &root, Command::Record, ours, PATIENCE, false)
            .map_err(|refusal| failure(pid, &refusal))?;
        let end = Instant::now() + time;
        let alive = || Path::new(&format!("/proc/{pid}")).exists();
        while Instant::now() < end && !interrupt.seen() && alive() {
            sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    })
}

fn failure(pid: u32, refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::Unreachable(error @ (Error::NoSuchProcess(_) | Error::NotPermitted { .. })) => {
            exit::failure(error)
        }
        other => Failure::new(OURS, format!("process {pid} cannot be profiled: {other}")),
    }
}
