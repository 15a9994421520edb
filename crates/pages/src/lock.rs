//! The lock that the caller brings.
//!
//! ```text
//!   CPU 0 ─ front ─┐                     the fronts need no lock: each has one CPU
//!                  ├─ Lock ─ Zones       a refill or flush takes it once for 64
//!   CPU 1 ─ front ─┘
//! ```

use core::cell::RefCell;

/// Exclusive access to a `T` behind a shared reference: a spinlock with
/// interrupts off, a mutex, or on one CPU a [`RefCell`].
///
/// The work is short, takes no lock of the same kind, and never sleeps. The slab
/// calls its frame source, and so takes that lock, while it holds its own.
pub trait Lock<T> {
    /// Runs `work` with the lock held.
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> Lock<T> for RefCell<T> {
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.borrow_mut())
    }
}
