//! Threads and arenas: who has which, and the hand-over at exit.
//!
//! A thread takes a free arena, or makes one, and has it to itself: only it
//! edits the headers there, so its fast paths need no lock. Near the limit of
//! 64 × usable cores the arenas are shared: their caches stay closed and their
//! headers are marked by 16-bit stores.

use crate::arena::Held;
use crate::cache;
use crate::chunk::at;
use crate::lock;
use crate::os::Os;
use crate::root::Allocator;
use crate::tunables::Setting;
use core::cell::Cell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use heapwise_layout::header::{Header, PREV_IN_USE};
use heapwise_layout::size::chunk_size;
use heapwise_layout::state::{
    ARENA_SHARED, ArenaState, Cache, MAX_ARENAS, MODE_LENT, MODE_OPEN, MODE_SHARED, MODE_UNATTACHED,
};

/// So many times may a new thread move to a better arena, each time that its own grows.
const MOVES: u32 = 16;
/// Arenas per core: few threads share one, and what an arena costs is its thread's own memory.
const ARENAS_PER_CORE: usize = 64;
/// Where address space is limited, of which each takes 64 MiB: glibc's.
const FEW_PER_CORE: usize = 8;
/// However many cores there are.
const MOST_ARENAS: usize = 1024;

/// A thread's handle: the address of its cache. One per thread, in its local storage.
#[repr(transparent)]
pub struct Slot(pub Cell<usize>);

/// A cache in a static: its address may be given to any thread, since it is never written.
#[repr(transparent)]
pub struct ClosedCache(pub Cache);

// SAFETY: nothing writes to a closed cache without an arena.
unsafe impl Sync for ClosedCache {}

/// The cache of a thread before its first call.
pub static UNATTACHED: ClosedCache = ClosedCache(Cache::new(MODE_UNATTACHED));
/// The cache of a thread after its exit handlers have run.
pub static DEAD: ClosedCache = ClosedCache(Cache::new(MODE_UNATTACHED));

/// Whether the thread has given its arena back, or has got none, and is served without a cache.
#[inline]
pub(crate) fn is_dead(cache: &Cache) -> bool {
    core::ptr::eq(cache, &DEAD.0)
}

/// A thread's cache while the thread is behind the fast paths.
pub(crate) struct Entered<'a>(&'a Cache);

impl<'a> Entered<'a> {
    fn new(cache: &'a Cache) -> Self {
        // The dead cache is shared and never written.
        if !is_dead(cache) {
            cache.busy.store(cache.busy.load(Relaxed) + 1, Relaxed);
        }
        Self(cache)
    }

    /// Leaves without the end of the value: for a cache that is given away.
    fn leave(self) -> &'a Cache {
        let cache = self.0;
        drop(self);
        cache
    }
}

impl core::ops::Deref for Entered<'_> {
    type Target = Cache;

    #[inline]
    fn deref(&self) -> &Cache {
        self.0
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if !is_dead(self.0) {
            self.0.busy.store(self.0.busy.load(Relaxed) - 1, Relaxed);
        }
    }
}

