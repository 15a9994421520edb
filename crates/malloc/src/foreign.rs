//! Frees of other arenas' chunks: collected by owner and class, sent home as parcels.
//!
//! ```text
//! free ─► hints: whose heap is this? ─► foreign[arena, class]: head ─► chunk ─► … ─► tail
//!                                                      │ full
//!           one compare-and-swap a parcel: owner.inbox ▼ parcel ─► parcel ─► …
//! ```
//! A chunk is marked free (tag 0) before it enters a list, so a second free is
//! caught wherever it waits. Only the 16 tag bits of its header are stored
//! here: the rest is its owner's (see `chunk`). A parcel is one list of one
//! class, so its owner takes it into a bin or the depot without touching the
//! chunks between its ends.
//!
//! What a thread keeps here is bounded by `PARCEL_BYTES` a bin, and goes when
//! the thread ends or sleeps.
//!
//! The thread remembers in which heaps it has found such chunks, and older ones
//! of its own. A hint is void once any heap has shrunk or gone since.

use crate::arena::Held;
use crate::cache::{live_header, push};
use crate::chunk::{Chunk, at};
use crate::inbox;
use crate::os::Os;
use crate::root::Allocator;
use core::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release},
    compiler_fence,
};
use heapwise_layout::control::HELPER_NONE;
use heapwise_layout::header::{ALIGNMENT, HEADER_BYTES, Header, PREV_IN_USE};
use heapwise_layout::size::cache_bin;
use heapwise_layout::state::{
    ARENA_SHARED, ArenaState, Cache, FOREIGN_BINS, ForeignBin, HEAP_RESERVE, HINTS, HeapHint,
    HeapInfo, Parcel,
};

/// The first parcel of a bin has so many bytes, each further one twice as many …
const FIRST_PARCEL_BYTES: usize = 512;
/// … up to this, or one chunk if that is larger, …
const PARCEL_BYTES: usize = 4 << 10;
/// … and no more chunks than this.
const PARCEL_CHUNKS: usize = 64;
/// Bins of one arena lie so far behind those of the arena before it: prime to their number, so
/// that no two of 256 arenas share all of theirs.
const ARENA_STRIDE: usize = 61;

/// What became of a pointer that is not in the newest heap of the thread's own arena.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is freed.
    Done,
    /// It is freed, and its own bin is over its bound.
    Overflow,
    /// It is freed, and the foreign bin of this index is full.
    Full(usize),
    /// Nothing yet.
    Not,
}

/// The hint whose heap holds `pointer`, if there is one.
#[inline(always)]
fn hint_of(cache: &Cache, pointer: usize, epoch: usize) -> Option<&HeapHint> {
    let hint = &cache.hints[pointer / HEAP_RESERVE % HINTS];
    let inside = pointer.wrapping_sub(hint.start.get()) < hint.bytes.get();
    (inside && hint.epoch.get() == epoch && pointer.is_multiple_of(ALIGNMENT)).then_some(hint)
}

/// Where the bins of an arena begin.
fn bins_of(arena: &ArenaState) -> usize {
    arena.index.get() as usize * ARENA_STRIDE % FOREIGN_BINS
}

/// Puts a chunk whose tag has been cleared into its foreign bin; true if that is full.
///
/// # Safety
/// The bin is of the calling thread's cache; the chunk is of the bin's arena and size, in transit
/// and nobody else's.
#[inline(always)]
unsafe fn put(bin: &ForeignBin, pointer: usize) -> bool {
    let head = bin.head.get();
    // SAFETY: the chunk is free and this thread's.
    unsafe { at::<usize>(pointer).write(head) };
    if head == 0 {
        bin.tail.set(pointer);
    }
    // In this order: a fork must find a list that ends.
    compiler_fence(Release);
    bin.head.set(pointer);
    bin.count.set(bin.count.get() + 1);
    bin.count.get() >= bin.bound.get()
}

/// free without a lock, of a chunk in a heap that a hint knows: another arena's, or an older one
/// of the own.
///
/// # Safety
/// `cache` is the calling thread's; the caller stands in the section of the fast paths.
/// `epoch` is [`Allocator::heap_epoch`], read since the call began.
#[inline(always)]
pub unsafe fn free_elsewhere(cache: *const Cache, pointer: usize, epoch: usize) -> Elsewhere {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    // Closed: not this thread's to change, or every free is to be counted.
    if cache.open_span.load(Relaxed) == 0 {
        return Elsewhere::Not;
    }
    let Some(hint) = hint_of(cache, pointer, epoch) else { return Elsewhere::Not };
    let chunk = Chunk::of(pointer);
    // SAFETY: no heap has shrunk since this one was found to reach so far.
    let header = unsafe { chunk.header() };
    let size = header.size();
    let Some(class) = cache_bin(size) else { return Elsewhere::Not };
    let flag = |live_header: u64| header.0 ^ live_header;
    let owner = hint.owner.get();
    if owner == 0 {
        let bin = &cache.bins[class];
        let flag = flag(bin.live_header.get());
        if flag > PREV_IN_USE {
            return Elsewhere::Not;
        }
        // SAFETY: a live chunk of this class in this thread's own arena, freed by its holder.
        let over = unsafe {
            chunk.set_own_header(Header(flag | size as u64));
            push(bin, pointer)
        };
        return if over { Elsewhere::Overflow } else { Elsewhere::Done };
    }
    let index = (hint.bins_at.get() as usize + class) % FOREIGN_BINS;
    let bin = &cache.foreign[index];
    // Tags of two arenas may be equal by chance.
    if flag(bin.live_header.get()) > PREV_IN_USE || bin.owner.get() != owner {
        return Elsewhere::Not;
    }
    // SAFETY: a live chunk of this bin that its holder frees: from here on this thread's.
    let full = unsafe {
        chunk.set_tag(0);
        put(bin, pointer)
    };
    if full { Elsewhere::Full(index) } else { Elsewhere::Done }
}

