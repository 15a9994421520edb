//! Figures: calls counted on demand, memory counted by walking.

use crate::arena::Held;
use crate::check::{OwnMemory, stretch};
use crate::chunk::Chunk;
use crate::os::Os;
use crate::root::Allocator;
use crate::threads::is_dead;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapwise_layout::bins::{BINS, FASTBINS};
use heapwise_layout::header::{ALIGNMENT, MIN_CHUNK, free};
use heapwise_layout::report::{PUBLISH_EVERY, ProcessRecord};
use heapwise_layout::state::{CALL_KINDS, Cache};
use heapwise_layout::walk::{ChunkState, walk};

/// Publications between two looks at the kernel's figures.
const SAMPLE_EVERY: u32 = 16;

/// What a call was, as the report counts it.
#[derive(Clone, Copy)]
#[repr(usize)]
#[allow(missing_docs, reason = "ProcessRecord documents each")]
pub enum Call {
    Malloc,
    Calloc,
    Realloc,
    Aligned,
    Free,
    CacheHit,
    CacheFree,
    ForeignFree,
    Failed,
}

const _: () = assert!(Call::Failed as usize + 1 == CALL_KINDS);

fn counter(record: &ProcessRecord, kind: usize) -> &AtomicU64 {
    [
        &record.malloc_calls,
        &record.calloc_calls,
        &record.realloc_calls,
        &record.aligned_calls,
        &record.free_calls,
        &record.cache_hits,
        &record.cache_frees,
        &record.foreign_frees,
        &record.failed_calls,
    ][kind]
}

/// Memory of one arena, or of all: bytes and counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes in heaps.
    pub system_bytes: usize,
    /// Highest `system_bytes` (summed over arenas: an upper bound).
    pub system_peak_bytes: usize,
    /// Chunks and bytes that the program holds.
    pub live: Tally,
    /// Chunks and bytes in caches, inboxes and the depot.
    pub cached: Tally,
    /// Those of them that caches gave up, in the depot until they are merged.
    pub waiting: Tally,
    /// Chunks and bytes in fastbins.
    pub fast: Tally,
    /// Chunks and bytes in the other bins.
    pub binned: Tally,
    /// Tops.
    pub top: Tally,
    /// Mapped chunks and their mappings' bytes.
    pub mapped: Tally,
    /// Bytes of whole free pages that are kept.
    pub dirty_bytes: usize,
}

/// A number of chunks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// How much.
    pub bytes: usize,
}

impl Tally {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn sum(self, other: Self) -> Self {
        Self { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }
}

impl Figures {
    /// Both together.
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        Self {
            system_bytes: self.system_bytes + other.system_bytes,
            system_peak_bytes: self.system_peak_bytes + other.system_peak_bytes,
            live: self.live.sum(other.live),
            cached: self.cached.sum(other.cached),
            waiting: self.waiting.sum(other.waiting),
            fast: self.fast.sum(other.fast),
            binned: self.binned.sum(other.binned),
            top: self.top.sum(other.top),
            mapped: self.mapped.sum(other.mapped),
            dirty_bytes: self.dirty_bytes + other.dirty_bytes,
        }
    }
}

/// Rows of `malloc_info`: the fastbins, then bins 1 to 126.
pub const SIZE_ROWS: usize = FASTBINS + BINS - 1;

/// One row of `malloc_info`: the free chunks of a range of sizes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SizeRow {
    /// Smallest and largest chunk size in the row.
    pub from: usize,
    /// See `from`.
    pub to: usize,
    /// The chunks.
    pub tally: Tally,
}

impl<O: Os> Held<'_, O> {
    /// Counts every chunk of the arena. O(chunks).
    pub(crate) fn figures(&self) -> Figures {
        let mut f = Figures {
            system_bytes: self.arena.system_bytes.load(Relaxed),
            system_peak_bytes: self.arena.system_peak_bytes.load(Relaxed),
            dirty_bytes: self.dirty_total(),
            waiting: self.depot_tally(),
            ..Figures::default()
        };
        for index in 0..FASTBINS {
            self.fast_row(index, |bytes| f.fast.add(bytes));
        }
        for heap in self.root.heaps(self.arena) {
            // A flaw ends the count early; the checker is there to name it.
            let _ = walk(&OwnMemory, stretch(self.arena, heap), |v| {
                let bytes = v.header.size();
                match v.state {
                    ChunkState::Live => f.live.add(bytes),
                    ChunkState::InTransit => f.cached.add(bytes),
                    ChunkState::Free => f.binned.add(bytes),
                    ChunkState::Top => f.top.add(bytes),
                    ChunkState::Fencepost => {}
                }
                true
            });
        }
        // Freed, though their headers do not know yet. Their thread may be at work: a racy look,
        // at chunks of a heap that stays while the lock is held.
        for pointer in self.arena.cache.waiting_pointers() {
            // SAFETY: as just said.
            let size = unsafe { Chunk::of(pointer).header() }.size();
            f.live.count = f.live.count.saturating_sub(1);
            f.live.bytes = f.live.bytes.saturating_sub(size);
            f.cached.add(size);
        }
        // The walk cannot tell fastbins from caches.
        f.cached.count = f.cached.count.saturating_sub(f.fast.count);
        f.cached.bytes = f.cached.bytes.saturating_sub(f.fast.bytes);
        f
    }

    fn fast_row(&self, index: usize, mut each: impl FnMut(usize)) {
        let bytes = MIN_CHUNK + index * ALIGNMENT;
        let mut chunk = Chunk(self.arena.fast[index].get());
        let mut left = self.arena.fast_bytes.get() / bytes;
        while chunk.0 != 0 && left > 0 {
            each(bytes);
            // SAFETY: in a fastbin of the held arena.
            chunk = Chunk(unsafe { chunk.word(free::FD) });
            left -= 1;
        }
    }

    /// The rows of `malloc_info`: fastbins, then the other bins, the unsorted one first.
    fn size_rows(&self) -> [SizeRow; SIZE_ROWS] {
        let mut rows = [SizeRow::default(); SIZE_ROWS];
        for (index, row) in rows[..FASTBINS].iter_mut().enumerate() {
            let bytes = MIN_CHUNK + index * ALIGNMENT;
            (row.from, row.to) = (bytes - ALIGNMENT + 1, bytes);
            self.fast_row(index, |bytes| row.tally.add(bytes));
        }
        for (index, row) in rows[FASTBINS..].iter_mut().enumerate() {
            let ring = crate::arena::bin_ring(self.arena, index + 1);
            // SAFETY: rings of the held arena.
            unsafe {
                let mut chunk = Chunk(ring.word(free::FD));
                while chunk != ring {
                    let size = chunk.header().size();
                    row.from = if row.tally.count == 0 { size } else { row.from.min(size) };
                    row.to = row.to.max(size);
                    row.tally.add(size);
                    chunk = Chunk(chunk.word(free::FD));
                }
            }
        }
        rows
    }
}

