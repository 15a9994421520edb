//! The host's kernel as the oracle for `heapwise-vm`.
//!
//! ```text
//!   generate ──► steps ──┬─► host: a child process, raw system calls ──┐
//!                        └─► ours: the model ──────────────────────────┴─► compare
//!                                                    a difference ──► shrink
//! ```
//! Compared after each step: the returned value or errno, what a load reads, how a bad
//! access ends, every line of `/proc/self/maps`, the sizes and resident sizes in `status`.

pub mod compare;
pub mod exception;
pub mod exec;
pub mod generate;
pub mod host;
pub mod op;
pub mod ours;
pub mod shrink;
