//! What only the simulated machine can tell of a run: its steps, and how its memory was split.

use heapwise_malloc::stats;
use heapwise_sim::{Kernel, Pid};
use heapwise_vm::PageTable;

/// A new peak is looked into only if it is so much higher, in parts of itself: a look walks
/// the heap.
const HIGHER_PART: u64 = 64;

/// Where resident memory was at its peak, as far as the samples saw it. The parts add up to
/// what is resident if every block is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Resident.
    pub rss_bytes: u64,
    /// What the program had asked for.
    pub held_bytes: u64,
    /// The chunks that this takes: headers and rounding are in it.
    pub chunk_bytes: u64,
    /// In thread caches and on the way between threads.
    pub cached_bytes: u64,
    /// In bins, the top's not counted.
    pub free_bytes: u64,
}

impl Peak {
    pub(super) fn new(rss_bytes: u64, held_bytes: u64, heap: &stats::Figures) -> Self {
        Self {
            rss_bytes,
            held_bytes,
            chunk_bytes: (heap.live.bytes + heap.mapped.bytes) as u64,
            cached_bytes: heap.cached.bytes as u64,
            free_bytes: (heap.fast.bytes + heap.binned.bytes) as u64,
        }
    }

    pub(super) const fn is_beaten_by(&self, rss_bytes: u64) -> bool {
        rss_bytes > self.rss_bytes + self.rss_bytes / HIGHER_PART
    }
}

/// The machine at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Steps that had a price.
    pub steps: u64,
    /// Ranges that a processor forgot.
    pub flushes: u64,
    /// Other processors that had to forget them too.
    pub shootdowns: u64,
    /// Mappings at once, at most, as the samples saw it.
    pub vmas: u64,
    /// Page tables in use.
    pub page_tables: u64,
    /// Where memory was when most of it was in use.
    pub peak: Peak,
}

impl Machine {
    pub(super) fn of(kernel: &Kernel<'_>, pid: Pid, vmas: u64, peak: Peak) -> Self {
        let tables = kernel.process(pid).map_or(0, |process| process.mm.table().tables());
        let counts = kernel.counts;
        Self {
            steps: counts.steps,
            flushes: counts.flushes,
            shootdowns: counts.shootdowns,
            vmas,
            page_tables: tables,
            peak,
        }
    }
}
