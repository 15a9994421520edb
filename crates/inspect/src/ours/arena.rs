//! One of our arenas: its heaps, its caches, what waits for it.

use std::mem::offset_of;

use heapwise_layout::bins::FASTBINS;
use heapwise_layout::header::{HEADER_BYTES, HEADER_OFFSET, Header, free};
use heapwise_layout::size::{CACHE_BINS, bin_size};
use heapwise_layout::state::{
    ARENA_MAGIC, ARENA_MAIN, ArenaState, Cache, CacheBin, FOREIGN_BINS, ForeignBin, HEAP_MAGIC,
    HeapInfo, Inbox, NOT_WAITING, Parcel, Parts, WAITING, Waiting,
};
use heapwise_layout::walk::{ChunkState, Read, Stretch, Visited, WalkError, walk};

use crate::heap::scan::Count;
use crate::heap::walker::{Form, Stop, Visitor, Walker};
use crate::heap::{Kind, Piece};
use crate::span::{Span, page_up};

/// What an arena's head says.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Address of the state.
    pub address: usize,
    /// Its number.
    pub index: usize,
    /// Whether it lives on the break.
    pub is_main: bool,
    /// The top chunk.
    pub top: usize,
    /// Bytes from the system.
    pub system_bytes: usize,
    /// Its heaps, newest first.
    pub heaps: Vec<Heap>,
    /// Its caches.
    pub caches: Vec<ThreadCache>,
    /// Chunks in fastbins and in the inbox, in address order.
    pub fast: Vec<usize>,
    /// Chunks that are freed though their headers do not know yet, in address order.
    pub waiting: Vec<usize>,
    /// The fastbins by size.
    pub fast_bins: Vec<Count>,
    /// The inbox.
    pub inbox: Count,
    /// Links that lead nowhere, heads that are none.
    pub flaws: usize,
}

/// A heap of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Its head.
    pub head: usize,
    /// The first chunk.
    pub first: usize,
    /// End of the usable part.
    pub end: usize,
    /// End of the reservation.
    pub reserved_end: usize,
    /// A stretch of the break.
    pub on_break: bool,
    /// First fencepost, 0 in the newest heap.
    pub fence: usize,
    /// Where marked chunks are counted, part by part; 0 if none has been.
    pub parts: usize,
}

impl Heap {
    /// The mapping in which marked chunks are counted, if there is one where one can be.
    #[must_use]
    pub fn parts_span(&self, page_bytes: usize) -> Option<Span> {
        let start = self.parts;
        let is_place = start != 0 && start < USER_END && start.is_multiple_of(page_bytes);
        is_place.then(|| Span::new(start, page_up(start + size_of::<Parts>(), page_bytes)))
    }
}

/// A cache, by its own counters.
#[derive(Clone, Debug, Default)]
pub struct ThreadCache {
    /// Its address.
    pub address: usize,
    /// Its thread, 0 if it waits for the next one.
    pub tid: u32,
    /// What each class holds: `heapwise_layout::size::bin_size`.
    pub bins: Vec<Count>,
    /// On the way to other arenas.
    pub foreign: Count,
}

impl Arena {
    /// Address of the first cache at `address` or above.
    fn cache_above(&self, address: usize) -> usize {
        let all = self.caches.iter().map(|cache| cache.address);
        all.filter(|&cache| cache >= address).min().unwrap_or(usize::MAX)
    }
}

impl ThreadCache {
    /// All that it holds.
    #[must_use]
    pub fn held(&self) -> Count {
        self.bins.iter().chain([&self.foreign]).fold(Count::default(), |sum, one| Count {
            chunks: sum.chunks + one.chunks,
            bytes: sum.bytes + one.bytes,
        })
    }
}

/// An arena has at most so many heaps, and a shared one so many caches.
const MAX_LINKED: usize = 1 << 16;

/// No heap reaches beyond user addresses.
const USER_END: usize = 1 << 56;

struct Fields<'a, M: Read> {
    memory: &'a M,
    base: usize,
}

