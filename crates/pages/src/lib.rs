//! Page frames and slabs for a kernel or a hypervisor.
//!
//! ```text
//!   kmalloc  Cache<T>  GlobalAlloc         slab     objects, per-CPU fronts
//!   ───────────┬──────────────────────────────────────────────────────────
//!   get_free_pages  alloc  free  drain     pages    per-CPU stacks, no lock
//!   ───────────┬─ Lock ───────────────────────────────────────────────────
//!   DMA · DMA32 · Normal                   zones    fallbacks, watermarks
//!   split, merge, steal, bulk, compact     zone     bit sets, a byte a frame
//! ```
//! No heap of its own: the books live in slices that the caller lends, under 2
//! bytes a frame for pages, 12 more for slabs. No frame is ever touched by the
//! page allocator, and objects only through the caller's [`slab::Memory`]. Nothing
//! panics when memory runs out; each misuse has its own error and changes nothing.
//! The only unsafe code is in [`raw`], the face towards pointers.
//! A function whose documentation names no cost takes constant time.
#![no_std]
#![deny(unsafe_code)]

mod atomic;
mod bits;
mod buddy;
mod bulk;
mod compact;
mod cpu;
mod error;
mod frame;
mod lock;
mod migrate;
mod out;
mod pages;
pub mod raw;
mod run;
pub mod slab;
mod state;
mod stats;
mod steal;
mod warm;
mod watermark;
mod zone;
mod zones;

pub use compact::{Compacted, Mover};
pub use cpu::{BATCH, CpuFront, HIGH};
pub use error::{AllocError, BulkFreeError, ClaimError, FreeError, RegionError, SlabError};
pub use frame::{
    DirectMap, ORDERS, Order, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, PAGEBLOCK_ORDER, Pfn, Phys, Virt,
};
pub use lock::Lock;
pub use migrate::{MIGRATE_TYPES, MigrateType};
pub use pages::Pages;
pub use stats::{BuddyInfo, PageTypeInfo};
pub use watermark::{LOWMEM_RESERVE_RATIO, Request, Urgency, Watermarks, min_free_kbytes};
pub use zone::{Metadata, ZONES, Zone, ZoneKind};
pub use zones::Zones;
