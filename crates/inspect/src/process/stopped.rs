//! All threads of a process stopped, for as long as a value lives.
//!
//! Threads are seized and interrupted until no new one shows up: a stopped
//! thread makes none. One that sleeps in the kernel where nothing wakes it
//! counts as stopped: it stops before it runs a single instruction of the program.
//! Whatever happens to us, the kernel lets all of them go (see [`super::tracing`]).

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use super::figures::field;
use super::files::{convert, path};
use super::tracing::Tracee;
use crate::error::Error;

/// A process that stands still.
#[derive(Debug)]
pub struct Stopped {
    /// Released when dropped.
    tracees: Vec<Tracee>,
    since: Instant,
}

/// Threads in the kernel are waited for so long, all together.
const PATIENCE: Duration = Duration::from_millis(50);
/// A process that makes threads as fast as they are stopped is given up.
const ROUNDS: usize = 1000;

/// Does something in a thread of its own: threads that it could not release one by one go on with its end.
pub fn in_own_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Stopped {
    /// Stops all threads; call it [`in_own_thread`].
    ///
    /// # Errors
    /// No such process, no permission, or somebody else traces it.
    pub fn stop(pid: u32) -> Result<Self, Error> {
        if let Some(tracer) = tracer(pid) {
            return Err(Error::Traced { pid, tracer });
        }
        let mut seen = HashSet::new();
        let mut stopped = Self { tracees: Vec::new(), since: Instant::now() };
        for _ in 0..ROUNDS {
            let fresh: Vec<u32> =
                threads(pid)?.into_iter().filter(|&tid| seen.insert(tid)).collect();
            if fresh.is_empty() {
                return Ok(stopped);
            }
            let first = stopped.tracees.len();
            for tid in fresh {
                match Tracee::seize(tid) {
                    Ok(tracee) => stopped.tracees.push(tracee),
                    // It has ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    // So it says of a thread that is ending, too.
                    Err(error)
                        if error.raw_os_error() == Some(libc::EPERM) && is_ending(pid, tid) => {}
                    Err(error) => return Err(convert(pid, "threads by ptrace", error)),
                }
            }
            let new = &mut stopped.tracees[first..];
            new.iter().for_each(|tracee| drop(tracee.interrupt()));
            let until = Instant::now() + PATIENCE;
            for tracee in new {
                tracee.wait(until).map_err(|error| convert(pid, "threads by ptrace", error))?;
            }
        }
        Err(Error::Restless(pid))
    }

    /// The threads.
    pub fn tracees(&mut self) -> &mut [Tracee] {
        &mut self.tracees
    }

    /// Lets all of them go; how long they stood.
    #[must_use]
    pub fn release(self) -> Duration {
        drop(self.tracees);
        self.since.elapsed()
    }
}

fn tracer(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(path(pid, "status")).ok()?;
    field(&status, "TracerPid")?.parse().ok().filter(|&tracer| tracer != 0)
}

fn is_ending(pid: u32, tid: u32) -> bool {
    let status = fs::read_to_string(path(pid, &format!("task/{tid}/status"))).unwrap_or_default();
    field(&status, "State").is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// The numbers of its threads.
///
/// # Errors
/// No such process.
pub fn threads(pid: u32) -> Result<Vec<u32>, Error> {
    let entries = fs::read_dir(path(pid, "task")).map_err(|error| convert(pid, "task", error))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}