/// Chunks of one arena and size, on their way.
struct Sending<'a> {
    arena: &'a ArenaState,
    first: usize,
    last: usize,
    count: usize,
    bytes: usize,
}

impl Sending<'_> {
    /// Pushes it into its owner's inbox.
    fn push(&self) {
        // SAFETY: its first chunk, in transit and this thread's until pushed.
        let parcel = unsafe { &*at::<Parcel>(self.first) };
        parcel.end.set(Parcel::end(self.last, self.count));
        let inbox = &self.arena.inbox;
        inbox::push(&inbox.head, self.first, |old| parcel.below.set(old));
        inbox.bytes.store(inbox.bytes.load(Relaxed) + self.bytes, Relaxed);
    }
}

/// Bounds a bin of chunks of `size` bytes by `bytes`.
fn set_bound(bin: &ForeignBin, size: usize, bytes: usize) {
    bin.bound.set((bytes / size).clamp(1, PARCEL_CHUNKS) as u16);
}

/// An arena as [`ForeignBin::owner`] names it.
fn owner_of(arena: &ArenaState) -> u32 {
    arena.index.get() + 1
}

impl<O: Os> Allocator<O> {
    /// How often a heap has shrunk or gone so far.
    #[inline(always)]
    pub fn heap_epoch(&self) -> usize {
        self.heap_epoch.load(Acquire)
    }

    /// Remembers the heap that holds `pointer`; `epoch` was read before it was found.
    pub(crate) fn note_heap(
        &self,
        cache: &Cache,
        pointer: usize,
        heap: &HeapInfo,
        arena: &ArenaState,
        epoch: usize,
    ) {
        let hint = &cache.hints[pointer / HEAP_RESERVE % HINTS];
        let start = heap.start.get() + HEADER_BYTES;
        hint.start.set(start);
        hint.bytes.set(heap.end.load(Acquire).saturating_sub(start));
        let is_own = core::ptr::eq(arena, self.arena_of(cache));
        hint.owner.set(if is_own { 0 } else { owner_of(arena) });
        hint.bins_at.set(bins_of(arena) as u32);
        hint.epoch.set(epoch);
    }

    /// Frees a chunk of an arena that is not this thread's. Its tag is already 0.
    pub(crate) fn free_foreign(
        &self,
        cache: &Cache,
        arena: &ArenaState,
        chunk: Chunk,
        size: usize,
    ) {
        let Some(class) = cache_bin(size) else { return self.free_foreign_alone(arena, chunk) };
        let index = (bins_of(arena) + class) % FOREIGN_BINS;
        let bin = &cache.foreign[index];
        let live_header = live_header(arena, size);
        if bin.owner.get() != owner_of(arena) || bin.live_header.get() != live_header {
            self.send_from(bin);
            bin.owner.set(owner_of(arena));
            bin.live_header.set(live_header);
            set_bound(bin, size, FIRST_PARCEL_BYTES);
            let map = &cache.foreign_map[index / 64];
            map.set(map.get() | 1 << (index % 64));
        }
        // SAFETY: this thread's cache, and a chunk of this size freed by its holder.
        if unsafe { put(bin, chunk.pointer()) } {
            self.send_bin(cache, index);
        }
    }

    /// Frees one chunk into its arena's inbox.
    pub(crate) fn free_foreign_alone(&self, arena: &ArenaState, chunk: Chunk) {
        let pointer = chunk.pointer();
        // SAFETY: freed by its holder, in transit and this thread's until pushed.
        let bytes = unsafe {
            at::<usize>(pointer).write(0);
            chunk.header().size()
        };
        self.send(&Sending { arena, first: pointer, last: pointer, count: 1, bytes });
    }

