//! The recorded program itself once more, without a recording: what a replay is to be held against.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heapwise_inspect::process::figures;

use crate::calls::{self, Moment};
use crate::figures::Figures;
use crate::launch::{Error, forget_settings};

/// Its RSS is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Runs a command once, its output dropped; processes of its that are left in the end are killed.
/// Memory is anonymous pages beyond those that were there
/// when the heap first grew, so the program's stack and data are in it as far as they grow;
/// calls are those that may be a malloc's, see [`calls::follow_heap`]. Times are the whole program's.
///
/// # Errors
/// It cannot be started or traced; it fails.
pub fn run(command: Command, environment: &[(String, String)]) -> Result<Figures, Error> {
    // A tracer of its own: what the program leaves behind ends with it, and nobody else waits
    // for that.
    let traced = std::thread::scope(|scope| scope.spawn(|| trace(command, environment)).join());
    traced.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn trace(mut command: Command, environment: &[(String, String)]) -> Result<Figures, Error> {
    forget_settings(&mut command);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdout(Stdio::null());
    let begun = Instant::now();
    let child = calls::spawn(command)?;
    let pid = child.id();
    let (mut first, mut last) = (None, None);
    let over = AtomicBool::new(false);
    let (followed, samples) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !over.load(Relaxed) {
                samples.extend(Status::of(pid).map(|status| status.anonymous));
                std::thread::sleep(LOOK_EVERY);
            }
            samples
        });
        let followed = calls::follow_heap(&child, |moment| {
            let status = Status::of(pid);
            if moment == Moment::Begins { first = status } else { last = status }
        });
        over.store(true, Relaxed);
        (followed, sampler.join().unwrap_or_default())
    });
    let wall_ns = begun.elapsed().as_nanos() as u64;
    let (calls, status) = followed?;
    let status = ExitStatus::from_raw(status);
    let (Some(first), Some(last), true) = (first, last, status.success()) else {
        return Err(Error::Player(status, String::new()));
    };
    let beyond = |bytes: u64| bytes.saturating_sub(first.anonymous);
    let samples: Vec<u64> = samples.into_iter().map(beyond).collect();
    Ok(Figures {
        wall_ns,
        user_ns: last.user_ns,
        system_ns: last.system_ns,
        rss_peak_bytes: beyond(last.peak.saturating_sub(last.other)),
        rss_mean_bytes: samples.iter().sum::<u64>() / (samples.len() as u64).max(1),
        rss_end_bytes: beyond(last.anonymous),
        faults: last.faults - first.faults,
        calls: Some(calls),
        samples,
        failed: 0,
        machine: None,
    })
}

/// What the kernel says of a process.
struct Status {
    anonymous: u64,
    /// Pages of files and shared memory.
    other: u64,
    /// Most of all kinds.
    peak: u64,
    faults: u64,
    user_ns: u64,
    system_ns: u64,
}

impl Status {
    fn of(pid: u32) -> Option<Self> {
        let counters = figures::Figures::counters(pid, 1).ok()?;
        let (user_ns, system_ns) = figures::processor_ns(pid).ok()?;
        Some(Self {
            anonymous: counters.rss_anon as u64,
            other: (counters.rss_file + counters.rss_shmem) as u64,
            peak: figures::peak_rss(pid).ok()? as u64,
            faults: figures::faults(pid).ok()?,
            user_ns,
            system_ns,
        })
    }
}
