//! What each step costs in simulated time.
//!
//! The defaults were taken on a virtual machine (EPYC, Linux 6.18) and rounded: a
//! system call that does nothing costs 90 ns there, `brk` by one page .7 µs, a page
//! fault 1.3 µs. They are for comparing runs of the simulation, not for predicting a machine.

use heapwise_vm::Events;

/// Prices in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prices {
    /// In and out of the kernel.
    pub system_call: u64,
    /// The work of a call that changes mappings.
    pub mapping: u64,
    /// In and out of the fault handler, the tree and the table searched.
    pub fault: u64,
    /// A frame filled with zeros.
    pub zero: u64,
    /// A frame copied.
    pub copy: u64,
    /// A range forgotten on this processor.
    pub flush: u64,
    /// Each page of such a range.
    pub flush_page: u64,
    /// Each other processor that must forget it too.
    pub shootdown: u64,
    /// Another process on a processor.
    pub switch: u64,
    /// An access that finds its page.
    pub access: u64,
    /// An object out of a slab, or a block out of the buddy, and back.
    pub object: u64,
    /// A frame moved by compaction.
    pub migrate: u64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            system_call: 90,
            mapping: 550,
            fault: 600,
            zero: 250,
            copy: 450,
            flush: 150,
            flush_page: 4,
            shootdown: 1500,
            switch: 1200,
            access: 1,
            object: 20,
            migrate: 900,
        }
    }
}

impl Prices {
    /// What happened in an address space between two looks at its counters.
    #[must_use]
    pub const fn of(&self, before: &Events, after: &Events, others: u64) -> u64 {
        let flushes = after.flushes - before.flushes;
        (after.faults + after.failed - before.faults - before.failed) * self.fault
            + (after.zeroed - before.zeroed) * self.zero
            + (after.copied - before.copied) * self.copy
            + flushes * (self.flush + others * self.shootdown)
            + (after.flushed_pages - before.flushed_pages) * self.flush_page
    }
}