    /// A foreign bin is full: what it holds goes home, and the next parcel may be larger.
    pub(crate) fn send_bin(&self, cache: &Cache, index: usize) {
        let bin = &cache.foreign[index];
        let size = Header(bin.live_header.get()).size();
        if size > 0 {
            let bytes = usize::from(bin.bound.get()) * size;
            set_bound(bin, size, (bytes * 2).clamp(FIRST_PARCEL_BYTES, PARCEL_BYTES));
        }
        let owner = bin.owner.get();
        if self.send_from(bin) && cache.moves.get() > 0 {
            // A new thread that sends chunks home where nobody lives should live there: it frees
            // what it has taken over.
            cache.heir_of.set(owner);
            cache.grew.store(1, Relaxed);
        }
    }

    /// The arena that [`ForeignBin::owner`] names so.
    pub(crate) fn arena_number(&self, owner: u32) -> &ArenaState {
        let arena = self.state.arenas[owner as usize - 1].load(Relaxed);
        // SAFETY: the address of an arena, which lives as long as the allocator.
        unsafe { &*at::<ArenaState>(arena) }
    }

    /// Sends home what a bin holds; whether its arena has no thread.
    fn send_from(&self, bin: &ForeignBin) -> bool {
        self.take_out(bin).is_some_and(|sending| self.send(&sending))
    }

    /// Takes out what a bin holds, if anything.
    fn take_out(&self, bin: &ForeignBin) -> Option<Sending<'_>> {
        let first = bin.head.replace(0);
        if first == 0 {
            return None;
        }
        let count = usize::from(bin.count.replace(0));
        let bytes = count * Header(bin.live_header.get()).size();
        let arena = self.arena_number(bin.owner.get());
        Some(Sending { arena, first, last: bin.tail.get(), count, bytes })
    }

    /// Sends chunks home; whether their arena has no thread.
    fn send(&self, sending: &Sending<'_>) -> bool {
        sending.push();
        let arena = sending.arena;
        if arena.users.load(Acquire) == 0 {
            self.serve_unused(arena);
            return true;
        }
        if self.state.control.helper.load(Relaxed) == HELPER_NONE {
            // The owner may sleep for long: let somebody look.
            self.want_helper();
        }
        false
    }

    /// Drains the inbox of an arena without a thread: nobody else may ever look into it.
    #[cold]
    fn serve_unused(&self, arena: &ArenaState) {
        // Somebody holds it, and may have looked before.
        let Some(held) = self.try_hold(arena) else { return self.want_helper() };
        if arena.users.load(Relaxed) == 0 {
            held.drain_without_thread();
            let look = held.settle();
            drop(held);
            if look {
                self.want_helper();
            }
        }
    }

    /// Sends home all foreign chunks of a cache.
    pub(crate) fn send_all(&self, cache: &Cache) {
        each_foreign(cache, |bin| _ = self.send_from(bin));
    }
}

/// Calls `empty` for every foreign bin that has an arena; then none has.
fn each_foreign(cache: &Cache, empty: impl Fn(&ForeignBin)) {
    for (word, map) in cache.foreign_map.iter().enumerate() {
        let mut bits = map.replace(0);
        while bits != 0 {
            let bin = &cache.foreign[word * 64 + bits.trailing_zeros() as usize];
            empty(bin);
            bin.owner.set(0);
            bin.live_header.set(0);
            bits &= bits - 1;
        }
    }
}

impl<O: Os> Held<'_, O> {
    /// Drains the inbox of an arena that has no thread: into the cache that waits for the next
    /// one, unless the arena is shared.
    pub(crate) fn drain_without_thread(&self) {
        let shared = self.arena.flags.get() & ARENA_SHARED != 0;
        self.arena.idle_bytes.fetch_add(self.arena.inbox.bytes.load(Relaxed), Relaxed);
        self.drain_inbox((!shared).then_some(&self.arena.cache));
    }

    /// Whether a cache holds foreign chunks.
    pub(crate) fn holds_foreign(&self, cache: &Cache) -> bool {
        cache.foreign_map.iter().any(|map| map.get() != 0)
            && cache.foreign.iter().any(|bin| bin.head.get() != 0)
    }

    /// Sends home all foreign chunks of a lent cache, without looking into their arenas: this
    /// arena's lock is held, and locks are taken one at a time.
    pub(crate) fn send_foreign(&self, cache: &Cache) {
        each_foreign(cache, |bin| {
            if let Some(sending) = self.root.take_out(bin) {
                sending.push();
            }
        });
    }

    /// In a fork child: sends the foreign chunks of a thread that is not here. Ends and counts
    /// may not match the heads, if the fork hit the thread between two stores, so they are
    /// found by walking.
    pub(crate) fn abandon_foreign(&self, cache: &Cache) {
        for bin in &cache.foreign {
            let (mut last, mut count) = (0, 0);
            let mut next = bin.head.get();
            while next != 0 && count < Parcel::MAX_COUNT {
                last = next;
                next = self.next_in_transit(last);
                count += 1;
            }
            bin.tail.set(last);
            bin.count.set(count as u16);
        }
        self.send_foreign(cache);
    }
}
