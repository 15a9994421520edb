//! How the child runs an experiment before anybody else has allocated.
//!
//! The lab starts this very program again as `heapwise __lab NAME`. By the time
//! `main` runs, Rust's runtime has allocated, the heap stands, and nothing can
//! be learnt about the first `malloc`. So the experiment runs from a
//! constructor: the C library calls it with argc and argv before the runtime
//! starts, and it never returns.
//!
//! ```text
//! ld.so → constructors of the libraries → this hook → experiment → _exit
//!                                         └─ any other command line: return → main
//! ```
//! The child waits for one byte on standard input before it begins, so that the
//! tracer can attach first. Only glibc hands argc and argv to constructors.

use core::ffi::{CStr, c_char, c_int};

use super::experiments;
use super::probe::{Probe, exit};

/// First argument that makes this program a child of the lab.
pub const CHILD_COMMAND: &str = "__lab";
/// Seconds after which a child that hangs is ended.
const PATIENCE_SECONDS: u32 = 120;

#[cfg(target_env = "gnu")]
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = hook;

#[cfg_attr(not(target_env = "gnu"), expect(dead_code))]
extern "C" fn hook(argc: c_int, argv: *const *const c_char, _envp: *const *const c_char) {
    if argc != 3 {
        return;
    }
    // SAFETY: the C library passes argc C strings in argv, which live as long as the process.
    let (command, name) = unsafe { (CStr::from_ptr(*argv.add(1)), CStr::from_ptr(*argv.add(2))) };
    if command.to_bytes() != CHILD_COMMAND.as_bytes() {
        return;
    }
    let Some(experiment) = experiments::ALL.iter().find(|e| e.name.as_bytes() == name.to_bytes())
    else {
        exit(2);
    };
    let mut go = 0_u8;
    // SAFETY: reads one byte into `go`; alarm and setrlimit take plain values.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        libc::alarm(PATIENCE_SECONDS);
        if libc::read(0, (&raw mut go).cast(), 1) != 1 {
            exit(3);
        }
    }
    let mut probe = Probe::new();
    (experiment.child)(&mut probe);
    probe.done();
}