impl<O: Os> Allocator<O> {
    /// Counts every arena, each under its lock. O(chunks).
    pub fn figures(&self) -> Figures {
        let mut sum =
            self.arenas().map(|a| self.hold(a).figures()).fold(Figures::default(), Figures::sum);
        let mapped = &self.state.mapped;
        sum.mapped = Tally { count: mapped.count.load(Relaxed), bytes: mapped.bytes.load(Relaxed) };
        sum
    }

    /// Figures and rows of one arena, for `malloc_info` and `malloc_stats`; `None` behind the last.
    pub fn arena_figures(&self, index: usize) -> Option<(Figures, [SizeRow; SIZE_ROWS])> {
        let arena = self.arenas().nth(index)?;
        let held = self.hold(arena);
        Some((held.figures(), held.size_rows()))
    }

    /// Counts a call, if calls are counted.
    #[inline]
    pub(crate) fn note(&self, cache: &Cache, call: Call) {
        if cache.counting.get() != 0 {
            self.note_counted(cache, call);
        }
    }

    #[cold]
    fn note_counted(&self, cache: &Cache, call: Call) {
        if is_dead(cache) {
            return;
        }
        let slot = &cache.calls[call as usize];
        slot.set(slot.get() + 1);
        cache.unpublished.set(cache.unpublished.get() + 1);
        if cache.unpublished.get() >= cache.publish_at.get() {
            cache.publish_at.set((cache.publish_at.get() * 2).min(PUBLISH_EVERY));
            self.publish_calls(cache);
        }
    }

    /// Adds a cache's counters to the report.
    pub(crate) fn publish_calls(&self, cache: &Cache) {
        if cache.unpublished.replace(0) == 0 {
            return;
        }
        let Some(record) = self.report_record() else { return };
        for (kind, slot) in cache.calls.iter().enumerate() {
            counter(record, kind).fetch_add(u64::from(slot.replace(0)), Relaxed);
        }
        self.publish_kernel_calls(record);
        if self.publications.fetch_add(1, Relaxed).is_multiple_of(SAMPLE_EVERY) {
            self.os.sample(record);
        }
    }

    /// The record that this process writes, if there is one.
    pub(crate) fn report_record(&self) -> Option<&ProcessRecord> {
        // SAFETY: null, or a record in a mapping that is never removed.
        unsafe { self.report.load(Relaxed).as_ref() }
    }

    fn publish_kernel_calls(&self, record: &ProcessRecord) {
        let calls = &self.kernel_calls;
        for (to, from) in [
            (&record.brk_calls, &calls.brk),
            (&record.mmap_calls, &calls.mmap),
            (&record.munmap_calls, &calls.munmap),
            (&record.mremap_calls, &calls.mremap),
            (&record.mprotect_calls, &calls.mprotect),
            (&record.madvise_calls, &calls.madvise),
            (&record.purged_bytes, &calls.purged_bytes),
        ] {
            to.store(from.load(Relaxed), Relaxed);
        }
        record.arenas.store(u64::from(self.state.arena_count.load(Relaxed)), Relaxed);
    }

    /// Brings the record up to date with a full count. For the end of the process.
    #[cfg(feature = "global")]
    pub(crate) fn publish_all(&self, record: &ProcessRecord) {
        let mut caches = 0;
        for arena in self.arenas() {
            let held = self.hold(arena);
            for cache in held.caches() {
                caches += 1;
                if cache.unpublished.replace(0) > 0 {
                    for (kind, slot) in cache.calls.iter().enumerate() {
                        counter(record, kind).fetch_add(u64::from(slot.replace(0)), Relaxed);
                    }
                }
            }
        }
        self.publish_kernel_calls(record);
        let f = self.figures();
        record.caches.store(caches, Relaxed);
        for (to, value) in [
            (&record.system_bytes, f.system_bytes + f.mapped.bytes),
            (
                &record.system_peak_bytes,
                f.system_peak_bytes + self.state.mapped.peak_bytes.load(Relaxed),
            ),
            (&record.live_bytes, f.live.bytes + f.mapped.bytes),
            (&record.live_chunks, f.live.count + f.mapped.count),
            (&record.mapped_chunks, f.mapped.count),
            (&record.mapped_bytes, f.mapped.bytes),
            (&record.cached_bytes, f.cached.bytes),
            (&record.free_bytes, f.fast.bytes + f.binned.bytes + f.top.bytes),
        ] {
            to.store(value as u64, Relaxed);
        }
    }
}
