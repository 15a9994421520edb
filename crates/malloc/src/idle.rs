//! The idle helper's look at the arenas, and how a sleeping thread lends its cache.
//!
//! A thread that sleeps can lend its cache and arena: the helper, holding the
//! arena's lock, closes the cache, and then asks the platform whether the
//! thread is blocked in a system call outside this allocator. If so it is in
//! the middle of nothing, and on waking it finds its cache closed and must take
//! the lock first. Outside means: not `busy` (set by everything behind the fast
//! paths), and not in a signal handler that interrupted a fast path (the
//! platform looks for one on the thread's stack).

use crate::arena::Held;
use crate::os::Os;
use crate::root::Allocator;
use crate::stock::cached_bytes;
use crate::tunables::Setting;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use heapwise_layout::control::HELPER_NONE;
use heapwise_layout::state::{ARENA_SHARED, Cache, MODE_LENT, MODE_OPEN, MODE_SHARED};

/// The helper leaves a sleeping thread's cache alone below this.
pub(crate) const LOAN_MIN_BYTES: usize = 64 << 10;
/// Ticks without work after which the helper ends.
const QUIET_TICKS: u32 = 3;

/// What a look at an arena has come to.
struct Look {
    worked: bool,
    /// What waits in a large arena of which no thread makes use is still to be merged.
    more: bool,
}

impl<O: Os> Allocator<O> {
    /// One look of the idle helper; false when it may end.
    ///
    /// Serves what no thread will: arenas without one, and arenas whose thread sleeps.
    pub fn tick(&self) -> bool {
        let mut worked = self.serve();
        if self.helper_wanted() {
            for arena in self.arenas() {
                let Some(look) = self.try_hold(arena).map(|held| held.tick()) else { continue };
                worked |= look.worked;
                // With the lock free in between: its thread may wake up.
                let mut more = look.more;
                while more {
                    more = self.try_hold(arena).is_some_and(|held| held.merge_idle());
                }
            }
        } else {
            // Somebody asked for a command, and only for that.
            self.quiet_ticks.store(QUIET_TICKS, Relaxed);
        }
        let quiet = if worked { 0 } else { self.quiet_ticks.load(Relaxed) + 1 };
        self.quiet_ticks.store(quiet, Relaxed);
        if quiet < QUIET_TICKS {
            return true;
        }
        self.state.control.helper.store(HELPER_NONE, Relaxed);
        false
    }
}

impl<O: Os> Held<'_, O> {
    /// Opens a cache again that was lent.
    pub(crate) fn reopen(&self, cache: &Cache) {
        if cache.mode.load(Relaxed) == MODE_LENT {
            let shared = self.arena.flags.get() & ARENA_SHARED != 0;
            cache.mode.store(if shared { MODE_SHARED } else { MODE_OPEN }, Relaxed);
            self.publish_range();
        }
    }

    /// Closes a sleeping thread's cache so that this thread may work on it.
    /// False, and nothing changed, if the thread is not known to sleep.
    pub(crate) fn borrow(&self, cache: &Cache) -> bool {
        let mode = cache.mode.load(Relaxed);
        if mode == MODE_LENT {
            return true;
        }
        if !matches!(mode, MODE_OPEN | MODE_SHARED) {
            return false;
        }
        cache.mode.store(MODE_LENT, SeqCst);
        crate::cache::close(cache);
        if self.root.os.parked(cache.tid.load(Relaxed)) && cache.busy.load(SeqCst) == 0 {
            self.let_in(cache);
            return true;
        }
        self.reopen(cache);
        false
    }

    /// Whether this thread may edit headers of live chunks here: nobody owns the
    /// arena, or its owner sleeps, or it is shared.
    pub(crate) fn may_edit(&self) -> bool {
        let owned = self.arena.users.load(Relaxed) > 0;
        !owned || self.arena.flags.get() & ARENA_SHARED != 0 || self.borrow(&self.arena.cache)
    }

    /// Merges some of what waits in a large arena while its thread sleeps; true if there is more.
    fn merge_idle(&self) -> bool {
        if !self.may_edit() {
            return false;
        }
        let more = self.merge_some();
        if !more {
            self.drop_empty_heaps();
        }
        more
    }

    /// One look of the helper at this arena.
    fn tick(&self) -> Look {
        let mut worked = false;
        let inbox = self.arena.inbox.head.load(Relaxed) != 0;
        let owned = self.arena.users.load(Relaxed) > 0;
        let shared = self.arena.flags.get() & ARENA_SHARED != 0;
        let mut idle = !owned || shared;
        for cache in self.caches() {
            let activity = cache.activity.load(Relaxed);
            let asleep = cache.activity_seen.replace(activity) == activity;
            let waits = inbox
                || cached_bytes(cache) > LOAN_MIN_BYTES
                || self.arena.depot_bytes.load(Relaxed) > LOAN_MIN_BYTES
                || self.holds_foreign(cache)
                || cache.waiting_pointers().next().is_some();
            if cache.tid.load(Relaxed) == 0 {
                if waits && asleep {
                    self.flush_all(cache);
                    worked = true;
                }
            } else if waits && asleep && self.borrow(cache) {
                self.flush_all(cache);
                self.send_foreign(cache);
                worked = true;
                idle = true;
            } else {
                worked |= waits;
            }
        }
        if idle && inbox {
            self.drain_inbox(None);
            worked = true;
        }
        if idle && worked {
            self.end_swings();
            if !self.is_large() {
                self.consolidate();
            }
            self.drop_empty_heaps();
        } else {
            worked |= self.ask_to_merge();
        }
        let more = idle && worked && self.is_large();
        if !owned && worked {
            self.count_idle();
        }
        // What stayed dirty for the whole window goes back.
        let total = self.dirty_total();
        let low = self.arena.dirty_low_bytes.replace(total).min(total);
        if low > 0 && self.root.settings.get(Setting::Purge) > 0 {
            let given = self.purge_to(total - low);
            self.arena.dirty_low_bytes.set(self.dirty_total());
            worked |= given > 0;
        }
        Look { worked: worked || total > 0 && low < total, more }
    }
}
