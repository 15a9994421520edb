//! A finished report, `heapwise.report/1`: what `--report=json` prints and the
//! text is made from.
//!
//! Fields keep their meaning within a schema version; new ones may come.
//! Sizes are bytes, times nanoseconds, both unsigned.

use heapwise_layout::report::STATE_EXITED;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::file::Contents;
use super::record::Record;
use crate::run::supervise::{End, Outcome};

/// The name of this format.
pub const SCHEMA: &str = "heapwise.report/1";

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The library that was preloaded; absent with `--anyway`.
    pub library: Option<String>,
    /// Whether the program's own process loaded it.
    pub loaded: bool,
    /// The program's process id.
    pub pid: u32,
    /// How it ended.
    pub end: End,
    /// The exit code of `heapwise run`.
    pub exit_code: u8,
    /// What the kernel says, see [`Kernel`].
    pub kernel: Kernel,
    /// Every process image that loaded the library, in the order of their start.
    pub processes: Vec<Process>,
    /// Process images that the report file had no room for.
    pub processes_lost: u32,
}

/// The kernel's account of the program and the descendants it waited for.
#[derive(Debug, Serialize)]
pub struct Kernel {
    /// From start to end.
    pub wall_ns: u64,
    /// CPU time in the program.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
    /// Highest RSS of any one process.
    pub rss_peak_bytes: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The first image of its process that we saw.
    Start,
    /// A fork child that went on in its parent's image.
    Fork,
    /// The process replaced an earlier image by `exec`.
    Exec,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Ran its exit handlers: the figures are exact.
    Exited,
    /// Ended without them (`_exit`, a signal): the figures lag.
    Ended,
    /// Replaced by a later image of the same process: the figures lag.
    Replaced,
    /// Still there when the report was made: the figures lag.
    Running,
}

/// One process image.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id at the start.
    pub ppid: u32,
    /// 0 for a process's first image, 1 after its first `exec`, …
    pub generation: u32,
    /// The program's last image, the one the text report is about.
    pub main: bool,
    /// Where the image came from.
    pub origin: Origin,
    /// What became of it.
    pub state: State,
    /// Whether the figures are those of the very end.
    pub exact: bool,
    /// The process's name.
    pub comm: String,
    /// From its start to its end, or to the last figures we have.
    pub wall_ns: u64,
    /// Highest RSS.
    pub rss_peak_bytes: u64,
    /// RSS at the last update.
    pub rss_last_bytes: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
    /// Calls to the allocator.
    pub calls: Calls,
    /// The thread caches' share in them.
    pub thread_cache: ThreadCache,
    /// Calls to the kernel for memory.
    pub kernel_calls: KernelCalls,
    /// Bytes given back by madvise, in all.
    pub purged_bytes: u64,
    /// Arenas made, the main one included.
    pub arenas: u64,
    /// The heap at its full count; null if there was none, as exit handlers make it.
    pub heap: Option<Heap>,
}

/// Calls to the allocator by kind.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Calls {
    /// malloc, operator new.
    pub malloc: u64,
    /// calloc.
    pub calloc: u64,
    /// realloc, reallocarray.
    pub realloc: u64,
    /// The aligned variants.
    pub aligned: u64,
    /// free and operator delete of a non-null pointer.
    pub free: u64,
    /// Requests refused with ENOMEM.
    pub failed: u64,
}

impl Calls {
    /// Requests for memory.
    pub fn allocations(&self) -> u64 {
        self.malloc
            .saturating_add(self.calloc)
            .saturating_add(self.realloc)
            .saturating_add(self.aligned)
    }
}

/// How much the thread caches did.
#[derive(Debug, Serialize)]
pub struct ThreadCache {
    /// Allocations that they served alone.
    pub hits: u64,
    /// `hits` by all allocations, 0 to 1; null if there were none.
    pub hit_rate: Option<f64>,
    /// Frees that they took.
    pub frees: u64,
    /// Frees of other threads' chunks, sent home to their arenas.
    pub foreign_frees: u64,
}

/// Calls to the kernel for memory.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "a field is the call of that name")]
pub struct KernelCalls {
    pub brk: u64,
    pub mmap: u64,
    pub munmap: u64,
    pub mremap: u64,
    pub mprotect: u64,
    pub madvise: u64,
}

/// The heap itself.
#[derive(Debug, Serialize)]
pub struct Heap {
    /// Thread caches made.
    pub thread_caches: u64,
    /// Bytes from the system.
    pub system_bytes: u64,
    /// Highest of these.
    pub system_peak_bytes: u64,
    /// Bytes in chunks that the program holds.
    pub live_bytes: u64,
    /// How many chunks that is.
    pub live_chunks: u64,
    /// Of these, bytes in chunks with a mapping of their own.
    pub mapped_bytes: u64,
    /// How many of these.
    pub mapped_chunks: u64,
    /// Bytes that wait in thread caches and inboxes.
    pub cached_bytes: u64,
    /// Bytes in bins and tops.
    pub free_bytes: u64,
}

