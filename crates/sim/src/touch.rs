//! Loads and stores of programs, and the page faults that they take.
//!
//! ```text
//!   access ─► entry allows it ─► done
//!          └► fault ─► frame? ─► none: lists drained, MADV_FREE pages taken, then the OOM killer
//! ```

use crate::event::{Pid, What};
use crate::kernel::Kernel;
use heapwise_pages::{PAGE_SIZE, Pfn};
use heapwise_vm::{
    Access, EntryBits, Events, FaultError, PageTable, Span, Touch, VirtAddr, VmFlags,
};

/// How an access ended that did not go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TouchError {
    /// SIGSEGV or SIGBUS: the process is still there.
    Signal(FaultError),
    /// The OOM killer chose this very process; it is gone.
    Killed,
    /// There is no such process.
    NoProcess,
    /// Memory has run out and nobody may be killed.
    Deadlock,
}

impl std::fmt::Display for TouchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(error) => error.fmt(f),
            Self::Killed => f.write_str("SIGKILL: out of memory"),
            Self::NoProcess => f.write_str("no such process"),
            Self::Deadlock => f.write_str("out of memory, and nobody may be killed"),
        }
    }
}

impl std::error::Error for TouchError {}

/// Pages taken at once from those given up by MADV_FREE.
const RECLAIM_PAGES: u64 = 64;
/// Bytes of a huge page.
const HUGE_BYTES: u64 = 2 << 20;

