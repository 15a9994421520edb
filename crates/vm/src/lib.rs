//! Address spaces for a kernel, as Linux keeps them.
//!
//! ```text
//!   brk mmap munmap mremap mprotect madvise fork exec     one file a verb
//!   fault: page of zeros, first store, copy-on-write, files, stacks
//!   ───────────┬────────────┬──────────────┬───────────────────────────
//!   VmaTree     PageTable    Frames, Files  Commit      yours, or the ones here:
//!   VmaPool     SoftTable    Counted, Shmem             lent slices, no heap
//! ```
//! No heap of its own: VMAs and page tables live in slices that the caller lends, frames
//! come from a trait that the pages crate's buddy serves. Nothing panics when one of them
//! runs out; each refusal has its own cause and Linux's number. Start from [`Mm`].
//! A function whose documentation names no cost takes constant time.
#![no_std]
#![forbid(unsafe_code)]

mod addr;
mod area;
mod brk;
mod commit;
mod error;
mod exec;
mod fault;
mod files;
mod flags;
mod fork;
mod frames;
mod half;
mod layout;
mod madvise;
mod merge;
mod mm;
mod mmap;
mod mprotect;
mod mremap;
mod munmap;
pub mod render;
mod shmem;
mod soft;
mod stack;
mod table;
mod tree;
mod truncate;
mod vma;
mod vmalloc;

pub use addr::{HUGE_SIZE, Span, VirtAddr, page_align};
pub use commit::{Commit, Overcommit};
pub use error::{Errno, Error, FaultError};
pub use exec::{Image, Segment, Start};
pub use fault::{Fault, Touch};
pub use files::{FileKind, FileLabel, Files, LoadError, OpenMode};
pub use flags::{Access, Advice, MapFlags, Prot, RemapFlags, VmFlags};
pub use frames::{Contents, Counted, Frames};
pub use half::UpperHalf;
pub use layout::{Aslr, Layout, Limits, Policy, UNLIMITED, Width};
pub use mm::{Bounds, Env, Events, Mm, Rss, Usage};
pub use mmap::{MapRequest, MapSource};
pub use mremap::RemapRequest;
pub use shmem::{Shmem, ShmemSlot};
pub use soft::{SoftTable, Table, TableArena};
pub use table::{Entry, EntryBits, OutOfTables, PageTable};
pub use tree::{Iter, OutOfVmas, VmaId, VmaPool, VmaSlot, VmaTree};
pub use vma::{AnonVma, Backing, FileId, Special, Vma};
pub use vmalloc::{VMALLOC_RANGE, Vmalloc, VmallocError, VmallocFigures};
