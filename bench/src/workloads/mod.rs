//! The synthetic workloads: a file each, the pattern it stands for in its header.
//!
//! A workload does a fixed amount of work, split among its threads, so that
//! CPU times compare across allocators and across thread counts.

mod aligned;
mod big_short;
mod calloc;
mod collections;
pub mod control;
mod false_sharing;
mod fifo;
mod growing;
mod handover;
mod idle_last;
mod idle_survivors;
mod idle_threads;
mod lifo;
mod long_tail;
mod medium;
mod pairs;
mod producer_consumer;
mod random_batches;
mod replay;
mod server;
mod settle;
mod short_threads;
mod tiny;

use serde::{Deserialize, Serialize};

/// How much to do, and with how many threads.
#[derive(Clone, Copy)]
pub struct Load {
    /// Threads that work at once.
    pub threads: usize,
    /// 1 is the full size.
    pub scale: f64,
}

impl Load {
    /// `full` operations at full size, scaled.
    pub fn count(&self, full: usize) -> usize {
        ((full as f64 * self.scale) as usize).max(1)
    }

    /// One thread's share of [`Load::count`].
    pub fn share(&self, full: usize) -> usize {
        (self.count(full) / self.threads).max(1)
    }

    /// Runs `work(thread number)` in each of the threads at once.
    pub fn in_threads(&self, work: impl Fn(usize) + Sync) {
        if self.threads == 1 {
            return work(0);
        }
        std::thread::scope(|scope| {
            for number in 0..self.threads {
                let work = &work;
                scope.spawn(move || work(number));
            }
        });
    }
}

/// What is left after a burst and some seconds of idling.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// Pages that hold a byte of a live block: all that a perfect purge could leave.
    pub live_bytes: u64,
    /// Growth of the resident memory since before the burst, right after it.
    pub burst_bytes: u64,
    /// The same after idling.
    pub idle_bytes: u64,
}

/// The thread counts a workload runs with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One thread.
    One,
    /// One, as many as cores, twice as many.
    Scaling,
    /// As many as cores (at least two), and twice as many.
    Several,
}

impl Threads {
    /// Whether a workload can run with so many.
    pub fn allows(self, count: usize) -> bool {
        match self {
            Threads::One => count == 1,
            Threads::Scaling => count > 0,
            Threads::Several => count > 1,
        }
    }

    /// The counts on a machine of `cores` cores.
    pub fn counts(self, cores: usize) -> Vec<usize> {
        let several = [cores.max(2), 2 * cores.max(2)];
        match self {
            Threads::One => vec![1],
            Threads::Scaling => [1].into_iter().chain(several).collect(),
            Threads::Several => several.to_vec(),
        }
    }
}

/// One workload.
pub struct Workload {
    /// As on the command line.
    pub name: &'static str,
    /// The pattern in a few words, for tables.
    pub about: &'static str,
    /// The thread counts it runs with.
    pub threads: Threads,
    /// Part of the guard's subset.
    pub guard: bool,
    /// Does the work.
    pub run: fn(&Load) -> Option<Idle>,
}

/// Wraps a workload that leaves nothing to report.
macro_rules! plain {
    ($module:ident :: $function:ident) => {
        |load| {
            $module::$function(load);
            None
        }
    };
}

/// As `plain!`, for a workload that comes in several kinds.
macro_rules! plain_of {
    ($module:ident :: $function:ident, $kind:literal) => {
        |load| {
            $module::$function(load, $kind);
            None
        }
    };
}

use Threads::{One, Scaling, Several};

#[rustfmt::skip]
const TABLE: &[Workload] = &[
    Workload { name: control::NAME, about: "nothing allocated: what a second thread brings on this machine", threads: Scaling, guard: false, run: plain!(control::run) },
    Workload { name: "pairs", about: "one size, malloc and free in pairs", threads: Scaling, guard: true, run: plain!(pairs::run) },
    Workload { name: "lifo", about: "batches, newest freed first", threads: One, guard: true, run: plain!(lifo::run) },
    Workload { name: "fifo", about: "batches, oldest freed first", threads: One, guard: true, run: plain!(fifo::run) },
    Workload { name: "random-batches", about: "batches, freed in random order", threads: Scaling, guard: true, run: plain!(random_batches::run) },
    Workload { name: "tiny", about: "a million tiny objects, replaced at random", threads: One, guard: true, run: plain!(tiny::run) },
    Workload { name: "server", about: "tables of live objects, passed to successor threads", threads: Scaling, guard: true, run: plain!(server::run) },
    Workload { name: "handover", about: "every object freed by whichever thread meets it", threads: Several, guard: true, run: plain!(handover::run) },
    Workload { name: "producer-consumer", about: "one thread allocates, another frees", threads: Several, guard: true, run: plain!(producer_consumer::run) },
    Workload { name: "short-threads", about: "a thread a task", threads: Several, guard: true, run: plain!(short_threads::run) },
    Workload { name: "medium", about: "8 to 64 KiB from many threads", threads: Scaling, guard: true, run: plain!(medium::run) },
    Workload { name: "growing", about: "buffers growing by realloc to 16 MiB", threads: One, guard: true, run: plain!(growing::run) },
    Workload { name: "big-short", about: "256 KiB to 8 MiB, short-lived", threads: Scaling, guard: true, run: plain!(big_short::run) },
    Workload { name: "long-tail", about: "leaky phases with survivors", threads: One, guard: true, run: plain!(long_tail::run) },
    Workload { name: "passive-sharing", about: "neighbours handed to other threads, freed, taken again", threads: Several, guard: false, run: plain!(false_sharing::passive) },
    Workload { name: "active-sharing", about: "small objects written by their own threads at once", threads: Several, guard: false, run: plain!(false_sharing::active) },
    Workload { name: "calloc", about: "zeroed memory, 16 bytes to 256 KiB", threads: One, guard: true, run: plain!(calloc::run) },
    Workload { name: "aligned", about: "posix_memalign, 32 bytes to 4 KiB", threads: One, guard: true, run: plain!(aligned::run) },
    Workload { name: "collections", about: "Rust strings, maps and channels among threads", threads: Scaling, guard: false, run: plain!(collections::run) },
    Workload { name: "trace-python", about: "python's calls, recorded: json, re, PYTHONMALLOC=malloc", threads: One, guard: true, run: plain_of!(replay::run, "python") },
    Workload { name: "trace-gcc", about: "gcc's calls, recorded: a C++ file at -O1", threads: One, guard: true, run: plain_of!(replay::run, "gcc") },
    Workload { name: "trace-sqlite3", about: "sqlite3's calls, recorded: inserts, an index, joins", threads: One, guard: true, run: plain_of!(replay::run, "sqlite3") },
    Workload { name: "trace-perl", about: "perl's calls, recorded: hashes and lines", threads: One, guard: true, run: plain_of!(replay::run, "perl") },
    Workload { name: "idle-survivors", about: "512 MiB, 98 % freed at random, then idle", threads: One, guard: false, run: |load| Some(idle_survivors::run(load)) },
    Workload { name: "idle-last", about: "100 MiB, only the last 1 MiB alive, then idle", threads: One, guard: false, run: |load| Some(idle_last::run(load)) },
    Workload { name: "idle-threads", about: "eight threads, 64 MiB each in turn, then asleep", threads: One, guard: false, run: |load| Some(idle_threads::run(load)) },
];

/// All workloads, in the order of the tables.
pub fn all() -> &'static [Workload] {
    TABLE
}

/// The workload of that name.
pub fn find(name: &str) -> Option<&'static Workload> {
    TABLE.iter().find(|workload| workload.name == name)
}
