//! The recorded program itself once more, without a recording: what a replay is to be held against.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heapwise_inspect::process::figures;

use crate::calls::{self, Moment};
use crate::figures::Figures;
use crate::launch::{Error, forget_settings};
use crate::spans::Spans;

/// Its heap is looked at so often, at most.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// And for no larger a part of the time than one in so many.
const LOOK_PART: u32 = 5;

/// Runs a command once, its output dropped; processes of its that are left in the end are killed.
/// Memory is that of the break and of the mappings that its malloc asked for, beyond what was
/// there when the heap first grew; calls are those that may be a malloc's, see
/// [`calls::follow_heap`]. The peak is exact: it is looked for before each call by which pages may
/// go. Times and faults are the whole program's.
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
    let spans = Spans::default();
    let (mut first, mut last) = (None, None);
    let (mut base, mut peak, mut end) = (0, 0, 0);
    let over = AtomicBool::new(false);
    let (followed, samples) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !over.load(Relaxed) {
                let looking = Instant::now();
                samples.extend(spans.resident(pid));
                std::thread::sleep(LOOK_EVERY.max(looking.elapsed() * LOOK_PART));
            }
            samples
        });
        let followed = calls::follow_heap(&child, spans.clone(), |moment| {
            let Some(status) = Status::of(pid) else { return };
            // No heap is larger than all anonymous memory.
            if moment == Moment::Shrinks && status.anonymous <= peak {
                return;
            }
            let resident = spans.resident(pid).unwrap_or(0);
            peak = resident.max(peak);
            match moment {
                Moment::Begins => (first, base, peak) = (Some(status), resident, resident),
                Moment::Shrinks => {}
                Moment::Ends => (last, end) = (Some(status), resident),
            }
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
    let beyond = |bytes: u64| bytes.saturating_sub(base);
    let samples: Vec<u64> = samples.into_iter().map(beyond).collect();
    Ok(Figures {
        wall_ns,
        user_ns: last.user_ns,
        system_ns: last.system_ns,
        rss_peak_bytes: beyond(peak),
        rss_mean_bytes: samples.iter().sum::<u64>() / (samples.len() as u64).max(1),
        rss_end_bytes: beyond(end),
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
            faults: figures::faults(pid).ok()?,
            user_ns,
            system_ns,
        })
    }
}