impl<M: Read> Fields<'_, M> {
    fn word(&self, offset: usize) -> Option<usize> {
        self.memory.word(self.base.checked_add(offset)?).map(|word| word as usize)
    }

    fn half(&self, offset: usize) -> Option<u32> {
        Some((self.word(offset & !7)? >> ((offset & 7) * 8)) as u32)
    }
}

/// Reads an arena; `None` if its head is none. Follows at most `max_chunks` links.
pub fn read(memory: &impl Read, address: usize, max_chunks: usize) -> Option<Arena> {
    let state = Fields { memory, base: address };
    if state.word(offset_of!(ArenaState, magic))? as u64 != ARENA_MAGIC {
        return None;
    }
    let mut arena = Arena {
        address,
        index: state.half(offset_of!(ArenaState, index))? as usize,
        is_main: state.half(offset_of!(ArenaState, flags))? & ARENA_MAIN != 0,
        top: state.word(offset_of!(ArenaState, top))?,
        system_bytes: state.word(offset_of!(ArenaState, system_bytes))?,
        ..Arena::default()
    };
    read_heaps(memory, state.word(offset_of!(ArenaState, heap))?, &mut arena);
    read_caches(memory, state.word(offset_of!(ArenaState, caches))?, &mut arena);
    let mut left = max_chunks;
    for index in 0..FASTBINS {
        let head = state.word(offset_of!(ArenaState, fast) + index * 8)?;
        // Linked by chunk address.
        let held = follow(memory, head, 0, &mut arena, &mut left);
        arena.fast_bins.push(held);
    }
    let inbox = state.word(offset_of!(ArenaState, inbox) + offset_of!(Inbox, head))?;
    arena.inbox = follow_parcels(memory, inbox, &mut arena, &mut left);
    arena.fast.sort_unstable();
    Some(arena)
}

fn read_heaps(memory: &impl Read, newest: usize, arena: &mut Arena) {
    let mut head = newest;
    while head != 0 {
        let info = Fields { memory, base: head };
        let heap = || {
            let is_head = info.word(offset_of!(HeapInfo, magic))? as u64 == HEAP_MAGIC
                && info.word(offset_of!(HeapInfo, arena))? == arena.address;
            let heap = Heap {
                head,
                first: info.word(offset_of!(HeapInfo, start))?,
                end: info.word(offset_of!(HeapInfo, end))?,
                reserved_end: info.word(offset_of!(HeapInfo, reserved_end))?,
                on_break: info.word(offset_of!(HeapInfo, on_break))? == 1,
                fence: info.word(offset_of!(HeapInfo, fence))?,
                parts: info.word(offset_of!(HeapInfo, parts))?,
            };
            let older = info.word(offset_of!(HeapInfo, older))?;
            let in_order = head < heap.first && heap.first <= heap.end && heap.end <= USER_END;
            (is_head && in_order).then_some((heap, older))
        };
        let Some((heap, older)) = heap().filter(|_| arena.heaps.len() < MAX_LINKED) else {
            arena.flaws += 1;
            return;
        };
        arena.heaps.push(heap);
        head = older;
    }
}

fn read_caches(memory: &impl Read, newest: usize, arena: &mut Arena) {
    let mut address = newest;
    while address != 0 {
        let Some((cache, next)) =
            read_cache(memory, address).filter(|_| arena.caches.len() < MAX_LINKED)
        else {
            arena.flaws += 1;
            return;
        };
        arena.caches.push(cache);
        let waiting = read_waiting(memory, address);
        arena.flaws += usize::from(waiting.is_none());
        arena.waiting.extend(waiting.into_iter().flatten());
        address = next;
    }
    arena.waiting.sort_unstable();
}

/// The chunks for whose headers the frees of a cache's thread wait.
fn read_waiting(memory: &impl Read, address: usize) -> Option<Vec<usize>> {
    let fields = Fields { memory, base: address };
    let first = fields.word(offset_of!(Cache, range_lo))?;
    let units = offset_of!(Cache, waiting) + offset_of!(Waiting, units);
    let units: Option<Vec<u32>> =
        (0..WAITING).map(|index| fields.half(units + index * size_of::<u32>())).collect();
    let chunk = |unit: u32| first.wrapping_add(unit as usize * 16).wrapping_sub(HEADER_BYTES);
    Some(units?.into_iter().filter(|&unit| unit != NOT_WAITING).map(chunk).collect())
}

