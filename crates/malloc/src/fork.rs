//! fork: every lock is taken before, so that the child finds whole arenas.
//!
//! The fast paths take no lock, so the child may find another thread's cache
//! between two stores. Each such state is a list that ends (a chunk may be lost
//! to it, none stands in two places), so the child counts anew and goes on.

use crate::arena::Held;
use crate::cache;
use crate::lock;
use crate::os::Os;
use crate::root::Allocator;
use crate::threads::Slot;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use heapwise_layout::state::Cache;

impl<O: Os> Allocator<O> {
    /// Before fork: nobody else is inside any arena.
    pub fn before_fork(&self) {
        self.prepare();
        lock::lock(&self.os, &self.arenas_lock);
        for arena in self.arenas() {
            lock::lock(&self.os, &arena.lock);
        }
        lock::lock(&self.os, &self.state.mapped.lock);
    }

    /// After fork, in the parent.
    pub fn after_fork_in_parent(&self) {
        lock::unlock(&self.os, &self.state.mapped.lock);
        for arena in self.arenas() {
            lock::unlock(&self.os, &arena.lock);
        }
        lock::unlock(&self.os, &self.arenas_lock);
    }

    /// After fork, in the child, which has one thread: the arenas of the others are free.
    pub fn after_fork_in_child(&self, slot: &Slot) {
        // Nobody waits: the waiters are in the parent.
        let free = |word: &AtomicU32| word.store(0, SeqCst);
        free(&self.state.mapped.lock);
        free(&self.arenas_lock);
        self.forget_commands();
        let own = slot.0.get();
        for arena in self.arenas() {
            free(&arena.lock);
            let held = self.hold(arena);
            for cache in held.caches() {
                if core::ptr::from_ref(cache).addr() == own {
                    cache.tid.store(self.os.thread_id(), Relaxed);
                } else if cache.tid.load(Relaxed) != 0 {
                    cache.busy.store(0, Relaxed);
                    held.recount(cache);
                    held.let_in(cache);
                    held.abandon_foreign(cache);
                    held.release(cache);
                }
            }
        }
        if self.arenas().filter(|a| a.users.load(Relaxed) > 0).count() <= 1 {
            self.state.multi_threaded.store(0, Relaxed);
        }
    }
}

impl<O: Os> Held<'_, O> {
    /// Counts a bin's chunks anew: a fork may have hit its thread between two stores.
    fn recount(&self, cache: &Cache) {
        for bin in &cache.bins[cache::FIRST_BIN..cache::END_BIN] {
            let mut found = 0u32;
            let mut pointer = bin.head.get();
            while pointer != 0 && found < u32::MAX / 2 {
                found += 1;
                pointer = self.next_in_transit(pointer);
            }
            bin.room.set(
                (i64::from(bin.bound.get()) - i64::from(found)).max(i64::from(i32::MIN)) as i32
            );
        }
    }
}
