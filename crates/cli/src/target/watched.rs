//! `-- CMD`: runs a program and looks at it when it ends, and on Ctrl-C.
//!
//! The kernel stops a traced program on its way out while its memory is still
//! there; that is when we look. Ctrl-C reaches the program as always, after a look.
//! Stopped, by its terminal or by anybody, it stays stopped until it is continued:
//! that is why it is seized and not just traced (`PTRACE_LISTEN`).

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use libc::{c_int, c_long, pid_t};

use crate::exit::NO_SUCH_PROCESS;
use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND, OURS};

/// Stops of the kernel's own, at the end and after a further exec.
const OPTIONS: c_int = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_TRACEEXEC;

/// When a look is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On its way out.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// Runs the program; `look` is called at each moment, the program standing still.
pub fn run<T>(
    command: &[OsString],
    mut look: impl FnMut(u32, Moment) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| anyhow::anyhow!("no program given"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: one system call, which neither allocates nor takes locks.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let child = command.spawn().map_err(|error| cannot_run(program, &error))?;
    // Ctrl-C is the program's; ours is to look.
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let pid = child.id();
    watch(pid.cast_signed(), |moment| look(pid, moment))
}

/// Why a program could not be started, with the exit code that a shell would give.
pub fn cannot_run(program: &OsStr, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        io::ErrorKind::PermissionDenied => NOT_EXECUTABLE,
        _ => OURS,
    };
    Failure::new(code, format!("{}: {error}", program.to_string_lossy()))
}

fn watch<T>(pid: pid_t, mut look: impl FnMut(Moment) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut seen = None;
    let mut interrupted = false;
    // The first stop is that of exec.
    let mut status = wait(pid)?;
    if libc::WIFSTOPPED(status) {
        seize(pid)?;
        status = wait(pid)?;
    }
    while libc::WIFSTOPPED(status) {
        let signal = libc::WSTOPSIG(status);
        if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8 {
            let by_interrupt = interrupted && end_status(pid)? & 0x7f == libc::SIGINT;
            if !by_interrupt {
                seen = Some(look(Moment::End)?);
            }
            resume(pid, 0)?;
        } else if signal == libc::SIGINT {
            seen = Some(look(Moment::Interrupt)?);
            interrupted = true;
            resume(pid, signal)?;
        } else if status >> 16 == libc::PTRACE_EVENT_STOP && is_stop(signal) {
            tolerate_end(ptrace(libc::PTRACE_LISTEN, pid, 0))?;
        } else {
            let is_event = status >> 16 != 0;
            resume(pid, if is_event { 0 } else { signal })?;
        }
        status = wait(pid)?;
    }
    seen.ok_or_else(|| {
        let how = if libc::WIFSIGNALED(status) {
            format!("killed by {}", signal_name(libc::WTERMSIG(status)))
        } else {
            format!("exit code {}", libc::WEXITSTATUS(status))
        };
        Failure::new(NO_SUCH_PROCESS, format!("the program ended before a look ({how})")).into()
    })
}

fn wait(pid: pid_t) -> io::Result<c_int> {
    loop {
        let mut status = 0;
        // SAFETY: our own child, and an int of ours to write to.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => return Ok(status),
        }
    }
}

fn ptrace(request: libc::c_uint, pid: pid_t, data: c_long) -> io::Result<()> {
    let nothing: *mut libc::c_void = ptr::null_mut();
    // SAFETY: requests without pointers, for a child that we trace.
    match unsafe { libc::ptrace(request, pid, nothing, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// From the stop at exec, where it is traced by its own wish, to seized and running.
fn seize(pid: pid_t) -> io::Result<()> {
    // It waits in a stop of its own while nobody traces it.
    ptrace(libc::PTRACE_DETACH, pid, c_long::from(libc::SIGSTOP))?;
    ptrace(libc::PTRACE_SEIZE, pid, c_long::from(OPTIONS))?;
    // Nobody else has stopped it yet: it has run no instruction.
    // SAFETY: a signal to our own child.
    match unsafe { libc::kill(pid, libc::SIGCONT) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Goes on.
fn resume(pid: pid_t, signal: c_int) -> io::Result<()> {
    tolerate_end(ptrace(libc::PTRACE_CONT, pid, c_long::from(signal)))
}

/// A child that was killed meanwhile needs no push.
fn tolerate_end(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// The status that it is about to end with.
fn end_status(pid: pid_t) -> io::Result<c_int> {
    let mut message: libc::c_ulong = 0;
    let nothing: *mut libc::c_void = ptr::null_mut();
    // SAFETY: the kernel writes one long to where we say.
    match unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, nothing, &raw mut message) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(message as c_int),
    }
}

fn is_stop(signal: c_int) -> bool {
    matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

fn signal_name(signal: c_int) -> String {
    // SAFETY: a static string, or one of this thread's.
    let text = unsafe { libc::strsignal(signal) };
    if text.is_null() {
        return format!("signal {signal}");
    }
    // SAFETY: not null, so a C string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
