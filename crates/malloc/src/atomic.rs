//! The atomic words of the lock-free parts, as a trait.
//!
//! [`crate::inbox`] and [`crate::lock`] are generic over it so that the loom
//! tests run this very code over loom's words, and every interleaving of it.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// An atomic word holding a `T`; the methods are those of `core`.
#[allow(missing_docs, reason = "core documents each")]
pub trait Atomic<T> {
    fn load(&self, order: Ordering) -> T;
    fn swap(&self, value: T, order: Ordering) -> T;
    /// # Errors
    /// The value found, if it is not `current`.
    fn compare_exchange(&self, current: T, new: T, ok: Ordering, not: Ordering) -> Result<T, T>;
}

macro_rules! core_word {
    ($word:ty, $value:ty) => {
        impl Atomic<$value> for $word {
            #[inline(always)]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            #[inline(always)]
            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.swap(value, order)
            }

            #[inline(always)]
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                ok: Ordering,
                not: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, ok, not)
            }
        }
    };
}

core_word!(AtomicU32, u32);
core_word!(AtomicUsize, usize);