impl Report {
    /// Puts together what the kernel and the library say. `still_runs` tells of a pid
    /// whether the report file is mapped there.
    pub fn new(
        command: Vec<String>,
        library: Option<String>,
        outcome: &Outcome,
        contents: &Contents,
        still_runs: impl Fn(u32) -> bool,
    ) -> Self {
        let records = &contents.records;
        let mut processes: Vec<Process> = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            // An image that ran its exit handlers is not replaced: a later one with
            // this pid is another process.
            let earlier = processes.iter_mut().rev().find(|earlier| earlier.pid == record.pid);
            let replaces =
                earlier.filter(|earlier| earlier.state != State::Exited && !record.forked);
            let generation = replaces.map_or(0, |earlier| {
                earlier.state = State::Replaced;
                earlier.generation + 1
            });
            let last_of_pid = !records[index + 1..].iter().any(|later| later.pid == record.pid);
            let state = if record.state == STATE_EXITED {
                State::Exited
            } else if last_of_pid && record.pid != outcome.pid && still_runs(record.pid) {
                State::Running
            } else {
                State::Ended
            };
            processes.push(Process::new(record, generation, state));
        }
        let main = processes.iter_mut().rev().find(|process| process.pid == outcome.pid);
        let loaded = main.is_some();
        if let Some(main) = main {
            main.main = true;
        }
        Self {
            schema: SCHEMA,
            command,
            library,
            loaded,
            pid: outcome.pid,
            end: outcome.end,
            exit_code: outcome.end.exit_code(),
            kernel: Kernel::new(outcome),
            processes,
            processes_lost: contents.lost,
        }
    }

    /// The program's own process.
    pub fn main(&self) -> Option<&Process> {
        self.processes.iter().find(|process| process.main)
    }
}

impl Kernel {
    fn new(outcome: &Outcome) -> Self {
        let usage = &outcome.usage;
        let ns = |time: libc::timeval| {
            (time.tv_sec as u64).saturating_mul(1_000_000_000) + time.tv_usec as u64 * 1000
        };
        Self {
            wall_ns: outcome.wall.as_nanos() as u64,
            user_ns: ns(usage.ru_utime),
            system_ns: ns(usage.ru_stime),
            rss_peak_bytes: kib(usage.ru_maxrss as u64),
            minor_faults: usage.ru_minflt as u64,
            major_faults: usage.ru_majflt as u64,
        }
    }
}

impl Process {
    fn new(record: &Record, generation: u32, state: State) -> Self {
        let until = if state == State::Running { now_ns() } else { record.end_ns };
        let calls = Calls {
            malloc: record.malloc_calls,
            calloc: record.calloc_calls,
            realloc: record.realloc_calls,
            aligned: record.aligned_calls,
            free: record.free_calls,
            failed: record.failed_calls,
        };
        let allocations = calls.allocations();
        Self {
            pid: record.pid,
            ppid: record.ppid,
            generation,
            main: false,
            origin: match generation {
                _ if record.forked => Origin::Fork,
                0 => Origin::Start,
                _ => Origin::Exec,
            },
            state,
            exact: state == State::Exited,
            comm: record.comm.clone(),
            wall_ns: until.saturating_sub(record.start_ns),
            rss_peak_bytes: kib(record.rss_peak_kib),
            rss_last_bytes: kib(record.rss_last_kib),
            minor_faults: record.minor_faults,
            major_faults: record.major_faults,
            calls,
            thread_cache: ThreadCache {
                hits: record.cache_hits,
                hit_rate: (allocations > 0)
                    .then(|| (record.cache_hits as f64 / allocations as f64).min(1.0)),
                frees: record.cache_frees,
                foreign_frees: record.foreign_frees,
            },
            kernel_calls: KernelCalls {
                brk: record.brk_calls,
                mmap: record.mmap_calls,
                munmap: record.munmap_calls,
                mremap: record.mremap_calls,
                mprotect: record.mprotect_calls,
                madvise: record.madvise_calls,
            },
            purged_bytes: record.purged_bytes,
            arenas: record.arenas,
            // Whoever counts the heap has a cache to count.
            heap: (record.caches > 0).then_some(Heap {
                thread_caches: record.caches,
                system_bytes: record.system_bytes,
                system_peak_bytes: record.system_peak_bytes,
                live_bytes: record.live_bytes,
                live_chunks: record.live_chunks,
                mapped_bytes: record.mapped_bytes,
                mapped_chunks: record.mapped_chunks,
                cached_bytes: record.cached_bytes,
                free_bytes: record.free_bytes,
            }),
        }
    }
}

fn kib(count: u64) -> u64 {
    count.saturating_mul(1024)
}

fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| (now.tv_sec() as u64).saturating_mul(1_000_000_000) + now.tv_nsec() as u64)
}
