//! What happened, one event a step.
//!
//! ```text
//!   when │ processor │ process │ what │ its price
//! ```
//! Events hold numbers only; words come from `Display`.

use crate::inject::Injection;
use heapwise_pages::{Order, Pfn};
use heapwise_vm::{Access, Advice, Errno, Fault, FaultError, MapFlags, Prot, VirtAddr};
use std::fmt;

/// The number of a process.
pub type Pid = u32;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Simulated time at its end, in nanoseconds.
    pub at_ns: u64,
    /// What it cost.
    pub cost_ns: u64,
    /// The processor it ran on.
    pub cpu: u32,
    /// The process it ran in; 0 is the kernel itself.
    pub pid: Pid,
    /// What it was.
    pub what: What,
}

/// How a system call ended.
pub type Outcome = Result<u64, Errno>;

/// The kinds of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "arguments of the calls, by their usual names")]
pub enum What {
    Brk {
        wanted: VirtAddr,
        was: VirtAddr,
        now: VirtAddr,
    },
    Mmap {
        at: VirtAddr,
        length: u64,
        prot: Prot,
        flags: MapFlags,
        outcome: Outcome,
    },
    Munmap {
        at: VirtAddr,
        length: u64,
        outcome: Outcome,
    },
    Mremap {
        at: VirtAddr,
        old: u64,
        new: u64,
        outcome: Outcome,
    },
    Mprotect {
        at: VirtAddr,
        length: u64,
        prot: Prot,
        outcome: Outcome,
    },
    Madvise {
        at: VirtAddr,
        length: u64,
        advice: Advice,
        outcome: Outcome,
    },
    /// One advice for several ranges, `length` bytes together.
    ProcessMadvise {
        ranges: usize,
        length: u64,
        advice: Advice,
        outcome: Outcome,
    },
    Exec {
        entry: VirtAddr,
    },
    Fork {
        child: Pid,
    },
    Exit,
    /// A forked process's first moment.
    Born {
        parent: Pid,
    },
    /// An access that needed no fault.
    Hit {
        at: VirtAddr,
        access: Access,
        pfn: Pfn,
    },
    /// A page fault and how it was answered.
    Fault {
        at: VirtAddr,
        access: Access,
        answer: Result<(Fault, Pfn), FaultError>,
    },
    /// Frames out of the page allocator; `slab`: for the kernel's own objects.
    Taken {
        pfn: Pfn,
        order: Order,
        how: Taking,
        slab: bool,
    },
    /// Frames back.
    Given {
        pfn: Pfn,
        order: Order,
    },
    /// An object or an area for the kernel itself: bytes asked for, and whether it got them.
    Kernel {
        how: Maker,
        bytes: u64,
        got: bool,
    },
    /// It goes back.
    KernelFree {
        how: Maker,
    },
    /// A processor goes on with another process.
    Switch {
        from: Pid,
    },
    /// Pages given up by MADV_FREE were taken.
    Reclaimed {
        pages: u64,
    },
    /// Frames moved together.
    Compacted {
        moved: u32,
        success: bool,
    },
    /// Memory has run out; in a group, if not everywhere.
    OutOfMemory {
        group: Option<u32>,
    },
    /// The OOM killer has chosen.
    Killed {
        victim: Pid,
        points: i64,
        pages: u64,
    },
    /// A fault from the plan.
    Injected {
        what: Injection,
    },
}

/// What the kernel takes its own memory from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the functions' names")]
pub enum Maker {
    Kmalloc,
    KmemCacheAlloc,
    Vmalloc,
    AllocPages,
}

impl Maker {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Kmalloc => ("kmalloc", "kfree"),
            Self::KmemCacheAlloc => ("kmem_cache_alloc", "kmem_cache_free"),
            Self::Vmalloc => ("vmalloc", "vfree"),
            Self::AllocPages => ("alloc_pages", "free_pages"),
        }
    }
}

/// Where frames came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// Ready on this processor.
    Front,
    /// The processor's list was empty: a batch from the buddy, and this is the first.
    Refill,
    /// Straight from the buddy, a block of this order split down.
    Split(Order),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12.3} us  cpu {}  pid {:<3} {}",
            self.at_ns as f64 / 1e3,
            self.cpu,
            self.pid,
            self.what
        )?;
        if self.cost_ns > 0 { write!(f, "  [{} ns]", self.cost_ns) } else { Ok(()) }
    }
}

struct Ended(Outcome);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(value) if value > 4096 => write!(f, "= {value:#x}"),
            Ok(value) => write!(f, "= {value}"),
            Err(errno) => write!(f, "= -1 {}", errno_name(errno)),
        }
    }
}