impl Slot {
    /// The handle of a thread that has not called yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Cell::new(core::ptr::from_ref(&UNATTACHED.0).expose_provenance()))
    }

    pub(crate) fn cache(&self) -> &Cache {
        // SAFETY: always the address of a cache: a static one, or one that
        // lives as long as its arena.
        unsafe { &*at::<Cache>(self.0.get()) }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl<O: Os> Allocator<O> {
    /// The arena of an attached cache.
    pub(crate) fn arena_of<'a>(&'a self, cache: &Cache) -> &'a ArenaState {
        // SAFETY: an attached cache holds the address of its arena.
        unsafe { &*at::<ArenaState>(cache.arena.get()) }
    }

    /// The thread's cache, ready for use until the value is dropped; a dead one if
    /// the thread has none any more.
    #[inline]
    pub(crate) fn enter<'a>(&'a self, slot: &'a Slot) -> Entered<'a> {
        let cache = slot.cache();
        if cache.mode.load(Acquire) == MODE_UNATTACHED {
            let cache = if is_dead(cache) { cache } else { self.attach(slot) };
            return Entered::new(cache);
        }
        let entered = Entered::new(cache);
        // Busy first, then the mode: a helper stores the mode first.
        if cache.mode.load(Acquire) == MODE_LENT {
            self.take_back(cache);
        }
        self.let_in(cache);
        entered
    }

    /// Gives the thread an arena and a cache.
    #[cold]
    fn attach<'a>(&'a self, slot: &'a Slot) -> &'a Cache {
        self.prepare();
        lock::lock(&self.os, &self.arenas_lock);
        let attached = self.choose_arena().and_then(|arena| self.adopt(arena));
        lock::unlock(&self.os, &self.arenas_lock);
        // No arena to be had: the next call tries again.
        let Some(cache) = attached else { return &DEAD.0 };
        slot.0.set(core::ptr::from_ref(cache).expose_provenance());
        self.os.thread_attached();
        cache
    }

    /// An arena for one more thread: a free one, a new one, or the least shared one.
    fn choose_arena(&self) -> Option<&ArenaState> {
        let shared = |a: &&ArenaState| a.flags.get() & ARENA_SHARED != 0;
        if let Some(arena) = self.fullest_free() {
            return Some(arena);
        }
        self.state.multi_threaded.store(1, Relaxed);
        let count = self.state.arena_count.load(Relaxed) as usize;
        let limit = self.arena_limit(count);
        let to_share = if limit >= 4 { limit / 4 } else { 1 };
        if count + to_share < limit + usize::from(limit == 1) {
            return self.make_arena(0).or_else(|| self.least_shared());
        }
        if count < limit.max(2) && self.arenas().filter(shared).count() < to_share {
            return self.make_arena(ARENA_SHARED).or_else(|| self.least_shared());
        }
        self.least_shared()
    }

    /// Of the arenas without a thread, none of them shared, the one with the most free memory.
    pub(crate) fn fullest_free(&self) -> Option<&ArenaState> {
        self.arenas().filter(Self::is_free).max_by_key(|a| a.idle_bytes.load(Relaxed))
    }

    /// Whether an arena has no thread and may have one to itself.
    pub(crate) fn is_free(arena: &&ArenaState) -> bool {
        arena.users.load(Relaxed) == 0 && arena.flags.get() & ARENA_SHARED == 0
    }

    fn least_shared(&self) -> Option<&ArenaState> {
        let shared = self.arenas().filter(|a| a.flags.get() & ARENA_SHARED != 0);
        shared.min_by_key(|a| a.users.load(Relaxed))
    }

    /// Most arenas, counting the cores only when it matters.
    fn arena_limit(&self, count: usize) -> usize {
        let set = self.settings.get(Setting::ArenaMax);
        if set != 0 {
            return set.min(MAX_ARENAS);
        }
        let test = self.settings.get(Setting::ArenaTest);
        if count < test / 2 {
            return test.min(MAX_ARENAS);
        }
        let per_core = if self.os.address_space_limited() { FEW_PER_CORE } else { ARENAS_PER_CORE };
        if count < per_core / 2 {
            // With one core it would be as many.
            return per_core;
        }
        (per_core * self.os.usable_cores()).min(MOST_ARENAS)
    }

    /// Attaches the calling thread to `arena`.
    pub(crate) fn adopt<'a>(&'a self, arena: &'a ArenaState) -> Option<&'a Cache> {
        let held = self.hold(arena);
        let shared = arena.flags.get() & ARENA_SHARED != 0;
        let cache = if !shared || arena.caches.get() == 0 {
            &arena.cache
        } else {
            match held.caches().find(|c| c.tid.load(Relaxed) == 0) {
                Some(spare) => spare,
                None => held.make_cache()?,
            }
        };
        if cache.arena.get() == 0 {
            cache::init(cache, arena, &self.settings);
            cache.next.set(arena.caches.get());
            arena.caches.set(core::ptr::from_ref(cache).expose_provenance());
        }
        arena.users.fetch_add(1, Relaxed);
        arena.idle_bytes.store(0, Relaxed);
        let stays = shared || held.is_main();
        cache.moves.set(if stays { 0 } else { MOVES });
        cache.heir_of.set(0);
        cache.tid.store(self.os.thread_id(), Relaxed);
        cache.counting.set(self.counting.load(Relaxed));
        cache.sampling.set(self.sampling.load(Relaxed));
        cache.mode.store(if shared { MODE_SHARED } else { MODE_OPEN }, Relaxed);
        held.publish_range();
        Some(cache)
    }

    /// The thread ends: its chunks go home, its arena waits for the next thread.
    ///
    /// Calls that the thread still makes are served without a cache.
    pub fn detach(&self, slot: &Slot) {
        let cache = slot.cache();
        if !matches!(cache.mode.load(Relaxed), MODE_OPEN | MODE_SHARED | MODE_LENT) {
            return;
        }
        let own = cache.arena.get();
        self.leave(slot, self.enter(slot), &DEAD.0);
        self.relieve_others(own);
    }

    /// The thread leaves its arena; from now on `next` is its cache.
    pub(crate) fn leave(&self, slot: &Slot, entered: Entered<'_>, next: &Cache) {
        self.publish_calls(&entered);
        self.send_all(&entered);
        let held = self.hold(self.arena_of(&entered));
        slot.0.set(core::ptr::from_ref(next).expose_provenance());
        let cache = entered.leave();
        let cached = held.release(cache);
        let look = held.settle();
        drop(held);
        if look || cached > crate::idle::LOAN_MIN_BYTES {
            self.want_helper();
        }
    }

    /// Takes a lent cache back. Waits for whoever works on it.
    #[cold]
    fn take_back(&self, cache: &Cache) {
        let held = self.hold(self.arena_of(cache));
        held.reopen(cache);
    }

    /// Makes the calling thread's exclusive arena a shared one.
    pub fn share_own_arena(&self, slot: &Slot) {
        let cache = self.enter(slot);
        if cache.mode.load(Relaxed) != MODE_OPEN {
            return;
        }
        let held = self.hold(self.arena_of(&cache));
        held.arena.flags.set(held.arena.flags.get() | ARENA_SHARED);
        cache.mode.store(MODE_SHARED, Relaxed);
        cache::close(&cache);
        // The fast path keeps no A in the cache; a shared one must find it there.
        held.flush_all(&cache);
        held.consolidate();
    }

    /// Brings the calling thread's cache in line with settings that came after it.
    pub fn rebound(&self, slot: &Slot) {
        let cache = self.enter(slot);
        if cache.arena.get() != 0 {
            let held = self.hold(self.arena_of(&cache));
            held.flush_all(&cache);
            crate::stock::set_bounds(&cache, &self.settings);
        }
    }

    /// Whether every call is to be seen for another reason than a recording.
    pub(crate) fn others_count(&self) -> bool {
        self.settings.get(Setting::Perturb) != 0
            || self.settings.get(Setting::Check) == 3
            || !self.report.load(Relaxed).is_null()
    }

    /// From now on every call is counted (fast paths closed), or no longer.
    ///
    /// Takes effect on the calling thread at once, on others when they attach.
    pub fn set_counting(&self, slot: &Slot, on: bool) {
        self.counting.store(u32::from(on), Relaxed);
        self.let_in_own(slot);
        let cache = slot.cache();
        if cache.mode.load(Relaxed) == MODE_OPEN {
            cache.counting.set(u32::from(on));
            self.hold(self.arena_of(cache)).publish_range();
        }
    }
}

