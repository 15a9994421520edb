//! Counters, and `/proc` as text: vmstat, meminfo, buddyinfo, slabinfo, maps, smaps, status.

use crate::event::{Pid, What};
use crate::kernel::Kernel;
use heapwise_pages::slab::SlabInfo;
use heapwise_pages::{BuddyInfo, PageTypeInfo};
use heapwise_vm::{Events, PageTable, render};
use std::fmt::Write;

/// What happened since the machine started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Steps priced.
    pub steps: u64,
    /// System calls.
    pub calls: u64,
    /// Of these, `brk`.
    pub brk: u64,
    /// `mmap`.
    pub mmap: u64,
    /// `munmap`.
    pub munmap: u64,
    /// `mremap`.
    pub mremap: u64,
    /// `mprotect`.
    pub mprotect: u64,
    /// `madvise` and `process_madvise`.
    pub madvise: u64,
    /// Page faults that were answered.
    pub faults: u64,
    /// Of these, with a new frame of zeros.
    pub zeroed: u64,
    /// Of these, with the shared page of zeros.
    pub zero_page: u64,
    /// Of these, with a copy.
    pub copied: u64,
    /// Ranges forgotten by processors.
    pub flushes: u64,
    /// Other processors told to forget.
    pub shootdowns: u64,
    /// Processors that went on with another process.
    pub switches: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Blocks in use that compaction looked at.
    pub compact_scanned: u64,
    /// Frames that it moved.
    pub compact_moved: u64,
    /// Compactions that made a block.
    pub compact_success: u64,
}

impl Counts {
    pub(crate) const fn note(&mut self, what: &What) {
        match what {
            What::Brk { .. } => self.brk += 1,
            What::Mmap { .. } => self.mmap += 1,
            What::Munmap { .. } => self.munmap += 1,
            What::Mremap { .. } => self.mremap += 1,
            What::Mprotect { .. } => self.mprotect += 1,
            What::Madvise { .. } | What::ProcessMadvise { .. } => self.madvise += 1,
            _ => {}
        }
    }

    pub(crate) const fn add(&mut self, before: &Events, after: &Events, others: u64) {
        self.faults += after.faults - before.faults;
        self.zeroed += after.zeroed - before.zeroed;
        self.zero_page += after.zero_page - before.zero_page;
        self.copied += after.copied - before.copied;
        let flushes = after.flushes - before.flushes;
        self.flushes += flushes;
        self.shootdowns += flushes * others;
    }
}

