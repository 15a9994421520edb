//! Runs the program as a child and stays until it ends.
//!
//! Invariant: the program cannot tell that we are there, but for its parent's
//! pid: same process group, terminal, descriptors, signal mask and dispositions.
//! It stops, we stop; we are continued, it is continued.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use libc::{c_int, pid_t, rusage};
use serde::Serialize;

use super::signals::Blocked;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum End {
    /// It returned or called `exit`.
    Exited {
        /// Its exit code.
        code: u8,
    },
    /// A signal killed it.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
}

impl End {
    /// What a shell would report.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited { code } => code,
            Self::Killed { signal, .. } => 128u8.saturating_add(signal as u8),
        }
    }
}

/// What the kernel says of a program that has ended.
pub struct Outcome {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub end: End,
    /// From the fork to the end.
    pub wall: Duration,
    /// Its resources, with those of the descendants it waited for.
    pub usage: rusage,
}

/// Starts `command` and waits for it, passing signals on.
pub fn supervise(command: &mut Command) -> io::Result<Outcome> {
    let signals = Blocked::new()?;
    // SAFETY: the closure makes two async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(move || signals.restore()) };
    let started = Instant::now();
    let spawned = command.spawn();
    let child = match spawned {
        // The Child is dropped without a wait: the loop below does that itself, to get the rusage.
        Ok(child) => child.id(),
        Err(error) => {
            signals.restore()?;
            return Err(error);
        }
    };
    let pid = child as pid_t;

    let mut stopped = false;
    loop {
        let arrival = signals.next()?;
        if arrival.signal != libc::SIGCHLD {
            arrival.forward(pid, stopped);
            continue;
        }
        let mut follow = None;
        // One SIGCHLD may stand for several changes.
        while let Some((status, usage)) = poll(pid)? {
            if libc::WIFSTOPPED(status) {
                stopped = true;
                follow = Some(libc::WSTOPSIG(status));
            } else if libc::WIFCONTINUED(status) {
                stopped = false;
                follow = None;
            } else {
                let wall = started.elapsed();
                return Ok(Outcome { pid: child, end: end_of(status), wall, usage });
            }
        }
        // SIGSTOP was meant for the program alone: whoever sent it will continue it.
        if let Some(signal @ (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)) = follow {
            signals.stop_like(signal);
        }
    }
}

/// A change of state that nobody has fetched yet.
fn poll(pid: pid_t) -> io::Result<Option<(c_int, rusage)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<rusage>::zeroed();
    let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: both pointers are to live locals of the right type.
    match unsafe { libc::wait4(pid, &mut status, options, usage.as_mut_ptr()) } {
        0 => Ok(None),
        // SAFETY: filled in by the call; zeroed before, so valid in any case.
        changed if changed == pid => Ok(Some((status, unsafe { usage.assume_init() }))),
        _ => Err(io::Error::last_os_error()),
    }
}

fn end_of(status: c_int) -> End {
    if libc::WIFSIGNALED(status) {
        End::Killed { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
    } else {
        End::Exited { code: libc::WEXITSTATUS(status) as u8 }
    }
}
