//! What the tests of Heapwise as a whole share: finding and building the
//! shared library, compiling the C programs beside this crate, running them
//! under an allocator with a time limit, and judging what came of it.
//!
//! ```text
//! misuse/*.c       one mistake each; the opening comment names the line and the signal
//! conformance/*    one promise each; exit status 0 means kept
//! tests/*.rs       the tables of both, real programs, instruction counts, examples
//! ```
//!
//! `HEAPWISE_LIB=/path/libheapwise.so` tests that library instead of building
//! one; `HEAPWISE_LIB=none` runs everything on the C library's own malloc,
//! which checks the programs rather than the allocator.
#![deny(unsafe_code)]

pub mod allocator;
pub mod compare;
pub mod compile;
pub mod conformance;
pub mod expect;
mod group;
pub mod library;
pub mod misuse;
pub mod program;
pub mod run;
pub mod workspace;
