//! The memory that the recorded processes share with us: made here, mapped by them.
//!
//! A memory file without a name: it is gone when the last process that has it
//! ends, and sealed, so that a program that truncates it cannot kill us. The
//! library finds it by our `/proc/PID/fd/N`.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use heapwise_layout::live::{
    CHUNK_BYTES, CHUNK_FREE, CHUNK_HEAD_BYTES, CHUNKS, ChunkHead, LIVE_FILE_BYTES, LIVE_MAGIC,
    LIVE_NAME, LIVE_VERSION, LiveHeader, NO_DESCRIPTOR, RUNNING, STOPPED, TICK_SHIFT, WRITING,
    chunk_offset,
};
use heapwise_trace::Anchor;
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

/// Chunks at the start.
const FIRST_CHUNKS: usize = 64;
/// More chunks at once.
const STEP_CHUNKS: usize = 64;
/// Beyond what idle threads hold, this many chunks may wait to be collected before threads wait.
const SLACK_CHUNKS: usize = 256;

/// What to record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Mean distance of samples in bytes; 0 for everything.
    pub sample_bytes: u64,
    /// Most frames of a stack, 0 without.
    pub stack_depth: u32,
    /// Bytes of stack to copy with each sample.
    pub snippet_bytes: u32,
    /// Of blocks from so many bytes on it is asked how much of them is in memory; 0 for none.
    pub touched_bytes: u64,
}

/// The shared memory.
pub struct Live {
    map: MmapRaw,
    file: File,
}

impl Live {
    /// Makes one.
    pub fn create(wanted: Wanted) -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(LIVE_NAME, flags)?);
        set_length(&file, LIVE_FILE_BYTES as u64)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
        let map = MmapOptions::new().len(LIVE_FILE_BYTES).no_reserve_swap().map_raw(&file)?;
        let live = Self { map, file };
        let header = live.header();
        header.sample_bytes.store(wanted.sample_bytes, Relaxed);
        header.stack_depth.store(wanted.stack_depth, Relaxed);
        header.snippet_bytes.store(wanted.snippet_bytes, Relaxed);
        header.touched_bytes.store(wanted.touched_bytes, Relaxed);
        header.pid_namespace.store(pid_namespace(), Relaxed);
        header.recorder_pid.store(std::process::id(), Relaxed);
        header.live_descriptor.store(live.descriptor(), Relaxed);
        header.trace_descriptor.store(NO_DESCRIPTOR, Relaxed);
        header.stop.store(RUNNING, Relaxed);
        header.version.store(LIVE_VERSION, Relaxed);
        for chunk in 0..FIRST_CHUNKS {
            live.set_free(chunk);
        }
        live.beat();
        header.magic.store(LIVE_MAGIC, Release);
        Ok(live)
    }

    /// Where the library finds it while this process lives.
    pub fn path(&self) -> OsString {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Its descriptor here.
    pub fn descriptor(&self) -> u32 {
        self.file.as_raw_fd().unsigned_abs()
    }

    /// The header.
    pub fn header(&self) -> &LiveHeader {
        // SAFETY: the mapping is as long as the file, page-aligned, begins with the header and
        // lives as long as `self`; the header is made of atomics, for which any bytes will do.
        unsafe { &*self.map.as_ptr().cast::<LiveHeader>() }
    }

    /// The head of a chunk.
    pub fn head(&self, chunk: usize) -> &ChunkHead {
        assert!(chunk < CHUNKS);
        // SAFETY: as above; chunks lie behind each other inside the mapping.
        unsafe { &*self.map.as_ptr().add(chunk_offset(chunk)).cast::<ChunkHead>() }
    }

    /// A copy of a chunk's bytes `from..to`, which its writer has published.
    pub fn records(&self, chunk: usize, from: usize, to: usize) -> Vec<u8> {
        assert!(chunk < CHUNKS);
        let to = to.min(CHUNK_BYTES);
        let mut out = Vec::with_capacity(to.saturating_sub(from));
        if from >= CHUNK_HEAD_BYTES && from < to {
            // SAFETY: inside the mapping. The writer does not touch what it has published; a
            // program that does so all the same can only spoil the copy. The whole copy is
            // initialised before its length is set.
            unsafe {
                let start = self.map.as_ptr().add(chunk_offset(chunk) + from);
                std::ptr::copy_nonoverlapping(start, out.as_mut_ptr(), to - from);
                out.set_len(to - from);
            }
        }
        out
    }

    /// Makes a chunk free.
    pub fn release(&self, chunk: usize) {
        self.head(chunk).state.store(CHUNK_FREE, Relaxed);
        self.set_free(chunk);
    }

    fn set_free(&self, chunk: usize) {
        self.header().free[chunk / 64].fetch_or(1 << (chunk % 64), AcqRel);
    }

    /// Whether threads wait for a chunk.
    pub fn is_wanted(&self) -> bool {
        self.header().starving.load(Acquire) > 0
    }

    /// Tells threads that wait for a chunk that there may be one.
    pub fn tell_freed(&self) {
        let header = self.header();
        header.freed.fetch_add(1, AcqRel);
        if self.is_wanted() {
            futex_wake(&header.freed);
        }
    }

    /// More chunks if those that threads hold open leave few; `made` so far, `open` by threads.
    pub fn grow(&self, made: &mut usize, open: usize) {
        *made = (*made).max(FIRST_CHUNKS);
        let wanted = if self.is_wanted() { open + SLACK_CHUNKS } else { open + FIRST_CHUNKS / 2 };
        let target = (*made + STEP_CHUNKS).min(CHUNKS);
        if *made < wanted.min(CHUNKS) {
            for chunk in *made..target {
                self.set_free(chunk);
            }
            *made = target;
            self.tell_freed();
        }
    }

    /// Waits until a chunk is full, or for `most`.
    pub fn wait(&self, most: Duration) {
        let header = self.header();
        let before = header.filled.load(Acquire);
        header.recorder_waits.store(1, Release);
        let time = libc::timespec {
            tv_sec: most.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(most.subsec_nanos() as i32),
        };
        // SAFETY: a word of the mapping and a time; the kernel writes to neither.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                header.filled.as_ptr(),
                libc::FUTEX_WAIT,
                before,
                &raw const time,
            )
        };
        header.recorder_waits.store(0, Release);
    }

    /// Ends [`wait`](Self::wait), or the next one at once.
    pub fn wake(&self) {
        let header = self.header();
        header.filled.fetch_add(1, AcqRel);
        futex_wake(&header.filled);
    }

    /// Says that we are alive.
    pub fn beat(&self) {
        self.header().heartbeat_ns.store(monotonic_ns(), Relaxed);
    }

    /// Where a reader finds the trace while it is written.
    pub fn tell_trace(&self, descriptor: Option<u32>) {
        self.header().trace_descriptor.store(descriptor.unwrap_or(NO_DESCRIPTOR), Release);
    }

    /// What was recorded before `ns` stands in the trace.
    pub fn tell_collected(&self, ns: u64) {
        self.header().collected_ns.store(ns, Release);
    }

    /// Nothing more is taken; threads that wait go on without.
    pub fn stop(&self) {
        self.header().stop.store(STOPPED, Release);
        self.tell_freed();
    }
}

