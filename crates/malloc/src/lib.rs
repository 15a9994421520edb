//! The Heapwise allocator: a chunk heap under a thread cache, over a small
//! [`Os`](os::Os) trait.
//!
//! ```text
//! malloc ─► thread cache ─► fastbin ─► small ─► unsorted ─► large ─► top ─► kernel
//!             cache.rs      bins/                            cut.rs   top.rs, heap.rs, large.rs
//! free ───► thread cache ─► (over its bound) ─► depot ─► merged ─► unsorted, top
//!             cache.rs         stock.rs          depot.rs  sweep.rs   purge.rs gives pages back
//!           another's chunk ─► foreign bin ─► inbox   foreign.rs, inbox.rs
//! ```
//! `no_std`, no heap of its own. [`root::Allocator`] is generic over its
//! platform; [`global`] is the one that a process uses.
#![no_std]
#![deny(clippy::undocumented_unsafe_blocks)]

#[cfg(test)]
extern crate std;

mod arena;
pub mod atomic;
mod bins;
pub mod cache;
pub mod check;
mod chunk;
#[cfg(feature = "global")]
mod closed;
mod control;
mod cut;
mod depot;
mod entry;
pub mod fatal;
pub mod foreign;
mod fork;
#[cfg(feature = "global")]
pub mod global;
mod heap;
mod huge;
mod idle;
pub mod inbox;
mod kernel;
mod large;
#[cfg(feature = "global")]
pub mod linux;
pub mod lock;
mod merge;
mod neighbours;
pub mod os;
mod parts;
mod purge;
#[cfg(feature = "global")]
pub mod record;
#[cfg(feature = "global")]
mod report;
mod resize;
pub mod root;
pub mod sampling;
#[cfg(feature = "global")]
mod stacks;
pub mod stats;
mod stock;
#[cfg(feature = "global")]
mod stream;
mod sweep;
pub mod threads;
mod top;
#[cfg(feature = "global")]
mod touched;
mod trim;
pub mod tunables;
pub mod waiting;

pub use root::Allocator;
pub use threads::Slot;