impl Kernel<'_> {
    /// `/proc/vmstat`: the lines that this machine has figures for, with Linux's names.
    /// O(processes + zones).
    #[must_use]
    pub fn vmstat(&self) -> String {
        let sum = |of: fn(&heapwise_vm::Rss) -> u64| -> u64 {
            self.processes.values().map(|process| of(&process.mm.rss())).sum()
        };
        let tables: u64 = self.processes.values().map(|p| p.mm.table().tables()).sum();
        let counts = &self.counts;
        let lines = [
            ("nr_free_pages", self.free_frames()),
            ("nr_anon_pages", sum(|rss| rss.anon)),
            ("nr_mapped", sum(|rss| rss.file + rss.shmem)),
            ("nr_page_table_pages", tables),
            ("pgalloc_normal", self.shared.taken.get()),
            ("pgfree", self.shared.given.get()),
            ("pgfault", counts.faults),
            ("pgmigrate_success", counts.compact_moved),
            ("compact_migrate_scanned", counts.compact_scanned),
            ("compact_success", counts.compact_success),
            ("oom_kill", counts.oom_kills),
            ("nr_tlb_local_flush_all", counts.flushes),
            ("nr_tlb_remote_flush", counts.shootdowns),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }

    /// `/proc/meminfo`, the lines that this machine has figures for. O(processes + zones).
    #[must_use]
    pub fn meminfo(&self) -> String {
        let anon: u64 = self.processes.values().map(|process| process.mm.rss().anon).sum();
        let tables: u64 = self.processes.values().map(|p| p.mm.table().tables()).sum();
        let lines = [
            ("MemTotal", self.managed_frames()),
            ("MemFree", self.free_frames()),
            ("SwapTotal", self.commit.swap_pages),
            ("AnonPages", anon),
            ("PageTables", tables),
            ("CommitLimit", self.commit.limit()),
            ("Committed_AS", self.commit.committed),
        ];
        let mut text = String::new();
        for (name, pages) in lines {
            let _ = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), pages * 4);
        }
        text
    }

    /// `/proc/buddyinfo`. O(zones × orders).
    #[must_use]
    pub fn buddyinfo(&self) -> String {
        self.shared.pages.zones(|zones| BuddyInfo(zones).to_string())
    }

    /// `/proc/pagetypeinfo`. O(zones × orders).
    #[must_use]
    pub fn pagetypeinfo(&self) -> String {
        self.shared.pages.zones(|zones| PageTypeInfo(zones).to_string())
    }

    /// `/proc/slabinfo`. O(caches).
    #[must_use]
    pub fn slabinfo(&self) -> String {
        self.objects.slabs(|slabs| SlabInfo(slabs).to_string())
    }

    /// Free blocks of each order, in all zones. O(zones × orders).
    #[must_use]
    pub fn free_blocks(&self) -> [u32; heapwise_pages::ORDERS] {
        self.shared.blocks()
    }

    /// `/proc/PID/maps`; empty for nobody. O(VMAs).
    #[must_use]
    pub fn maps(&self, pid: Pid) -> String {
        self.processes.get(&pid).map_or_else(String::new, |process| {
            render::Maps { mm: &process.mm, nodes: &self.nodes, files: &self.files }.to_string()
        })
    }

    /// `/proc/PID/smaps`; empty for nobody. O(VMAs + pages).
    #[must_use]
    pub fn smaps(&self, pid: Pid) -> String {
        self.processes.get(&pid).map_or_else(String::new, |process| {
            let (nodes, files, frames) = (&self.nodes, &self.files, &self.frames);
            render::Smaps { mm: &process.mm, nodes, files, frames }.to_string()
        })
    }

    /// All processes, a line each, sizes in kB. O(processes).
    #[must_use]
    pub fn process_table(&self) -> String {
        let mut text = String::from("  PID  PPID GROUP     SIZE      RSS  ADJ NAME\n");
        for process in self.processes.values() {
            let group = process.group.map_or_else(|| "-".to_owned(), |group| group.to_string());
            let _ = writeln!(
                text,
                "{:>5} {:>5} {:>5} {:>8} {:>8} {:>4} {}",
                process.pid,
                process.parent,
                group,
                process.mm.usage().total * 4,
                process.mm.rss().total() * 4,
                process.oom_adjust,
                process.name
            );
        }
        text
    }

    /// The memory lines of `/proc/PID/status`; empty for nobody. O(1).
    #[must_use]
    pub fn status(&self, pid: Pid) -> String {
        self.processes
            .get(&pid)
            .map_or_else(String::new, |process| render::Status(&process.mm).to_string())
    }

    /// Whether every frame is where somebody knows it: free, or in use and counted.
    /// O(frames + VMAs + pages).
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self) -> Result<(), String> {
        self.shared.pages.zones(|zones| zones.iter().try_for_each(|zone| zone.check()))?;
        for process in self.processes.values() {
            if !process.mm.is_sound(&self.nodes) {
                return Err(format!("process {}'s counters do not fit its memory", process.pid));
            }
        }
        for (number, group) in &self.groups {
            let members = self.processes.values().filter(|p| p.group == Some(*number));
            let sum: u64 = members.map(|process| process.charged).sum();
            if sum != group.usage {
                return Err(format!("group {number} counts {} pages, not {sum}", group.usage));
            }
        }
        Ok(())
    }
}
