//! Slabs: many objects of one size to a block of frames.
//!
//! ```text
//!   CpuSlab    front[cache]  ready objects, no lock          alloc, free: here
//!   ─────────────┬─ Lock ────────────────────────────────────────────────────
//!   Slabs      cache: partial slabs ⇄ ⇄ ⇄                    half a front at once
//!   ─────────────┬───────────────────────────────────────────────────────────
//!   Source     a block of frames                             a new or an empty slab
//! ```
//! A free object holds the address of the next one, hardened as in Linux; every
//! free is checked for the cache, the place and a double free, always, not only in
//! debug mode. Lock order: the slabs' lock, then the frame source's.

mod debug;
mod front;
mod ground;
mod heap;
mod info;
mod kmalloc;
mod shape;
mod store;
mod warm;

pub use front::{CpuSlab, Front};
pub use ground::{Memory, SlabFrame, Source, Spot};
pub use heap::{CacheId, Parts, SlabHeap};
pub use info::SlabInfo;
pub use kmalloc::KMALLOC_SIZES;
pub use shape::{CacheSpec, Constructor, Fresh};
pub use store::{CacheSlot, Slabs};
