//! The bench on which the allocator is tested: a kernel in memory, a model of
//! what a program holds, and an audit that recounts the whole heap.
//!
//! ```text
//!  bytes or a seed ─► op.rs ─► script.rs ─► world.rs ──► Allocator<MemoryOs>
//!                                           │ model         │
//!                                           │ pattern.rs    ▼
//!                                           └► audit.rs   os.rs ─► space.rs, breaks.rs (whose is what)
//!                                                           └────► host.rs (real pages behind)
//! ```
//! Invariant: one seed decides everything, addresses included, as long as a
//! test runs alone; `replay.rs` prints the command that runs it again.

pub mod audit;
pub mod breaks;
pub mod faults;
pub mod host;
pub mod op;
pub mod os;
pub mod pattern;
pub mod real;
pub mod replay;
pub mod script;
pub mod setup;
pub mod space;
pub mod world;

pub use os::MemoryOs;
pub use world::World;