/// `ENOMEM` and the like.
#[must_use]
pub const fn errno_name(errno: Errno) -> &'static str {
    match errno {
        Errno::Eperm => "EPERM",
        Errno::Eagain => "EAGAIN",
        Errno::Enomem => "ENOMEM",
        Errno::Eacces => "EACCES",
        Errno::Efault => "EFAULT",
        Errno::Eexist => "EEXIST",
        Errno::Einval => "EINVAL",
        Errno::Eoverflow => "EOVERFLOW",
        Errno::Eopnotsupp => "EOPNOTSUPP",
    }
}

/// `read`, `write`, `execute`.
#[must_use]
pub const fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Brk { wanted, now, .. } => write!(f, "brk({wanted:#x}) = {now:#x}"),
            Self::Mmap { at, length, prot, flags, outcome } => {
                write!(f, "mmap({at:#x}, {length}, {prot:?}, {flags:?}) {}", Ended(outcome))
            }
            Self::Munmap { at, length, outcome } => {
                write!(f, "munmap({at:#x}, {length}) {}", Ended(outcome))
            }
            Self::Mremap { at, old, new, outcome } => {
                write!(f, "mremap({at:#x}, {old}, {new}, MAYMOVE) {}", Ended(outcome))
            }
            Self::Mprotect { at, length, prot, outcome } => {
                write!(f, "mprotect({at:#x}, {length}, {prot:?}) {}", Ended(outcome))
            }
            Self::Madvise { at, length, advice, outcome } => {
                write!(f, "madvise({at:#x}, {length}, {advice:?}) {}", Ended(outcome))
            }
            Self::ProcessMadvise { ranges, length, advice, outcome } => {
                let done = Ended(outcome);
                write!(f, "process_madvise({ranges} ranges, {length} bytes, {advice:?}) {done}")
            }
            Self::Exec { entry } => write!(f, "exec: starts at {entry:#x}"),
            Self::Fork { child } => write!(f, "fork() = {child}"),
            Self::Born { parent } => write!(f, "process {parent}'s child begins"),
            Self::Exit => write!(f, "exit: all its memory goes back"),
            Self::Hit { at, access, pfn } => {
                write!(f, "{} {at:#x}: frame {}", access_name(access), pfn.get())
            }
            Self::Fault { at, access, answer } => {
                write!(f, "page fault, {} {at:#x}: ", access_name(access))?;
                match answer {
                    Ok((Fault::ZeroPage, _)) => f.write_str("the shared page of zeros"),
                    Ok((Fault::Zeroed, pfn)) => write!(f, "a new frame of zeros, {}", pfn.get()),
                    Ok((Fault::Mapped(around), pfn)) => {
                        write!(f, "the file's frame {}", pfn.get())?;
                        if around > 0 { write!(f, " and {around} around it") } else { Ok(()) }
                    }
                    Ok((Fault::Copied, pfn)) => write!(f, "a copy, frame {}", pfn.get()),
                    Ok((Fault::Reused, pfn)) => {
                        write!(f, "frame {} was there: the right alone", pfn.get())
                    }
                    Err(error) => write!(f, "{error}"),
                }
            }
            Self::Taken { pfn, order, how, slab } => {
                let from = match how {
                    Taking::Front => "this processor's list".to_owned(),
                    Taking::Refill => "the buddy: this processor's list filled".to_owned(),
                    Taking::Split(found) if found == order => "the buddy".to_owned(),
                    Taking::Split(found) => {
                        format!("the buddy: a block of order {} split", found.get())
                    }
                };
                let whose = if slab { " for a slab of the kernel's," } else { "" };
                write!(f, "frame {} (order {}){whose} from {from}", pfn.get(), order.get())
            }
            Self::Given { pfn, order } => {
                write!(f, "frame {} (order {}) back", pfn.get(), order.get())
            }
            Self::Kernel { how, bytes, got } => {
                let end = if got { "done" } else { "ENOMEM" };
                write!(f, "{}({bytes}): {end}", how.names().0)
            }
            Self::KernelFree { how } => f.write_str(how.names().1),
            Self::Switch { from } => write!(f, "the processor leaves process {from}"),
            Self::Reclaimed { pages } => write!(f, "{pages} pages given up before are taken"),
            Self::Compacted { moved, success } => write!(
                f,
                "compaction moved {moved} frames: {}",
                if success { "the block is there" } else { "no block of that order" }
            ),
            Self::OutOfMemory { group: None } => f.write_str("out of memory"),
            Self::OutOfMemory { group: Some(group) } => {
                write!(f, "group {group} is at its limit")
            }
            Self::Killed { victim, points, pages } => {
                write!(f, "OOM killer: process {victim} ({points} points), {pages} pages free")
            }
            Self::Injected { what } => write!(f, "injected: {what}"),
        }
    }
}
