//! Which signals go on to the program, and taking them one at a time.
//!
//! While a program runs under `--report`, every forwardable signal is blocked
//! here and fetched with `sigwaitinfo`: no handlers, no races, and the kernel
//! says who sent it. The terminal sends to the whole foreground process group,
//! the program included, so what came from there is not delivered a second time:
//!
//! | signal | from | forwarded |
//! |---|---|---|
//! | INT QUIT TSTP WINCH | the terminal (`SI_KERNEL`) | no: the program has it already |
//! | HUP | the terminal | only if we lead the session: then the kernel told nobody else |
//! | any | the program itself (`kill(0, …)`) | no |
//! | CONT | anyone | if the program is stopped |
//! | any other | anyone, also the kernel's timers | yes, with its value if it was queued |

use std::io;
use std::mem::MaybeUninit;

use libc::{c_int, pid_t, siginfo_t, sigset_t};

/// Synchronous faults, what cannot be caught, and what is about ourselves alone.
const KEPT: &[c_int] = &[
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
];

/// A signal that has arrived.
pub struct Arrival {
    /// Its number.
    pub signal: c_int,
    code: c_int,
    sender: pid_t,
    value: libc::sigval,
}

/// The signals of this module, blocked; the mask of before, for the program.
#[derive(Clone, Copy)]
pub struct Blocked {
    set: sigset_t,
    before: sigset_t,
    child_action_before: libc::sigaction,
}

impl Blocked {
    /// Blocks them. SIGCHLD must not be ignored meanwhile, or there is nothing to wait for.
    pub fn new() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        let mut child_action_before = MaybeUninit::uninit();
        // SAFETY: every pointer is to a live local of the right type, and each
        // value is read only after the call that fills it in; sigfillset and
        // sigdelset cannot fail on valid signal numbers. An all-zero sigaction is
        // SIG_DFL with no flags and an empty mask.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            let mut set = set.assume_init();
            for signal in KEPT {
                libc::sigdelset(&mut set, *signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &set, before.as_mut_ptr()))?;
            let default: libc::sigaction = std::mem::zeroed();
            check(libc::sigaction(libc::SIGCHLD, &default, child_action_before.as_mut_ptr()))?;
            Ok(Self {
                set,
                before: before.assume_init(),
                child_action_before: child_action_before.assume_init(),
            })
        }
    }

    /// Gives the program the signals as we got them; to be called between fork and exec.
    pub fn restore(&self) -> io::Result<()> {
        // SAFETY: both structures were filled in by the kernel in `new`; the two
        // calls are async-signal-safe, as code after a fork must be.
        unsafe {
            check(libc::sigaction(libc::SIGCHLD, &self.child_action_before, std::ptr::null_mut()))?;
            check(libc::sigprocmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()))
        }
    }

    /// Sleeps until the next one arrives.
    pub fn next(&self) -> io::Result<Arrival> {
        let mut info = MaybeUninit::<siginfo_t>::zeroed();
        loop {
            // SAFETY: the set is initialised and `info` has room for a siginfo_t.
            let signal = unsafe { libc::sigwaitinfo(&self.set, info.as_mut_ptr()) };
            if signal > 0 {
                // SAFETY: filled in by the call (and zeroed before it); the sender
                // and value fields are plain integers, meaningless at worst.
                let info = unsafe { info.assume_init() };
                // SAFETY: as above: reading a union of integers.
                let (sender, value) = unsafe { (info.si_pid(), info.si_value()) };
                return Ok(Arrival { signal, code: info.si_code, sender, value });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Stops this process with `signal`, as the program was, so that the shell sees the job stopped.
    /// Returns once it is continued.
    pub fn stop_like(&self, signal: c_int) {
        let mut only = MaybeUninit::uninit();
        // SAFETY: `only` is initialised by sigemptyset before use. Dispositions are
        // the inherited ones (no handler of ours exists), so unblocking the pending
        // signal stops this process or, if it is ignored, does nothing.
        unsafe {
            libc::sigemptyset(only.as_mut_ptr());
            let mut only = only.assume_init();
            libc::sigaddset(&mut only, signal);
            libc::raise(signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &only, std::ptr::null_mut());
            libc::sigprocmask(libc::SIG_BLOCK, &self.set, std::ptr::null_mut());
        }
    }
}

impl Arrival {
    /// Sends it on to `child`, unless the child has it already.
    pub fn forward(&self, child: pid_t, child_is_stopped: bool) {
        let wanted = match self.signal {
            libc::SIGCONT => child_is_stopped,
            _ if self.sent_by(child) => false,
            libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGWINCH => {
                self.code != libc::SI_KERNEL
            }
            libc::SIGHUP => self.code != libc::SI_KERNEL || leads_session(),
            _ => true,
        };
        if wanted {
            // SAFETY: no memory is touched. The child is not reaped yet (the caller
            // waits for it in the same thread), so the pid is still its own; a
            // failure means that it may not get the signal, as if sent directly.
            unsafe {
                if self.code == libc::SI_QUEUE {
                    libc::sigqueue(child, self.signal, self.value);
                } else {
                    libc::kill(child, self.signal);
                }
            }
        }
    }

    /// `si_pid` means something only in signals that a process sent.
    fn sent_by(&self, child: pid_t) -> bool {
        [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&self.code) && self.sender == child
    }
}

fn leads_session() -> bool {
    nix::unistd::getsid(None).is_ok_and(|leader| leader == nix::unistd::getpid())
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