fn read_cache(memory: &impl Read, address: usize) -> Option<(ThreadCache, usize)> {
    let fields = Fields { memory, base: address };
    let mut cache = ThreadCache {
        address,
        tid: fields.half(offset_of!(Cache, tid))?,
        ..ThreadCache::default()
    };
    for index in 0..CACHE_BINS {
        if class_bytes(index) == 0 {
            // Nobody writes to these, so they may have no page.
            cache.bins.push(Count::default());
            continue;
        }
        let bin = offset_of!(Cache, bins) + index * size_of::<CacheBin>();
        let room = fields.half(bin + offset_of!(CacheBin, room))?.cast_signed();
        let bound = fields.half(bin + offset_of!(CacheBin, bound))?;
        let has_class = fields.word(bin + offset_of!(CacheBin, head))? != 0;
        let chunks = (i64::from(bound) - i64::from(room)).max(0) as usize;
        let chunks = if has_class { chunks } else { 0 };
        cache.bins.push(Count { chunks, bytes: chunks.saturating_mul(class_bytes(index)) });
    }
    let mut map = 0;
    for index in 0..FOREIGN_BINS {
        if index % 64 == 0 {
            map = fields.word(offset_of!(Cache, foreign_map) + index / 8)?;
        }
        if map >> (index % 64) & 1 == 0 {
            continue;
        }
        let bin = offset_of!(Cache, foreign) + index * size_of::<ForeignBin>();
        let chunks = fields.half(bin + offset_of!(ForeignBin, count))? as usize & 0xffff;
        let live = fields.word(bin + offset_of!(ForeignBin, live_header))?;
        let size = Header(live as u64).size();
        cache.foreign.chunks += chunks;
        cache.foreign.bytes = cache.foreign.bytes.saturating_add(chunks.saturating_mul(size));
    }
    Some((cache, fields.word(offset_of!(Cache, next))?))
}

/// Chunk size of a cache bin, 0 for those without a class.
#[must_use]
pub fn class_bytes(bin: usize) -> usize {
    use heapwise_layout::size::{MEDIUM_CLASSES, MEDIUM_FIRST_BIN};
    if (2..MEDIUM_FIRST_BIN + MEDIUM_CLASSES).contains(&bin) { bin_size(bin) } else { 0 }
}

/// Follows an inbox: parcel by parcel, each linked by user pointer.
fn follow_parcels(memory: &impl Read, head: usize, arena: &mut Arena, left: &mut usize) -> Count {
    let mut all = Count::default();
    let mut first = head;
    while first != 0 {
        let held = follow(memory, first, HEADER_BYTES, arena, left);
        all.chunks += held.chunks;
        all.bytes = all.bytes.saturating_add(held.bytes);
        let below = first.checked_add(offset_of!(Parcel, below)).and_then(|at| memory.word(at));
        // A parcel has a chunk, so each round takes some of what is left.
        match below.filter(|_| held.chunks > 0) {
            Some(below) => first = below as usize,
            None => return all,
        }
    }
    all
}

/// Follows a list whose links point `to_link` bytes into chunks; the link stands at the user pointer.
fn follow(
    memory: &impl Read,
    head: usize,
    to_link: usize,
    arena: &mut Arena,
    left: &mut usize,
) -> Count {
    let mut count = Count::default();
    let mut next = head;
    while next != 0 {
        let read = |chunk: usize| {
            let header = Header(memory.word(chunk.checked_add(HEADER_OFFSET)?)?);
            Some((chunk, header, memory.word(chunk.checked_add(free::FD)?)? as usize))
        };
        let visited = next.checked_sub(to_link).filter(|chunk| chunk % 16 == 0).and_then(read);
        let Some((chunk, header, link)) = visited.filter(|_| *left > 0) else {
            arena.flaws += 1;
            return count;
        };
        *left -= 1;
        arena.fast.push(chunk);
        count.chunks += 1;
        count.bytes += header.size();
        next = link;
    }
    count
}

