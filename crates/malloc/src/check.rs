//! The checker: is the heap whole? And the coroner: what misuse was it?
//!
//! Both read the heap by the walk of [`heapwise_layout::walk`], the same that
//! an inspector uses from outside.

use crate::arena::{Held, bin_ring};
use crate::chunk::{Chunk, at};
use crate::fatal::Fault;
use crate::os::Os;
use crate::root::Allocator;
use crate::tunables::Setting;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::bins::{BINS, FASTBINS, MIN_LARGE, UNSORTED, bin_index, fast_index};
use heapwise_layout::header::{HEADER_BYTES, MIN_CHUNK, PREV_IN_USE, free};
use heapwise_layout::state::{ArenaState, HeapInfo};
use heapwise_layout::walk::{ChunkState, Read, Stretch, Visited, walk};

/// The process's own memory.
pub struct OwnMemory;

impl Read for OwnMemory {
    fn word(&self, address: usize) -> Option<u64> {
        // SAFETY: the walk stays inside a heap's usable part, which is mapped.
        Some(unsafe { at::<u64>(address).read_volatile() })
    }
}

/// The stretch of `heap`, which is one of `arena`'s, for a walk over its chunks.
pub(crate) fn stretch(arena: &ArenaState, heap: &HeapInfo) -> Stretch {
    Stretch { start: heap.start.get(), end: heap.end.load(Relaxed), top: arena.top.get() }
}

/// What is wrong with a heap, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The chunk or bin.
    pub address: usize,
    /// What should hold there.
    pub rule: &'static str,
}

impl<O: Os> Held<'_, O> {
    /// Checks every invariant of the arena. O(chunks).
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        let mut free_chunks = 0usize;
        let mut dirty = 0usize;
        let mut system = 0usize;
        for heap in self.root.heaps(self.arena) {
            let stretch = stretch(self.arena, heap);
            system += stretch.end - core::ptr::from_ref(heap).addr();
            let mut flaw = None;
            let mut previous = ChunkState::Live;
            let walked = walk(&OwnMemory, stretch, |v| {
                flaw = self.check_chunk(v, previous).err();
                if v.state == ChunkState::Free {
                    free_chunks += 1;
                    let interior = self.interior(Chunk(v.chunk), v.header.size());
                    if interior.bytes() > 0 {
                        dirty += interior.bytes() - self.clean_of(Chunk(v.chunk)).bytes();
                    }
                }
                previous = v.state;
                flaw.is_none()
            });
            if let Some(flaw) = flaw {
                return Err(flaw);
            }
            walked.map_err(|e| Flaw {
                address: format_error(e),
                rule: "sizes lead from chunk to chunk",
            })?;
        }
        let expect = |holds, rule| if holds { Ok(()) } else { Err(Flaw { address: 0, rule }) };
        expect(system == self.arena.system_bytes.load(Relaxed), "system_bytes is the heaps' sum")?;
        expect(dirty == self.arena.dirty_bytes.load(Relaxed), "dirty_bytes is the chunks' sum")?;
        expect(self.check_bins()? == free_chunks, "every free chunk is in one bin")?;
        self.check_fast()
    }

    fn check_chunk(&self, v: Visited, previous: ChunkState) -> Result<(), Flaw> {
        let expect =
            |holds, rule| if holds { Ok(()) } else { Err(Flaw { address: v.chunk, rule }) };
        let after_free = previous == ChunkState::Free;
        expect(v.header.prev_in_use() != after_free, "P tells whether the chunk before is free")?;
        match v.state {
            ChunkState::Live => expect(
                [crate::cache::live_header, crate::sampling::sampled_header]
                    .map(|header| header(self.arena, v.header.size()))
                    .contains(&(v.header.0 & !PREV_IN_USE)),
                "a live chunk's tag fits its size and arena",
            ),
            ChunkState::Free => {
                expect(!after_free, "free neighbours are merged")?;
                let next = Chunk(v.chunk + v.header.size());
                // SAFETY: the walk found the next chunk inside the heap.
                let repeated = unsafe { next.word(0) };
                expect(repeated == v.header.size(), "prev_size repeats a free chunk's size")
            }
            ChunkState::Top => expect(!after_free, "a free chunk before the top is merged"),
            ChunkState::InTransit | ChunkState::Fencepost => Ok(()),
        }
    }

    /// Checks the rings; the number of chunks in them.
    fn check_bins(&self) -> Result<usize, Flaw> {
        let mut count = 0;
        let limit = self.arena.system_bytes.load(Relaxed) / MIN_CHUNK + 1;
        for index in 1..BINS {
            let ring = bin_ring(self.arena, index);
            let mut previous = ring;
            let mut last_size = usize::MAX;
            // SAFETY: rings of the held arena; each step is checked before the next.
            unsafe {
                let mut chunk = Chunk(ring.word(free::FD));
                while chunk != ring {
                    let flaw = |rule| Flaw { address: chunk.0, rule };
                    if chunk.word(free::BK) != previous.0 {
                        return Err(flaw("bk leads back"));
                    }
                    let size = chunk.header().size();
                    if index != UNSORTED && bin_index(size) != index {
                        return Err(flaw("a chunk is in the bin of its size"));
                    }
                    if index != UNSORTED && size >= MIN_LARGE {
                        if size > last_size {
                            return Err(flaw("large bins are sorted"));
                        }
                        let first = chunk.word(free::FD_NEXTSIZE) != 0;
                        if first != (size < last_size) {
                            return Err(flaw("the first of each size is in the nextsize ring"));
                        }
                    }
                    let marked = self.arena.binmap[index / 64].get() >> (index % 64) & 1 == 1;
                    if index != UNSORTED && !marked {
                        return Err(flaw("the map of bins knows a bin that holds something"));
                    }
                    count += 1;
                    if count > limit {
                        return Err(flaw("rings are finite"));
                    }
                    last_size = size;
                    previous = chunk;
                    chunk = Chunk(chunk.word(free::FD));
                }
            }
        }
        Ok(count)
    }

    fn check_fast(&self) -> Result<(), Flaw> {
        let mut bytes = 0;
        for index in 0..FASTBINS {
            let mut chunk = Chunk(self.arena.fast[index].get());
            while chunk != Chunk::NONE && bytes <= self.arena.fast_bytes.get() {
                // SAFETY: in a fastbin of the held arena.
                let size = unsafe { chunk.header() }.size();
                if size < MIN_CHUNK || fast_index(size) != index {
                    return Err(Flaw { address: chunk.0, rule: "a fastbin holds one size" });
                }
                bytes += size;
                // SAFETY: as above.
                chunk = Chunk(unsafe { chunk.word(free::FD) });
            }
        }
        let rule = "fast_bytes is the fastbins' sum";
        if bytes == self.arena.fast_bytes.get() { Ok(()) } else { Err(Flaw { address: 0, rule }) }
    }
}

