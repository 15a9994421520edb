//! An event: one thing that one thread did.

use heapwise_layout::record::{Cause, KernelOp};

/// One event of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the recording began.
    pub time_ns: u64,
    /// Which process: [`crate::Process::index`]. A process that execs is another one from then on.
    pub process: u32,
    /// The thread, by its kernel id; 0 for what was seen from outside.
    pub thread: u32,
    /// What it did.
    pub what: What,
}

/// What a thread did.
///
/// Sizes are as requested, in bytes. An address of 0 means that the request
/// failed. `stack` is an id for [`crate::Trace::stack`], 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields' names; see above")]
pub enum What {
    /// malloc, operator new; realloc of a null pointer.
    Malloc { size: u64, address: u64, stack: u32 },
    /// calloc; the size is the product.
    Calloc { size: u64, address: u64, stack: u32 },
    /// memalign and its like.
    Aligned { size: u64, align: u64, address: u64, stack: u32 },
    /// realloc of a block, timed at its end. `address` is 0 if it failed and `old` stayed;
    /// `old` is 0 if it is unknown (the beginning of a bounded recording). `kept`: the block stayed
    /// in the room that it had, so nothing was allocated.
    Realloc { size: u64, old: u64, address: u64, stack: u32, kept: bool },
    /// free of a block; not recorded for null.
    Free { address: u64 },
    /// So many bytes of a large block's pages are in memory, now that it ends, shrinks, or its
    /// process ends: of the rest nothing was ever written.
    Touched { address: u64, bytes: u64 },
    /// A call of the allocator to the kernel.
    Kernel(KernelCall),
    /// The process's figures as the kernel keeps them: RSS at that moment, faults so far.
    Sample { rss_bytes: u64, minor_faults: u64, major_faults: u64 },
    /// A thread's first call.
    ThreadStart,
    /// A thread's end.
    ThreadEnd,
    /// A new image (exec) or a fork child.
    ProcessStart,
    /// The process forked; the child follows as a process of its own. 0 if its pid is unknown:
    /// the fork failed, or the recorder never met the child.
    Fork { child_pid: u32 },
    /// The process has run its exit handlers.
    ProcessEnd,
    /// The process is no more, or another image has taken its place; timed when the recorder
    /// noticed.
    ProcessGone,
    /// So many records of this thread found no room.
    Lost { records: u64 },
}

impl What {
    /// The block that it allocates: address and requested size.
    #[must_use]
    pub fn allocates(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Malloc { size, address, .. }
            | Self::Calloc { size, address, .. }
            | Self::Aligned { size, address, .. }
            | Self::Realloc { size, address, .. }
                if address != 0 =>
            {
                Some((address, size))
            }
            _ => None,
        }
    }

    /// The address of the block that it frees. For a realloc the old one.
    #[must_use]
    pub fn frees(&self) -> Option<u64> {
        match *self {
            Self::Free { address } => Some(address),
            Self::Realloc { old, address, .. } if address != 0 && old != 0 => Some(old),
            _ => None,
        }
    }

    /// The id of its stack, if it has one.
    #[must_use]
    pub fn stack(&self) -> Option<u32> {
        match *self {
            Self::Malloc { stack, .. }
            | Self::Calloc { stack, .. }
            | Self::Aligned { stack, .. }
            | Self::Realloc { stack, .. }
                if stack != 0 =>
            {
                Some(stack)
            }
            _ => None,
        }
    }
}

/// A call of the allocator to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCall {
    /// Which.
    pub op: KernelOp,
    /// The call of the program that made it necessary: an allocation is the next event of the
    /// thread that is not a kernel call, a free the last one. A realloc's kernel calls come
    /// before it.
    pub cause: Cause,
    /// Whether the kernel refused.
    pub failed: bool,
    /// Where: for brk the old break.
    pub address: u64,
    /// How much: for brk by how much the break moved, up or down.
    pub bytes: i64,
    /// mremap: where it went, else 0.
    pub new_address: u64,
    /// mremap: how much it is now, else 0.
    pub new_bytes: u64,
}
