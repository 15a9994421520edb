//! Repeats a recorded trace of allocations.
//!
//! ```text
//! trace ──► compile ──► script ──┬─► streams ──► player   a process of its own, under any malloc:
//!                      what one  │               launch   real time, faults, RSS, kernel calls
//!                      process   │               calls
//!                      did       └─► sim                  our allocator on a simulated kernel:
//!                                                         deterministic, priced
//! ```
//! Both give [`Figures`]. Threads and their order are kept, see [`streams`]; what a program
//! wrote into its blocks is not in a trace, see [`streams::Touch`].

pub mod calls;
pub mod compile;
pub mod figures;
pub mod launch;
pub mod original;
pub mod player;
pub mod script;
pub mod sim;
mod spans;
pub mod streams;

pub use compile::compile;
pub use figures::Figures;
pub use script::{Calls, Script};