/// The thread that writes to a chunk reads the counter again at its next record, unless it is
/// writing one: so no time is older than a look of ours.
pub fn end_run(head: &ChunkHead) {
    let left = head.left.load(Relaxed);
    if left != 0 && left != WRITING {
        // The thread may have gone on meanwhile, or take no notice of it this once.
        let _ = head.left.compare_exchange(left, 0, Relaxed, Relaxed);
    }
}

/// Lengthens a memory file, which counts as a file to `ulimit -f` though it takes no disk: as far
/// as the hard limit lets us, and with an error instead of SIGXFSZ beyond that.
fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if bytes > hard {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard)?;
    let done = file.set_len(bytes);
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard)?;
    done
}

fn futex_wake(word: &std::sync::atomic::AtomicU32) {
    // SAFETY: a word of the mapping; the kernel only uses its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// CLOCK_MONOTONIC, ns.
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// Both clocks at about one moment: the tightest of a few tries.
pub fn anchor() -> Anchor {
    let tries = (0..5).map(|_| {
        let before = monotonic_ns();
        let ticks = ticks();
        let after = monotonic_ns();
        (after - before, Anchor { ticks, ns: before + (after - before) / 2 })
    });
    tries.min_by_key(|&(width, _)| width).map_or(Anchor { ticks: 0, ns: 0 }, |(_, anchor)| anchor)
}

/// The counter that records are timed with.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: both instructions are part of every x86_64.
    let counter = unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    };
    counter >> TICK_SHIFT
}

/// Inode of our pid namespace, 0 if unknown.
pub fn pid_namespace() -> u64 {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}
