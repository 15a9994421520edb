//! Stopping single threads with ptrace, and letting them go.
//!
//! ```text
//! seize ─► interrupt ─► wait ─► Stop ─► release        (or: our tracing thread ends)
//! ```
//! `PTRACE_SEIZE` sends no signal and sets nothing: when the thread that traces ends,
//! killed or not, the kernel lets everything it traced go on. A thread that was
//! in a system call has it restarted by the kernel, except those that every stop
//! ends (`epoll_wait` and a few more return EINTR then, see signal(7)).

use std::io;
use std::ptr;
use std::time::{Duration, Instant};

/// Why a thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Because it was interrupted.
    Interrupted,
    /// A signal is about to be delivered; the release delivers it.
    Signal(i32),
    /// Job control has stopped the process.
    Group,
    /// It has ended.
    Gone,
}

/// A thread that this thread traces. Released when dropped, if it stands still.
#[derive(Debug)]
pub struct Tracee {
    tid: i32,
    stop: Option<Stop>,
}

/// Time between two looks at a thread that is to stop, at first.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LAST_PAUSE: Duration = Duration::from_millis(2);

impl Tracee {
    /// Begins to trace; the thread goes on.
    ///
    /// # Errors
    /// `EPERM`: no permission, or somebody else traces it. `ESRCH`: no such thread.
    pub fn seize(tid: u32) -> io::Result<Self> {
        let tid = tid.cast_signed();
        request(libc::PTRACE_SEIZE, tid, 0)?;
        Ok(Self { tid, stop: None })
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub fn interrupt(&self) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, self.tid, 0)
    }

    /// Waits until it stands still; none if it did not by then (it sleeps in the
    /// kernel, uninterruptible).
    ///
    /// # Errors
    /// What `waitpid` said.
    pub fn wait(&mut self, until: Instant) -> io::Result<Option<Stop>> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut status = 0;
            // SAFETY: a number to write to.
            let got =
                unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
            match got {
                0 if Instant::now() >= until => return Ok(None),
                0 => std::thread::sleep(pause),
                -1 => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::EINTR) => continue,
                        Some(libc::ECHILD) => return Ok(Some(self.note(Stop::Gone))),
                        _ => return Err(error),
                    }
                }
                _ => return Ok(Some(self.note(stop_of(status)))),
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn note(&mut self, stop: Stop) -> Stop {
        self.stop = Some(stop);
        stop
    }

    /// The number of the thread.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.cast_unsigned()
    }

    /// Its registers; it stands still.
    ///
    /// # Errors
    /// `ESRCH` if it does not.
    #[cfg(target_arch = "x86_64")]
    pub fn registers(&self) -> io::Result<libc::user_regs_struct> {
        // SAFETY: plain numbers, for which zeros are valid.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, self.tid, (&raw mut registers).expose_provenance())?;
        Ok(registers)
    }

    /// Sets its registers; it stands still.
    ///
    /// # Errors
    /// `ESRCH` if it does not, `EIO` for values that no thread can have.
    #[cfg(target_arch = "x86_64")]
    pub fn set_registers(&self, mut registers: libc::user_regs_struct) -> io::Result<()> {
        request(libc::PTRACE_SETREGS, self.tid, (&raw mut registers).expose_provenance())
    }

    /// Where the C library keeps the thread's restartable sequence, if the kernel tells
    /// (Linux 5.13) and it has one.
    #[must_use]
    pub fn rseq_area(&self) -> Option<usize> {
        const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
        #[repr(C)]
        #[derive(Default)]
        struct Configuration {
            address: u64,
            bytes: u32,
            signature: u32,
            flags: u32,
            pad: u32,
        }
        let mut found = Configuration::default();
        let data: *mut Configuration = &raw mut found;
        // SAFETY: the kernel writes at most the bytes that we name to where we say.
        let got = unsafe {
            libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, self.tid, size_of::<Configuration>(), data)
        };
        (got > 0 && found.address != 0).then_some(found.address as usize)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        let signal = match self.stop {
            Some(Stop::Signal(signal)) => signal as usize,
            Some(Stop::Interrupted | Stop::Group) => 0,
            // It runs: the kernel lets it go when this thread ends.
            Some(Stop::Gone) | None => return,
        };
        // It may have been killed meanwhile.
        let _ = request(libc::PTRACE_DETACH, self.tid, signal);
    }
}

fn stop_of(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Gone;
    }
    let signal = libc::WSTOPSIG(status);
    if status >> 16 != libc::PTRACE_EVENT_STOP {
        return Stop::Signal(signal);
    }
    match signal {
        libc::SIGTRAP => Stop::Interrupted,
        _ => Stop::Group,
    }
}

fn request(what: libc::c_uint, tid: i32, data: usize) -> io::Result<()> {
    let nothing: *mut libc::c_void = ptr::null_mut();
    let data: *mut libc::c_void = ptr::with_exposed_provenance_mut(data);
    // SAFETY: these requests read or write at most the structure at `data`, which the
    // callers above lend for the call.
    if unsafe { libc::ptrace(what, tid, nothing, data) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
