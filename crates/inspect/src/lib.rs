//! Reads the heap of a running process from outside and accounts for every resident page.
//!
//! ```text
//! process   what the kernel tells: mappings, pages, memory, threads, limits
//! corefile  the same of a process that has ended, from its core
//! images    the files that it has mapped
//! heap      what heaps have in common: rows, trim gain, pins, pictures, bins
//! glibc     an unmodified glibc's heap, by tables and by shape
//! ours      our own heap, by its published layout
//! recognise whose heap it is
//! runtimes  heaps past malloc: Python's, Java's, Go's
//! ledger    claims on pages become an account that sums to the RSS
//! moment    what of it is of one moment, with or without a stop
//! turns     tasks shared among threads
//! survey    one look at a process: all of the above in order
//! verdict   what it means, in words
//! snapshot  a look in a file
//! diff      two looks: what grows
//! control   commands to a process on our heap
//! ```
//! A look stops nothing, writes nothing, maps nothing into the target (one of a single moment
//! stops it for a copy, [`process::frozen`]): the page state is read first, and then memory of
//! present pages only. Any word read may be anything: loops are bounded, inconsistencies are
//! counted, nothing panics.

pub mod control;
pub mod corefile;
pub mod diff;
pub mod error;
pub mod glibc;
pub mod gone;
pub mod heap;
pub mod holders;
pub mod images;
pub mod ledger;
pub mod moment;
pub mod origin;
pub mod ours;
pub mod process;
pub mod recognise;
pub mod runtimes;
pub mod snapshot;
pub mod span;
pub mod survey;
pub mod tally;
pub mod turns;
pub mod verdict;
pub mod wire;

pub use error::Error;
pub use survey::{Allocator, Depth, Options, Survey, survey, survey_core};
pub use tally::{ROWS, Row};