/// The chunks of a heap of an arena.
#[derive(Clone, Copy, Debug)]
pub struct Chunks<'a> {
    arena: &'a Arena,
    heap: &'a Heap,
    /// A trim takes the fenceposts of this heap back into the top.
    opens: bool,
}

impl<'a> Chunks<'a> {
    /// Those of `heap`; with `opens` as they are once its fenceposts are top again.
    #[must_use]
    pub fn of(arena: &'a Arena, heap: &'a Heap, opens: bool) -> Self {
        Self { arena, heap, opens }
    }

    /// The first chunk at `address` or above whose free waits.
    fn next_waiting(&self, address: usize) -> usize {
        let waiting = &self.arena.waiting;
        waiting.get(waiting.partition_point(|&at| at < address)).copied().unwrap_or(usize::MAX)
    }

    fn waits(&self, chunk: usize) -> bool {
        !self.arena.waiting.is_empty() && self.arena.waiting.binary_search(&chunk).is_ok()
    }

    fn kind(&self, visited: &Visited, next_cache: &mut usize) -> Kind {
        match visited.state {
            ChunkState::Live => {
                let end = visited.chunk + visited.header.size();
                if *next_cache < visited.chunk {
                    *next_cache = self.arena.cache_above(visited.chunk);
                }
                if *next_cache < end {
                    Kind::Metadata
                } else if self.waits(visited.chunk) {
                    Kind::Cached
                } else {
                    Kind::Live
                }
            }
            ChunkState::InTransit if self.arena.fast.binary_search(&visited.chunk).is_ok() => {
                Kind::Fast
            }
            ChunkState::InTransit => Kind::Cached,
            ChunkState::Free => Kind::Free,
            ChunkState::Top => Kind::Top,
            ChunkState::Fencepost => Kind::Fencepost,
        }
    }
}

/// A chunk by its tag and the next one's P.
struct Tagged;

impl Form for Tagged {
    #[inline]
    fn bytes(header: u64) -> usize {
        Header(header).size()
    }

    #[inline]
    fn is_free(header: u64, next: u64) -> Option<bool> {
        match (Header(header).tag() != 0, Header(next).prev_in_use()) {
            (true, _) => Some(false),
            (false, false) => Some(true),
            (false, true) => None,
        }
    }
}

impl Walker for Chunks<'_> {
    fn walk(
        &self,
        memory: &impl Read,
        start: usize,
        mut visitor: impl Visitor,
    ) -> Result<Stop, WalkError> {
        let (end, top) = (self.heap.end, self.arena.top);
        let mut goes_on = true;
        let mut next_cache = 0;
        let mut from = Some(start);
        while let Some(start) = from.take() {
            walk(memory, Stretch { start, end, top }, |visited| {
                let (address, bytes) = (visited.chunk, visited.header.size());
                let kind = match visited.state {
                    ChunkState::Live if address + bytes <= next_cache && !self.waits(address) => {
                        Kind::Live
                    }
                    ChunkState::Free => Kind::Free,
                    _ => self.kind(&visited, &mut next_cache),
                };
                let mut piece = Piece { address, bytes, kind };
                if kind == Kind::Fencepost && self.opens {
                    // Above a fence that becomes part of the top again, nothing else lies.
                    if address != self.heap.fence {
                        return true;
                    }
                    piece = Piece { address, bytes: end - address, kind: Kind::Top };
                }
                goes_on = visitor.visit(piece);
                let next = piece.end();
                let below_top = if next <= top { top } else { usize::MAX };
                if goes_on {
                    let end = next_cache.min(below_top).min(self.next_waiting(next));
                    let passed = visitor.pass::<Tagged>(next, end);
                    from = (passed != next).then_some(passed);
                }
                goes_on && from.is_none()
            })?;
        }
        Ok(if goes_on { Stop::End } else { Stop::Visitor })
    }
}