/// The chunk that a failed walk names.
fn format_error(error: heapwise_layout::walk::WalkError) -> usize {
    use heapwise_layout::walk::WalkError::{BadSize, Unreadable};
    match error {
        Unreadable(chunk) | BadSize(chunk) => chunk,
    }
}

impl<O: Os> Allocator<O> {
    /// Checks every arena, each under its lock. O(chunks).
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), Flaw> {
        self.arenas().try_for_each(|arena| self.hold(arena).check())
    }

    /// Whether every release of a lock checks its arena.
    pub(crate) fn checks_everything(&self) -> bool {
        self.settings.get(Setting::Check) == 3
    }

    #[cold]
    pub(crate) fn check_held(&self, held: &Held<'_, O>) {
        if let Err(flaw) = held.check() {
            self.os.fatal(flaw.rule);
        }
    }

    /// Says what misuse it is to free `pointer`, which lies in `heap` but is not
    /// a live chunk's: walks the heap to see what stands there. O(chunks), once.
    #[cold]
    pub(crate) fn misuse_at(&self, arena: &ArenaState, heap: &HeapInfo, pointer: usize) -> Fault {
        let held = self.try_hold(arena);
        let mut around = None;
        let walked = walk(&OwnMemory, stretch(arena, heap), |v| {
            if v.chunk <= pointer {
                around = Some(v);
            }
            v.chunk <= pointer
        });
        // SAFETY: `pointer` lies behind the first header of the heap.
        let header = unsafe { Chunk(pointer - HEADER_BYTES).header() };
        let fault = match around {
            Some(v) if v.chunk + HEADER_BYTES == pointer => match v.state {
                ChunkState::InTransit => Fault::DoubleFreeInTransit,
                ChunkState::Free => Fault::DoubleFreeBinned,
                ChunkState::Top => Fault::DoubleFreeTop,
                ChunkState::Live => Fault::FreeInvalidSize,
                ChunkState::Fencepost => Fault::FreeInvalidPointer,
            },
            // A chunk that has been merged away leaves its header, without a tag.
            Some(v) if v.header.size() > 0 && v.chunk + v.header.size() > pointer => {
                let left_over = header.tag() == 0 && header.size() >= MIN_CHUNK;
                match v.state {
                    ChunkState::Free if left_over => Fault::DoubleFreeBinned,
                    ChunkState::Top if left_over => Fault::DoubleFreeTop,
                    _ => Fault::FreeInvalidPointer,
                }
            }
            // The walk broke off before: somebody has overwritten headers.
            _ if walked.is_err() => Fault::FreeInvalidSize,
            _ => Fault::FreeInvalidPointer,
        };
        // The process ends: nobody needs the lock any more, and its checks would speak first.
        core::mem::forget(held);
        fault
    }
}
