//! One measured run of one program under one allocator: started, checked to
//! really have the library mapped, waited for with its resource usage.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No run may take longer.
const LIMIT: Duration = Duration::from_secs(180);

/// What one run cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time of the program and the children it waited for.
    pub cpu_seconds: f64,
    /// Of that, in the kernel.
    pub system_seconds: f64,
    /// From start to end.
    pub wall_seconds: f64,
    /// The most resident memory.
    pub peak_bytes: u64,
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Context switches, of its own will and not.
    pub switches: u64,
}

/// Runs `command` with its output in `output`.
///
/// `library` must turn up among the mappings of the process.
pub fn run(command: &mut Command, library: Option<&Path>, output: &Path) -> Result<Usage> {
    command.stdout(File::create(output)?);
    let errors = output.with_extension("err");
    command.stdin(Stdio::null()).stderr(File::create(&errors)?);
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
    let pid = child.id() as i32;
    // SAFETY: pidfd_open takes a process id and flags, and gives a descriptor.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        bail!("pidfd_open: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and nobody else's.
    let ended = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    let loaded = library.is_none_or(|library| wait_for_library(pid, library, &ended));
    if !wait_until(&ended, LIMIT.saturating_sub(start.elapsed())) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        reap(pid)?;
        bail!("took longer than {} s", LIMIT.as_secs());
    }
    let (status, usage) = reap(pid)?;
    let wall_seconds = start.elapsed().as_secs_f64();
    if status != 0 {
        let text = fs::read_to_string(&errors).unwrap_or_default();
        let how = if libc::WIFSIGNALED(status) {
            format!("killed by signal {}", libc::WTERMSIG(status))
        } else {
            format!("exit code {}", libc::WEXITSTATUS(status))
        };
        bail!("{how}: {}", text.lines().last().unwrap_or_default());
    }
    if !loaded {
        bail!("the library was never mapped");
    }
    Ok(usage_of(&usage, wall_seconds))
}

fn usage_of(usage: &libc::rusage, wall_seconds: f64) -> Usage {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        system_seconds: seconds(usage.ru_stime),
        wall_seconds,
        // The kernel carries this over exec: never below what this program itself has.
        peak_bytes: (usage.ru_maxrss as u64) << 10,
        minor_faults: usage.ru_minflt as u64,
        switches: (usage.ru_nvcsw + usage.ru_nivcsw) as u64,
    }
}

/// Looks at the child's mappings until the library is there or the child has ended.
fn wait_for_library(pid: i32, library: &Path, ended: &OwnedFd) -> bool {
    let real = fs::canonicalize(library).unwrap_or_else(|_| library.to_owned());
    let name = real.to_string_lossy().into_owned();
    loop {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        if maps.contains(&name) {
            return true;
        }
        if wait_until(ended, Duration::from_millis(1)) {
            return false;
        }
    }
}

/// Whether the process has ended within `limit`.
fn wait_until(ended: &OwnedFd, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: ended.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, a local variable.
    unsafe { libc::poll(&mut poll, 1, limit.as_millis() as i32) > 0 }
}

fn reap(pid: i32) -> Result<(i32, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all zero is a valid rusage.
    let mut usage = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, and both results are local variables.
    if unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } != pid {
        bail!("wait4: {}", std::io::Error::last_os_error());
    }
    Ok((status, usage))
}
