//! A deterministic simulated kernel.
//!
//! ```text
//!   script, workload, journey          what runs
//!   user      our allocator on it      fast, or live: real loads and stores take its faults
//!   ─────────────┬──────────────────────────────────────────────────────────────
//!   calls touch  │ inject │ event price     a step: perhaps failed, priced, written down
//!   process oom compact objects             many processes, groups, kernel objects
//!   kernel                                  boot: all parts of one machine
//!   ─────────────┴──────────────────────────────────────────────────────────────
//!   heapwise-vm, heapwise-pages             the same crates that a kernel adopts
//! ```
//! One seed decides everything: no clock, no host address, no hash map has a say.
//! Start from [`boot`].
//! A function whose documentation names no cost takes constant time.

mod calls;
mod compact;
mod config;
pub mod event;
pub mod inject;
pub mod journey;
mod kernel;
pub mod labs;
mod objects;
mod oom;
mod own;
mod price;
mod process;
mod ram;
pub mod script;
mod source;
mod table;
mod touch;
pub mod user;
mod vmstat;
mod window;
pub mod workload;

pub use config::Config;
pub use event::{Event, Pid, What};
pub use inject::{Injection, Plan};
pub use kernel::{BootError, Kernel, boot, boot_shared};
pub use objects::Objects;
pub use oom::badness;
pub use price::Prices;
pub use process::{Group, Process};
pub use ram::Fidelity;
pub use touch::TouchError;
pub use vmstat::Counts;
pub use window::Behind;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
