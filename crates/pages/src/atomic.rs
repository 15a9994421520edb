//! The atomic words that fronts share; under loom, loom's.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p heapwise-pages --release --test loom` runs this
//! very code in every interleaving.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
/// No frame's byte.
#[cfg(not(loom))]
pub(crate) static NOWHERE: AtomicU8 = AtomicU8::new(0);

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
