//! Frees of another arena's chunks: collected by owner, pushed in batches.
//!
//! ```text
//! cache.outboxes[arena index & 7]: head ─► chunk ─► … ─► tail      mixed classes
//!                                    one compare-and-swap a batch ──► arena.inbox
//! ```
//! A chunk is marked free (tag 0) before it enters an outbox, so a second free
//! is caught wherever it waits. What a thread keeps here is bounded by
//! [`BATCH_CHUNKS`] and [`BATCH_BYTES`] an outbox, and goes when the thread
//! ends or sleeps.

use crate::arena::Held;
use crate::chunk::{Chunk, at};
use crate::inbox;
use crate::os::Os;
use crate::root::Allocator;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use heapwise_layout::control::HELPER_NONE;
use heapwise_layout::state::{ArenaState, Cache, OUTBOXES, Outbox};

/// Chunks in a batch.
const BATCH_CHUNKS: u32 = 64;
/// Bytes in a batch.
const BATCH_BYTES: u32 = 16 << 10;

impl<O: Os> Allocator<O> {
    /// Frees a chunk of an arena that is not this thread's. Its tag is already 0.
    pub(crate) fn free_foreign(
        &self,
        cache: &Cache,
        arena: &ArenaState,
        chunk: Chunk,
        size: usize,
    ) {
        let outbox = &cache.outboxes[arena.index.get() as usize % OUTBOXES];
        let address = core::ptr::from_ref(arena).expose_provenance();
        if outbox.arena.get() != address {
            self.send(outbox);
            outbox.arena.set(address);
        }
        let pointer = chunk.pointer();
        // SAFETY: freed by its holder, in transit and this thread's until sent.
        unsafe { at::<usize>(pointer).write(outbox.head.get()) };
        if outbox.head.get() == 0 {
            outbox.tail.set(pointer);
        }
        outbox.head.set(pointer);
        outbox.count.set(outbox.count.get() + 1);
        outbox.bytes.set(outbox.bytes.get().saturating_add(size.min(u32::MAX as usize) as u32));
        if outbox.count.get() >= BATCH_CHUNKS || outbox.bytes.get() >= BATCH_BYTES {
            self.send(outbox);
        }
    }

    /// Frees one chunk into its arena's inbox, from a thread without a cache.
    pub(crate) fn free_foreign_alone(&self, arena: &ArenaState, chunk: Chunk) {
        self.push_batch(arena, chunk.pointer(), chunk.pointer());
    }

    /// Pushes what an outbox holds.
    fn send(&self, outbox: &Outbox) {
        let first = outbox.head.replace(0);
        if first == 0 {
            return;
        }
        outbox.count.set(0);
        outbox.bytes.set(0);
        // SAFETY: the address of an arena, which lives as long as the allocator.
        let arena = unsafe { &*at::<ArenaState>(outbox.arena.get()) };
        self.push_batch(arena, first, outbox.tail.get());
    }

    fn push_batch(&self, arena: &ArenaState, first: usize, last: usize) {
        inbox::push(&arena.inbox.head, first, |old| {
            // SAFETY: the batch's last chunk, in transit and this thread's until pushed.
            unsafe { at::<usize>(last).write(old) };
        });
        // Nobody may ever look into the inbox of an arena without a thread.
        if arena.users.load(Acquire) == 0
            && let Some(held) = self.try_hold(arena)
        {
            if arena.users.load(Relaxed) == 0 {
                held.drain_inbox(None);
                let look = held.settle();
                drop(held);
                if look {
                    self.want_helper();
                }
            }
        } else if self.state.control.helper.load(Relaxed) == HELPER_NONE {
            // The owner may sleep for long: let somebody look.
            self.want_helper();
        }
    }

    /// Pushes everything that waits in a cache's outboxes.
    pub(crate) fn send_all(&self, cache: &Cache) {
        cache.outboxes.iter().for_each(|outbox| self.send(outbox));
    }
}

impl<O: Os> Held<'_, O> {
    /// Whether anything waits in the outboxes of `cache`.
    pub(crate) fn outbox_used(&self, cache: &Cache) -> bool {
        cache.outboxes.iter().any(|outbox| outbox.head.get() != 0)
    }

    /// Pushes what a lent cache holds for other arenas, without looking into them:
    /// this arena's lock is held, and locks are taken one at a time.
    pub(crate) fn send_outboxes(&self, cache: &Cache) {
        for outbox in &cache.outboxes {
            let first = outbox.head.replace(0);
            if first != 0 {
                outbox.count.set(0);
                outbox.bytes.set(0);
                let last = outbox.tail.get();
                // SAFETY: the address of an arena; the chunks are the lent cache's.
                let arena = unsafe { &*at::<ArenaState>(outbox.arena.get()) };
                // SAFETY: the batch's last chunk, in transit.
                inbox::push(&arena.inbox.head, first, |old| unsafe {
                    at::<usize>(last).write(old)
                });
            }
        }
    }

    /// In a fork child: pushes the outboxes of a thread that is not here. Their
    /// ends may not match their heads, if the fork hit the thread between two
    /// stores, so the end is found by walking.
    pub(crate) fn abandon_outboxes(&self, cache: &Cache) {
        for outbox in &cache.outboxes {
            let mut last = outbox.head.get();
            while last != 0 {
                match self.next_in_transit(last) {
                    0 => break,
                    next => last = next,
                }
            }
            outbox.tail.set(last);
        }
        self.send_outboxes(cache);
    }
}