impl<'a, O: Os> Held<'a, O> {
    /// The arena's caches.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &'a Cache> + use<'a, O> {
        let mut next = self.arena.caches.get();
        core::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            // SAFETY: caches live as long as their arena.
            let cache = unsafe { &*at::<Cache>(next) };
            next = cache.next.get();
            Some(cache)
        })
    }

    /// A cache for one more thread of a shared arena, in a chunk of its own.
    fn make_cache(&self) -> Option<&'a Cache> {
        let bytes = size_of::<Cache>() + align_of::<Cache>();
        let taken = self.take(chunk_size(bytes)?)?;
        self.mark_live(taken.chunk);
        let address =
            (taken.chunk.pointer() + align_of::<Cache>() - 1) & !(align_of::<Cache>() - 1);
        // SAFETY: inside the fresh chunk, aligned; it is never freed.
        unsafe {
            at::<Cache>(address).write(Cache::new(MODE_SHARED));
            let cache = &*at::<Cache>(address);
            cache.waiting.init();
            Some(cache)
        }
    }

    /// Marks a chunk in transit, which is in no list, as held by somebody; its size is kept.
    ///
    /// The whole header: a chunk that comes out of a fastbin may have lost its A
    /// in a thread cache.
    pub(crate) fn mark_live(&self, chunk: crate::chunk::Chunk) {
        // SAFETY: a chunk of this arena that only this thread knows, lock held.
        unsafe {
            let header = chunk.header();
            let live = cache::live_header(self.arena, header.size());
            chunk.set_header(Header(live | header.0 & PREV_IN_USE));
        }
    }

    /// The cache has no thread any more. Its chunks stay for the next one, unless
    /// the arena is shared; their bytes.
    pub(crate) fn release(&self, cache: &Cache) -> usize {
        cache::close(cache);
        cache.tid.store(0, Relaxed);
        cache.mode.store(MODE_UNATTACHED, Relaxed);
        let users = self.arena.users.fetch_sub(1, AcqRel) - 1;
        if self.arena.flags.get() & ARENA_SHARED != 0 {
            self.flush_all(cache);
        }
        if users > 0 {
            return 0;
        }
        self.drain_without_thread();
        self.count_idle()
    }
}
