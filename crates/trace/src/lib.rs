//! The trace file of Heapwise: what a program asked of malloc, and malloc of the kernel.
//!
//! ```text
//! ┌─────────────┐
//! │ file header │ magic, version                                        format.rs
//! ├─────────────┤
//! │ block       │ header: process, thread, number, times, sizes, checksums
//! │             │ payload: records of one thread, packed                layout's record.rs
//! ├─────────────┤
//! │ block …     │ or definitions: processes, modules, stacks; or a reading of the clock
//! ├─────────────┤
//! │ end block   │ missing if the recorder did not come to its end
//! └─────────────┘
//! ```
//! A block stands for itself: what comes behind a cut is lost, nothing before.
//! [`Trace`] reads a file: it looks at the blocks' headers once, then merges
//! the threads in the order of time with one block a thread in memory.
//! [`Writer`] writes blocks, [`Builder`] makes them of single events, and
//! [`sample`] invents a program, for tests.
//!
//! ```
//! use heapwise_trace::{Builder, Event, ProcessStart, Trace, What};
//!
//! let mut builder = Builder::new(Vec::new())?;
//! let process = builder.process(ProcessStart { pid: 7, ..Default::default() }, &["demo"])?;
//! let event = |time_ns, what| Event { time_ns, process, thread: 7, what };
//! builder.push(&event(10, What::Malloc { size: 24, address: 0x1010, stack: 0 }))?;
//! builder.push(&event(20, What::Free { address: 0x1010 }))?;
//!
//! let trace = Trace::from_bytes(builder.finish()?)?;
//! assert_eq!(trace.processes()[0].pid, 7);
//! let mut live = 0i64;
//! for event in trace.events() {
//!     match event?.what {
//!         What::Malloc { .. } => live += 1,
//!         What::Free { .. } => live -= 1,
//!         _ => {}
//!     }
//! }
//! assert_eq!(live, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod clock;
mod definitions;
mod error;
mod event;
mod format;
mod index;
mod merge;
pub mod sample;
mod trace;
mod weight;
mod writer;

pub use builder::Builder;
pub use clock::{Anchor, Clock};
pub use definitions::{Definitions, Module, Process, Recording};
pub use error::Error;
pub use event::{Event, KernelCall, What};
#[doc(hidden)]
pub use format::reseal;
pub use format::{BlockHeader, BlockKind, FORMAT_VERSION, MAGIC, MAX_BLOCK_BYTES, Packing};
pub use heapwise_layout::record::{Cause, KernelOp, NO_PROCESS, ProcessStart};
pub use merge::Events;
pub use trace::{Source, Trace};
pub use weight::sample_weight;
pub use writer::{Writer, pack, wrap};
