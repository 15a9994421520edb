//! The byte layout of a Heapwise heap, defined once.
//!
//! The allocator writes it; the in-process checker, the outside inspector and
//! the simulator read it. No unsafe code, no dependencies, no heap.
#![no_std]
#![forbid(unsafe_code)]

pub mod bins;
mod cache;
pub mod control;
pub mod header;
pub mod live;
pub mod record;
pub mod report;
pub mod settings;
pub mod size;
pub mod state;
pub mod walk;