impl Kernel<'_> {
    /// One access of a process. O(levels), or a fault.
    ///
    /// # Errors
    /// All of [`TouchError`].
    pub fn touch(&mut self, pid: Pid, at: VirtAddr, access: Access) -> Result<Touch, TouchError> {
        self.enter(pid);
        loop {
            let Some(process) = self.processes.get(&pid) else { return Err(TouchError::NoProcess) };
            let allowed =
                process.mm.table().get(at.page()).is_some_and(|entry| entry.allows(access));
            if !allowed
                && let Some(group) = process.group
                && self.is_full(group)
                && !self.make_room(Some(group), pid)?
            {
                return Err(TouchError::Deadlock);
            }
            let Some((process, _)) = self.parts(pid) else { return Err(TouchError::Killed) };
            let before = process.mm.events();
            if !allowed && self.huge_pages && self.touch_block(pid, at, before) {
                continue;
            }
            let Some((process, mut env)) = self.parts(pid) else { return Err(TouchError::Killed) };
            let result = process.mm.access(&mut env, at, access);
            match result {
                Ok(Touch { pfn, fault: None }) => {
                    self.emit(pid, self.prices.access, What::Hit { at, access, pfn });
                }
                Ok(Touch { pfn, fault: Some(fault) }) => {
                    let what = What::Fault { at, access, answer: Ok((fault, pfn)) };
                    self.account(pid, before, 0, what);
                }
                Err(error) => {
                    let what = What::Fault { at, access, answer: Err(error) };
                    self.account(pid, before, 0, what);
                    if error != FaultError::OutOfMemory {
                        return Err(TouchError::Signal(error));
                    }
                    if !self.make_room(None, pid)? {
                        return Err(TouchError::Deadlock);
                    }
                    continue;
                }
            }
            return result.map_err(TouchError::Signal);
        }
    }

    /// Fills the block of 2 MiB around an address whose page is missing, as one fault, if huge
    /// pages were asked for all of it and none of it is there. False if not, or if memory ran
    /// out, in which case the page alone is tried.
    fn touch_block(&mut self, pid: Pid, at: VirtAddr, before: Events) -> bool {
        let start = at.get() & !(HUGE_BYTES - 1);
        let block = Span::at(VirtAddr::new(start), HUGE_BYTES);
        let Some(process) = self.processes.get(&pid) else { return false };
        let asked = process.mm.vma_at(&self.nodes, at).is_some_and(|vma| {
            vma.is_anonymous()
                && vma.flags.has(VmFlags::HUGEPAGE)
                && vma.span.start <= block.start
                && block.end <= vma.span.end
        });
        if !asked || process.mm.table().first(block).is_some() {
            return false;
        }
        let Some((process, mut env)) = self.parts(pid) else { return false };
        let mut last = None;
        for page in (0..HUGE_BYTES).step_by(PAGE_SIZE as usize) {
            match process.mm.access(&mut env, block.start.up(page), Access::Write) {
                Ok(Touch { fault: Some(fault), pfn }) => last = Some((fault, pfn)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let Some(answer) = last else { return false };
        // The frames are zeroed one by one; the way into the kernel is paid once.
        let after = process.mm.events();
        let before = Events { faults: after.faults - 1, failed: after.failed, ..before };
        let what = What::Fault { at, access: Access::Write, answer: Ok(answer) };
        self.account(pid, before, 0, what);
        self.mapped(pid, at.page()).is_some()
    }

    fn is_full(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|group| group.usage >= group.limit)
    }

    /// Finds memory for `pid`: what is cheap first. False if nobody may be killed.
    fn make_room(&mut self, group: Option<u32>, pid: Pid) -> Result<bool, TouchError> {
        let before = self.shared.pages.zones(|zones| zones.free_frames());
        if group.is_none() {
            self.shared.drain();
            if self.shared.pages.zones(|zones| zones.free_frames()) > before {
                return Ok(true);
            }
        }
        if self.reclaim(group, RECLAIM_PAGES) > 0 {
            return Ok(true);
        }
        self.emit(pid, 0, What::OutOfMemory { group });
        let Some(victim) = self.kill_someone(group) else { return Ok(false) };
        if victim == pid { Err(TouchError::Killed) } else { Ok(true) }
    }

    /// Takes pages that MADV_FREE gave up, of a group or of all; how many.
    fn reclaim(&mut self, group: Option<u32>, most: u64) -> u64 {
        let pids: Vec<Pid> = self.processes.keys().copied().collect();
        let mut freed = 0;
        for pid in pids {
            let Some((process, mut env)) = self.parts(pid) else { continue };
            if group.is_some() && process.group != group {
                continue;
            }
            let before = process.mm.events();
            let pages = process.mm.reclaim(&mut env, most - freed);
            if pages > 0 {
                freed += pages;
                self.account(pid, before, 0, What::Reclaimed { pages });
            }
            if freed >= most {
                break;
            }
        }
        freed
    }

    /// Reads the word at the start of a page, as a program would. As [`touch`](Self::touch).
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn load(&mut self, pid: Pid, at: VirtAddr) -> Result<u64, TouchError> {
        let touch = self.touch(pid, at, Access::Read)?;
        Ok(self.ram.word(touch.pfn))
    }

    /// Writes the word at the start of a page. As [`touch`](Self::touch).
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub fn store(&mut self, pid: Pid, at: VirtAddr, word: u64) -> Result<(), TouchError> {
        let touch = self.touch(pid, at, Access::Write)?;
        self.ram.set_word(touch.pfn, word);
        Ok(())
    }

    /// Touches every page of a range. O(pages × levels), or their faults.
    ///
    /// # Errors
    /// As [`touch`](Self::touch), at the first page that fails.
    pub fn touch_range(
        &mut self,
        pid: Pid,
        at: VirtAddr,
        bytes: u64,
        access: Access,
    ) -> Result<(), TouchError> {
        let end = at.get().saturating_add(bytes);
        let mut page = at.page();
        while page.get() < end {
            self.touch(pid, page, access)?;
            page = page.up(PAGE_SIZE);
        }
        Ok(())
    }

    /// The frame of a page and whether a store needs no fault, after a fault in the
    /// window: what the host is to map.
    pub(crate) fn mapped(&self, pid: Pid, at: VirtAddr) -> Option<(Pfn, bool)> {
        let entry = self.processes.get(&pid)?.mm.table().get(at.page())?;
        let writable = entry.allows(Access::Write) && entry.bits.has(EntryBits::DIRTY);
        Some((entry.pfn, writable))
    }
}
