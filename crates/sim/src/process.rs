//! A process, and groups of them.

use crate::event::Pid;
use crate::table::SimTable;
use heapwise_vm::Mm;

/// A process.
pub struct Process<'m> {
    /// Its number.
    pub pid: Pid,
    /// Its maker, 0 for the first ones.
    pub parent: Pid,
    /// What it is called.
    pub name: String,
    /// Its memory.
    pub mm: Mm<SimTable<'m>>,
    /// Its memory group.
    pub group: Option<u32>,
    /// `oom_score_adj`, −1000 to 1000; −1000 is never killed.
    pub oom_adjust: i64,
    /// Processors that may remember its page table: one bit each.
    pub cpus: u64,
    /// Whether it shows in the window.
    pub in_window: bool,
    pub(crate) charged: u64,
    pub(crate) objects: crate::objects::Held,
}

/// A memory group: processes with one limit, as a cgroup's `memory.max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Most pages together.
    pub limit: u64,
    /// Pages now.
    pub usage: u64,
    /// Most pages so far.
    pub peak: u64,
    /// Processes killed for its limit.
    pub kills: u64,
}

impl Group {
    /// A group without pages.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { limit, usage: 0, peak: 0, kills: 0 }
    }
}
