//! malloc_trim: everything free goes back now, in every arena that may be touched.

use crate::os::Os;
use crate::root::Allocator;
use crate::threads::Slot;
use core::sync::atomic::Ordering::Relaxed;

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
            let held = self.hold(arena);
            let mine = own.arena.get() == core::ptr::from_ref(arena).addr();
            for cache in held.caches() {
                let is_own = core::ptr::eq(cache, own);
                if is_own || cache.tid.load(Relaxed) == 0 || held.borrow(cache) {
                    held.flush_all(cache);
                    if !is_own {
                        held.send_outboxes(cache);
                    }
                }
            }
            if mine || held.may_edit() {
                held.drain_inbox(None);
                held.consolidate();
                released |= held.drop_empty_heaps();
            }
            released |= held.purge_to(0) > 0;
            if arena.index.get() == 0 && (mine || held.may_edit()) {
                released |= held.trim_top(pad);
            }
        }
        released
    }
}
