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
    /// At the beginning or the end of a system call ([`Tracee::resume_to_call`]).
    Call,
    /// In a `clone` that has just made a process, which this thread traces, too
    /// ([`Tracee::follow_clones`]).
    Cloned,
    /// It has ended.
    Gone,
}

/// One instruction of a seccomp filter: `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// Instructions to pass by if a comparison holds.
    pub if_true: u8,
    /// And if not.
    pub if_false: u8,
    /// A constant.
    pub k: u32,
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

    /// The signals that it blocks, as it will when it goes on. It stands still.
    ///
    /// # Errors
    /// `ESRCH` if it does not.
    pub fn blocked_signals(&self) -> io::Result<u64> {
        let mut mask = 0u64;
        let data: *mut u64 = &raw mut mask;
        self.request_at(libc::PTRACE_GETSIGMASK, size_of::<u64>(), data.expose_provenance())?;
        Ok(mask)
    }

    /// Sets the signals that it blocks; it stands still.
    ///
    /// # Errors
    /// `ESRCH` if it does not.
    pub fn block_signals(&self, mut mask: u64) -> io::Result<()> {
        let data: *mut u64 = &raw mut mask;
        self.request_at(libc::PTRACE_SETSIGMASK, size_of::<u64>(), data.expose_provenance())
    }

    /// Its floating-point and vector registers, as `XSAVE` lays them out; it stands still.
    ///
    /// # Errors
    /// `ESRCH` if it does not, `ENODEV` on a processor without.
    #[cfg(target_arch = "x86_64")]
    pub fn extended_state(&self) -> io::Result<Vec<u8>> {
        const NT_X86_XSTATE: usize = 0x202;
        /// More than any processor has.
        const MOST: usize = 64 << 10;
        let mut bytes = vec![0u8; MOST];
        let mut into = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: MOST };
        let data: *mut libc::iovec = &raw mut into;
        self.request_at(libc::PTRACE_GETREGSET, NT_X86_XSTATE, data.expose_provenance())?;
        bytes.truncate(into.iov_len);
        Ok(bytes)
    }

    /// From here on processes that it makes by `clone` are traced, and [`Stop::Cloned`] is told.
    ///
    /// # Errors
    /// `ESRCH` if it does not stand still.
    pub fn follow_clones(&self) -> io::Result<()> {
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACESYSGOOD;
        request(libc::PTRACE_SETOPTIONS, self.tid, options as usize)
    }

    /// Should this thread of ours end, the kernel kills it.
    ///
    /// # Errors
    /// `ESRCH` if it does not stand still.
    pub fn bind_to_us(&self) -> io::Result<()> {
        request(libc::PTRACE_SETOPTIONS, self.tid, libc::PTRACE_O_EXITKILL as usize)
    }

    /// Lets it go on to the beginning, or the end, of its next system call.
    ///
    /// # Errors
    /// `ESRCH` if it does not stand still.
    pub fn resume_to_call(&mut self) -> io::Result<()> {
        self.stop = None;
        request(libc::PTRACE_SYSCALL, self.tid, 0)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// `ESRCH` if it does not stand still.
    pub fn resume(&mut self) -> io::Result<()> {
        self.stop = None;
        request(libc::PTRACE_CONT, self.tid, 0)
    }

    /// The process that the `clone` has made in which it stands ([`Stop::Cloned`]).
    ///
    /// # Errors
    /// `ESRCH` if it does not stand still.
    pub fn cloned(&self) -> io::Result<Self> {
        let mut number: libc::c_ulong = 0;
        let data: *mut libc::c_ulong = &raw mut number;
        request(libc::PTRACE_GETEVENTMSG, self.tid, data.expose_provenance())?;
        let tid = i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
        Ok(Self { tid, stop: None })
    }

    /// Kills it, which must be the only thread of its process, and waits for its end.
    /// False if it does not end.
    pub fn kill(&mut self) -> bool {
        /// Memory of many GiB takes some time to go.
        const ENDS_WITHIN: Duration = Duration::from_secs(60);
        if self.stop == Some(Stop::Gone) {
            return true;
        }
        // SAFETY: two numbers; it has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.tid, libc::SIGKILL) };
        let until = Instant::now() + ENDS_WITHIN;
        loop {
            match self.wait(until) {
                Ok(Some(Stop::Gone)) => return true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Why it stands still, if it does.
    #[must_use]
    pub fn stopped_by(&self) -> Option<Stop> {
        self.stop
    }

    /// Whether its system calls are sent to a handler of its own
    /// (`PR_SET_SYSCALL_USER_DISPATCH`); no, where the kernel does not tell (before Linux 6.4).
    #[must_use]
    pub fn dispatches_calls(&self) -> bool {
        const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: libc::c_uint = 0x4211;
        // Mode, selector, offset, length.
        let mut found = [0u64; 4];
        let data: *mut [u64; 4] = &raw mut found;
        self.request_at(
            PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
            size_of::<[u64; 4]>(),
            data.expose_provenance(),
        )
        .is_ok_and(|()| found[0] != 0)
    }

    /// One of its seccomp filters, counted from the newest; none if it has fewer.
    ///
    /// # Errors
    /// The kernel does not show them: `EACCES` to who is not root or has filters itself, `EIO`
    /// where it cannot, `EINVAL` for the mode that has none.
    pub fn filter(&self, index: usize) -> io::Result<Option<Vec<Instruction>>> {
        const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
        /// `BPF_MAXINSNS`: none is longer.
        const MOST: usize = 4096;
        let mut instructions = vec![Instruction::default(); MOST];
        let address: *mut libc::c_void = ptr::without_provenance_mut(index);
        // SAFETY: the kernel writes one filter to where we say, `MOST` instructions at most.
        let got = unsafe {
            libc::ptrace(PTRACE_SECCOMP_GET_FILTER, self.tid, address, instructions.as_mut_ptr())
        };
        match usize::try_from(got) {
            Ok(count) => {
                instructions.truncate(count);
                Ok(Some(instructions))
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                error => Err(error),
            },
        }
    }

    fn request_at(&self, what: libc::c_uint, address: usize, data: usize) -> io::Result<()> {
        request_at(what, self.tid, address, data)
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
            Some(Stop::Interrupted | Stop::Group | Stop::Call | Stop::Cloned) => 0,
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
    if signal == libc::SIGTRAP | 0x80 {
        return Stop::Call;
    }
    if status >> 16 == libc::PTRACE_EVENT_CLONE {
        return Stop::Cloned;
    }
    if status >> 16 != libc::PTRACE_EVENT_STOP {
        return Stop::Signal(signal);
    }
    match signal {
        libc::SIGTRAP => Stop::Interrupted,
        _ => Stop::Group,
    }
}

fn request(what: libc::c_uint, tid: i32, data: usize) -> io::Result<()> {
    request_at(what, tid, 0, data)
}

fn request_at(what: libc::c_uint, tid: i32, address: usize, data: usize) -> io::Result<()> {
    let address: *mut libc::c_void = ptr::without_provenance_mut(address);
    let data: *mut libc::c_void = ptr::with_exposed_provenance_mut(data);
    // SAFETY: these requests read or write at most the structure at `data`, which the
    // callers above lend for the call.
    if unsafe { libc::ptrace(what, tid, address, data) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
