//! The child's notebook: what an experiment saw, written down without allocating.
//!
//! An experiment must not disturb the heap that it watches, so nothing here
//! touches the allocator: text is formatted on the stack, `/proc` is read into
//! the stack, and every record goes out at once by a bare `write`, so that the
//! notes survive even when the experiment ends in an abort.
//!
//! The notes are lines on standard output (a memfd that the parent reads
//! afterwards):
//! ```text
//! step NAME                 what follows belongs to this step
//! number KEY DECIMAL
//! maps LABEL … end          a copy of /proc/self/maps
//! memory LABEL … end        a copy of /proc/self/smaps_rollup
//! skip WHY                  the machine cannot run this experiment
//! done                      the experiment reached its end
//! ```
//! A step is also announced to the tracer, by a `getppid` with a magic argument:
//! harmless, and no allocator calls it.

use core::ffi::CStr;
use core::fmt::{self, Write};

use libc::c_int;

/// First argument of the `getppid` that announces a step; the second is the step's number.
pub const STEP_MAGIC: u64 = 0x6865_6170_7769_7365;
/// The step number that closes the last step: calls after it are not recorded.
pub const STEP_END: u64 = u64::MAX;
/// Argument of the probe's own questions after the break, which allocators ask with 0: not recorded.
pub const BREAK_QUESTION: u64 = 1;

/// Where the notes go.
const NOTES_FD: c_int = 1;

/// The experiment's view of the world outside its heap.
pub struct Probe {
    steps: u64,
}

impl Probe {
    pub(super) fn new() -> Self {
        let mut probe = Self { steps: 0 };
        probe.number("page-bytes", page_bytes());
        probe.maps("start");
        probe
    }

    /// Begins a step: system calls from here on are recorded under its name.
    pub fn step(&mut self, name: &str) {
        self.record(format_args!("step {name}\n"));
        self.steps += 1;
        announce(self.steps);
    }

    /// Ends the last step, so that what follows (joining threads, say) is not recorded.
    pub fn end_steps(&mut self) {
        announce(STEP_END);
    }

    /// Notes a number: a size, a count, an answer (0 or 1).
    pub fn number(&mut self, key: &str, value: usize) {
        self.record(format_args!("number {key} {value}\n"));
    }

    /// Notes a number that belongs to a series: `key` and its index.
    pub fn item(&mut self, key: &str, index: usize, value: usize) {
        self.record(format_args!("number {key}.{index} {value}\n"));
    }

    /// Copies `/proc/self/maps`.
    pub fn maps(&mut self, label: &str) {
        self.copy("maps", label, c"/proc/self/maps");
    }

    /// Copies `/proc/self/smaps_rollup`: resident memory counted page by page, not from batched counters.
    pub fn memory(&mut self, label: &str) {
        self.copy("memory", label, c"/proc/self/smaps_rollup");
    }

    /// Ends the process: this machine cannot run the experiment.
    pub fn skip(&mut self, why: &str) -> ! {
        self.record(format_args!("skip {why}\n"));
        exit(0);
    }

    /// The program break, asked of the kernel and not of libc's note of it.
    pub fn kernel_break(&self) -> usize {
        // SAFETY: the break cannot fall below the heap's start, so this moves nothing and only answers.
        unsafe { libc::syscall(libc::SYS_brk, BREAK_QUESTION) as usize }
    }

    /// Page faults of this process that needed no disk.
    pub fn minor_faults(&self) -> usize {
        // SAFETY: an all-zero rusage is a valid value of plain integers.
        let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
        // SAFETY: `usage` is a live, writable rusage.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
        usage.ru_minflt as usize
    }

    /// Sleeps; an interrupted sleep is not resumed, which no experiment minds.
    pub fn sleep_ms(&self, ms: u64) {
        let time =
            libc::timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as _ };
        // SAFETY: `time` is a valid timespec, the remainder is not asked for.
        unsafe { libc::nanosleep(&raw const time, core::ptr::null_mut()) };
    }

    pub(super) fn done(mut self) -> ! {
        self.end_steps();
        self.record(format_args!("done\n"));
        exit(0);
    }

    fn copy(&mut self, kind: &str, label: &str, path: &CStr) {
        // SAFETY: `path` is a C string; open allocates nothing.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd < 0 {
            self.skip("/proc/self is not readable here");
        }
        self.record(format_args!("{kind} {label}\n"));
        let mut buffer = [0_u8; 4096];
        loop {
            // SAFETY: reads at most the buffer's length into the buffer.
            let got = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
            if got <= 0 {
                break;
            }
            write_all(&buffer[..got as usize]);
        }
        // SAFETY: `fd` was opened above and is closed once.
        unsafe { libc::close(fd) };
        self.record(format_args!("end\n"));
    }

    fn record(&mut self, record: fmt::Arguments<'_>) {
        let mut line = Line { text: [0; 256], len: 0 };
        // A record that does not fit is cut: the parent then reports it as missing.
        let _ = line.write_fmt(record);
        write_all(&line.text[..line.len]);
    }
}

/// Ends the process without destructors, exit handlers or a flush of anything.
pub fn exit(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// The kernel's page size.
pub fn page_bytes() -> usize {
    // SAFETY: sysconf has no preconditions and reads the auxiliary vector here.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

fn announce(step: u64) {
    // SAFETY: getppid takes no arguments; the kernel ignores these, the tracer reads them.
    unsafe { libc::syscall(libc::SYS_getppid, STEP_MAGIC, step) };
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: writes at most the slice's length from the slice.
        let wrote = unsafe { libc::write(NOTES_FD, bytes.as_ptr().cast(), bytes.len()) };
        if wrote <= 0 {
            exit(4);
        }
        bytes = &bytes[wrote as usize..];
    }
}

/// One record on the stack.
struct Line {
    text: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
