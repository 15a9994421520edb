//! What a thread looks for when its arena has grown: memory that lies idle in others.
//!
//! ```text
//!   arena of a thread that sleeps      its inbox fills, nobody takes it: merged and given back
//!   arena without a thread             a new thread moves there, as long as its own grows;
//!                                      if nobody does, it is merged and given back
//! ```
//! Both are what the helper would see to after half a second and more; a program whose
//! threads hand everything over in less would have grown by then. A thread often starts before the one it
//! follows has ended, so which arena is the best one shows a little later than its first call.

use crate::arena::Held;
use crate::lock;
use crate::os::Os;
use crate::root::Allocator;
use crate::stock::cached_bytes;
use crate::threads::{Entered, Slot};
use crate::tunables::Setting;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::state::{ARENA_SHARED, ArenaState, Cache};

/// Of what waits in a large arena so many times what one call of its own thread would merge.
const SHARES_AT_ONCE: usize = 16;
/// A thread moves for no less than this.
const WORTH_MOVING_BYTES: usize = 256 << 10;
/// No less than this is merged and given back: few chunks may hold many pages.
const WORTH_BYTES: usize = 64 << 10;
/// An arena counts as asleep if it has done nothing between two looks so far apart.
const ASLEEP_NS: u64 = 1_000_000;
/// Each time that its memory goes back doubles that, up to the helper's pace: a thread that sleeps
/// briefly again and again keeps its cache.
const ASLEEP_DOUBLINGS: u32 = 9;
/// One without a thread waits so many times longer: the next thread takes it as it is.
const UNUSED_TIMES: u64 = 32;

impl<O: Os> Allocator<O> {
    /// [`Allocator::enter`], for calls that take memory: looks around if the arena has grown.
    #[inline]
    pub(crate) fn enter_grown<'a>(&'a self, slot: &'a Slot) -> Entered<'a> {
        let entered = self.enter(slot);
        if entered.grew.load(Relaxed) == 0 { entered } else { self.look_around(slot, entered) }
    }

    #[cold]
    fn look_around<'a>(&'a self, slot: &'a Slot, entered: Entered<'a>) -> Entered<'a> {
        entered.grew.store(0, Relaxed);
        if !self.multi_threaded() {
            return entered;
        }
        let moves = entered.moves.get();
        if moves > 0 {
            entered.moves.set(moves - 1);
            if let Some(next) = self.adopt_better(entered.heir_of.replace(0)) {
                next.moves.set(moves - 1);
                self.leave(slot, entered, next);
                return self.enter(slot);
            }
        }
        self.relieve_others(entered.arena.get());
        entered
    }

    /// Merges and gives back what lies idle in all arenas but the one at address `own`.
    pub(crate) fn relieve_others(&self, own: usize) {
        if self.settings.get(Setting::Purge) > 0 && self.multi_threaded() {
            let now = self.os.now_ns();
            // The clock is coarse: one look a tick, whoever takes it.
            if self.looked_ns.load(Relaxed) == now {
                return;
            }
            self.looked_ns.store(now, Relaxed);
            for arena in self.arenas().filter(|a| core::ptr::from_ref(*a).addr() != own) {
                self.relieve(arena, now);
            }
        }
    }

    /// Attaches the thread to an arena without one that has free memory, if there is any: the
    /// one that it is the heir of, or else the one with the most.
    fn adopt_better(&self, heir_of: u32) -> Option<&Cache> {
        let choose = || {
            let own = Some(heir_of).filter(|&owner| owner > 0).map(|o| self.arena_number(o));
            own.filter(Self::is_free)
                .or_else(|| self.fullest_free())
                .filter(|arena| arena.idle_bytes.load(Relaxed) >= WORTH_MOVING_BYTES)
                // Somebody gives back what it has: that is not worth waiting for.
                .filter(|arena| arena.lock.load(Relaxed) == 0)
        };
        // Without the lock first: mostly there is none.
        choose()?;
        lock::lock(&self.os, &self.arenas_lock);
        let cache = choose().and_then(|arena| self.adopt(arena));
        lock::unlock(&self.os, &self.arenas_lock);
        cache
    }

    /// Merges what is free in another arena and gives it back, if it is much and its thread
    /// sleeps, or it has none.
    fn relieve(&self, arena: &ArenaState, now: u64) {
        if arena.flags.get() & ARENA_SHARED != 0 {
            return;
        }
        let activity = arena.cache.activity.load(Relaxed);
        let before = arena.looked_ns.load(Relaxed);
        if before == 0 || arena.looked_activity.swap(activity, Relaxed) != activity {
            arena.looked_ns.store(now, Relaxed);
            return;
        }
        // Merged without being given back it would only have to be cut again.
        let doublings = arena.relieved.load(Relaxed).min(ASLEEP_DOUBLINGS);
        let factor = if arena.users.load(Relaxed) == 0 { UNUSED_TIMES } else { 1 };
        let asleep_ns = (ASLEEP_NS << doublings) * factor;
        if now.saturating_sub(before) < asleep_ns
            || idle_bytes(arena) < WORTH_BYTES
            || !self.budget.allows(&self.os)
        {
            return;
        }
        arena.looked_ns.store(now, Relaxed);
        if let Some(held) = self.try_hold(arena)
            && held.may_edit()
        {
            arena.relieved.fetch_add(1, Relaxed);
            held.empty();
        }
    }
}

/// What is free in an arena that has done nothing for a while (a racy look).
fn idle_bytes(arena: &ArenaState) -> usize {
    arena.inbox.bytes.load(Relaxed)
        + arena.dirty_bytes.load(Relaxed)
        + arena.depot_bytes.load(Relaxed)
        + cached_bytes(&arena.cache)
}

impl<O: Os> Held<'_, O> {
    /// Notes what an arena without a thread keeps; what of it is in its cache.
    pub(crate) fn count_idle(&self) -> usize {
        let cached = cached_bytes(&self.arena.cache);
        let idle = cached + self.arena.depot_bytes.load(Relaxed) + self.dirty_total();
        self.arena.idle_bytes.store(idle, Relaxed);
        cached
    }

    /// Merges all that waits in an arena whose cache nobody uses, and gives back what is free
    /// then.
    fn empty(&self) {
        let cache = &self.arena.cache;
        self.drain_inbox(Some(cache));
        self.flush_all(cache);
        self.send_foreign(cache);
        if !self.is_large() {
            self.consolidate();
        } else {
            // The rest waits for the next look.
            _ = (0..SHARES_AT_ONCE).all(|_| self.merge_some());
        }
        self.drop_empty_heaps();
        self.purge_to(0);
        if self.arena.users.load(Relaxed) == 0 {
            self.count_idle();
        }
    }
}
