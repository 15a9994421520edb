//! malloc_trim: everything free goes back now, in every arena that may be touched.

use crate::os::Os;
use crate::root::Allocator;
use crate::stock::cached_bytes;
use crate::threads::Slot;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::state::{ArenaState, Cache};

/// What a trim made of one arena.
pub(crate) struct Trimmed {
    /// Something went back.
    pub(crate) released: bool,
    /// Nothing was kept because a thread ran.
    pub(crate) whole: bool,
}

impl<O: Os> Allocator<O> {
    /// Gives back all whole free pages but `pad` bytes of the main top; true if any went.
    ///
    /// The caller's own cache is emptied, as are those of threads that are gone
    /// or asleep. An arena whose thread runs right now keeps its cache and
    /// inbox; its free pages go all the same. O(chunks).
    pub fn trim(&self, slot: &Slot, pad: usize) -> bool {
        self.prepare();
        let own = &*self.enter(slot);
        self.send_all(own);
        let mut released = false;
        for arena in self.arenas() {
            released |= self.trim_arena(arena, Some(own), pad).released;
        }
        released
    }

    /// Trims one arena, for the thread that has the cache `own` or for one that has none.
    pub(crate) fn trim_arena(
        &self,
        arena: &ArenaState,
        own: Option<&Cache>,
        pad: usize,
    ) -> Trimmed {
        let held = self.hold(arena);
        let mut done = Trimmed { released: false, whole: true };
        let mine = own.is_some_and(|own| own.arena.get() == core::ptr::from_ref(arena).addr());
        for cache in held.caches() {
            let is_own = own.is_some_and(|own| core::ptr::eq(cache, own));
            if is_own || cache.tid.load(Relaxed) == 0 || held.borrow(cache) {
                held.flush_all(cache);
                if !is_own {
                    held.send_foreign(cache);
                }
            } else {
                done.whole &= cached_bytes(cache) == 0 && !held.holds_foreign(cache);
            }
        }
        if mine || held.may_edit() {
            held.drain_inbox(None);
            held.consolidate();
            done.released |= held.drop_empty_heaps();
        } else {
            done.whole = false;
        }
        done.released |= held.purge_to(0) > 0;
        if arena.index.get() == 0 && (mine || held.may_edit()) {
            done.released |= held.trim_top(pad);
        }
        done
    }
}
