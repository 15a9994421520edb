//! Page faults: a frame where one is missing, a copy where one is shared.
//!
//! ```text
//!   no VMA ──► stack? grow : SIGSEGV (MAPERR)         no right ──► SIGSEGV (ACCERR)
//!   no entry   anonymous  read ► page of zeros    write ► new frame
//!              file       read ► its page, and up to 16 around
//!                         write ► private: a copy   shared: its page
//!   entry, no store allowed     sole owner: allow   else: a copy
//! ```

use crate::addr::{Span, VirtAddr};
use crate::error::FaultError;
use crate::files::{FileKind, LoadError};
use crate::flags::{Access, VmFlags};
use crate::mm::{Env, Mm};
use crate::mprotect::rights;
use crate::table::{Entry, EntryBits, PageTable};
use crate::tree::VmaId;
use crate::vma::{Backing, FileId, Vma};
use heapwise_pages::{PAGE_SIZE, Pfn};

/// How a fault was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The page of zeros: nothing is resident yet.
    ZeroPage,
    /// A new frame of zeros.
    Zeroed,
    /// The file's own page, and so many around it.
    Mapped(u32),
    /// A new frame with a copy.
    Copied,
    /// The frame that was there, now with the right.
    Reused,
}

/// An access that went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// The frame behind the address.
    pub pfn: Pfn,
    /// The fault that it took, if it took one.
    pub fault: Option<Fault>,
}

/// Slots of one table: a fault looks no further around.
const TABLE_PAGES: u64 = 512;

impl<T: PageTable> Mm<T> {
    /// A load, store or fetch, as the processor does it: through the page table, or by
    /// way of a fault. O(levels), or as [`fault`](Self::fault).
    ///
    /// All of [`FaultError`].
    pub fn access(
        &mut self,
        env: &mut Env<'_, '_>,
        at: VirtAddr,
        access: Access,
    ) -> Result<Touch, FaultError> {
        let page = at.page();
        let mut fault = None;
        let entry = match self.table.get(page).filter(|entry| entry.allows(access)) {
            Some(entry) => entry,
            None => {
                fault = Some(self.fault(env, at, access)?);
                self.table.get(page).ok_or(FaultError::OutOfMemory)?
            }
        };
        let mut bits = entry.bits.with(EntryBits::ACCESSED);
        if access == Access::Write {
            bits = bits.with(EntryBits::DIRTY);
        }
        if bits != entry.bits {
            // An entry stands there: no table is missing.
            let _ = self.table.set(page, entry.with_bits(bits));
        }
        Ok(Touch { pfn: entry.pfn, fault })
    }

    /// What the page-fault handler does. O(log n + levels); a page is zeroed or copied.
    ///
    /// All of [`FaultError`]: two kinds of SIGSEGV, SIGBUS, and no memory. Then nothing
    /// has changed, but that a stack may have grown.
    pub fn fault(
        &mut self,
        env: &mut Env<'_, '_>,
        at: VirtAddr,
        access: Access,
    ) -> Result<Fault, FaultError> {
        let result = self.handle(env, at, access);
        let events = &mut self.events;
        match result {
            Ok(fault) => {
                events.faults += 1;
                *match fault {
                    Fault::ZeroPage => &mut events.zero_page,
                    Fault::Zeroed => &mut events.zeroed,
                    Fault::Mapped(_) => &mut events.mapped,
                    Fault::Copied => &mut events.copied,
                    Fault::Reused => &mut events.reused,
                } += 1;
            }
            Err(_) => events.failed += 1,
        }
        result
    }

    fn handle(
        &mut self,
        env: &mut Env<'_, '_>,
        at: VirtAddr,
        access: Access,
    ) -> Result<Fault, FaultError> {
        let id = self.tree.find(env.nodes, at).ok_or(FaultError::NotMapped)?;
        if env.nodes[id].span.start > at {
            self.grow_stack(env, id, at).map_err(|_| FaultError::NotMapped)?;
        }
        let vma = env.nodes[id];
        let allowed = match access {
            // As on x86: what allows anything allows a load.
            Access::Read => vma.is_accessible(),
            Access::Write => vma.flags.has(VmFlags::WRITE),
            Access::Execute => vma.flags.has(VmFlags::EXEC),
        };
        if !allowed {
            return Err(FaultError::NotAllowed);
        }
        let page = at.page();
        match (self.table.get(page), vma.backing) {
            (Some(entry), _) if access == Access::Write => self.allow_store(env, id, page, entry),
            (Some(entry), _) => {
                let bits = rights(env, entry, vma.flags);
                self.table.set(page, entry.with_bits(bits))?;
                Ok(Fault::Reused)
            }
            (None, Backing::Anonymous) if access == Access::Write => {
                self.join_family(env, id);
                self.give_frame(env, page, vma.flags, None)?;
                Ok(Fault::Zeroed)
            }
            (None, Backing::Anonymous) => {
                let bits = EntryBits::of_prot(vma.flags.prot()).with(EntryBits::ZERO);
                let bits = bits.without(EntryBits::WRITE);
                self.table.set(page, Entry { pfn: env.frames.zero_page(), bits })?;
                Ok(Fault::ZeroPage)
            }
            (None, Backing::File(file)) => self.fault_file(env, id, file, page, access),
            (None, Backing::Special(_)) => Err(FaultError::BeyondFile),
        }
    }

    /// A private frame for a page: of zeros, or a copy.
    fn give_frame(
        &mut self,
        env: &mut Env<'_, '_>,
        page: VirtAddr,
        flags: VmFlags,
        copied: Option<Pfn>,
    ) -> Result<(), FaultError> {
        let pfn = env.frames.take().ok_or(FaultError::OutOfMemory)?;
        if let Some(from) = copied {
            env.frames.copy(from, pfn);
        }
        let bits = EntryBits::of_prot(flags.prot())
            .with(EntryBits::ANON)
            .with(EntryBits::DIRTY)
            .with(EntryBits::ACCESSED);
        if let Err(error) = self.table.set(page, Entry { pfn, bits }) {
            env.frames.release(pfn);
            return Err(error.into());
        }
        self.rss.add(bits);
        Ok(())
    }

    /// A store to a page that has an entry without the right.
    fn allow_store(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        page: VirtAddr,
        entry: Entry,
    ) -> Result<Fault, FaultError> {
        let vma = env.nodes[id];
        let sole = entry.bits.has(EntryBits::ANON) && env.frames.owners(entry.pfn) == 1;
        if sole || vma.flags.has(VmFlags::SHARED) {
            let bits = entry.bits.allowing(vma.flags.prot()).without(EntryBits::LAZY);
            self.table.set(page, entry.with_bits(bits.with(EntryBits::DIRTY)))?;
            if let (Backing::File(file), false) = (vma.backing, sole) {
                env.files.mark_dirty(file, vma.offset_at(page));
            }
            return Ok(Fault::Reused);
        }
        self.join_family(env, id);
        let zero = entry.bits.has(EntryBits::ZERO);
        self.give_frame(env, page, vma.flags, if zero { None } else { Some(entry.pfn) })?;
        self.rss.sub(entry.bits);
        self.flush(Span::page_of(page), 1);
        if zero {
            return Ok(Fault::Zeroed);
        }
        env.frames.release(entry.pfn);
        Ok(Fault::Copied)
    }

    fn fault_file(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        file: FileId,
        page: VirtAddr,
        access: Access,
    ) -> Result<Fault, FaultError> {
        let vma = env.nodes[id];
        let private = !vma.flags.has(VmFlags::SHARED);
        let index = vma.offset_at(page);
        let write = access == Access::Write;
        let mut around = 0;
        if !write {
            around = self.map_around(env, &vma, file, page);
            if self.table.get(page).is_some() {
                return Ok(Fault::Mapped(around.saturating_sub(1)));
            }
        }
        if write && private {
            // Before anything can fail, as in Linux.
            self.join_family(env, id);
        }
        let pfn = env.files.load(file, index, env.frames).map_err(|error| match error {
            LoadError::BeyondEnd => FaultError::BeyondFile,
            LoadError::OutOfMemory => FaultError::OutOfMemory,
        })?;
        if write && private {
            self.give_frame(env, page, vma.flags, Some(pfn))?;
            return Ok(Fault::Copied);
        }
        self.map_file_page(env, &vma, file, page, pfn, write)?;
        Ok(Fault::Mapped(around))
    }

    fn map_file_page(
        &mut self,
        env: &mut Env<'_, '_>,
        vma: &Vma,
        file: FileId,
        page: VirtAddr,
        pfn: Pfn,
        write: bool,
    ) -> Result<(), FaultError> {
        let shmem = env.files.kind(file) == FileKind::Shmem;
        // As on x86, what is mapped counts as touched, even around a fault.
        let mut bits = EntryBits::of_prot(vma.flags.prot()).with(EntryBits::ACCESSED);
        if shmem {
            bits = bits.with(EntryBits::SHMEM);
        }
        if write {
            bits = bits.with(EntryBits::DIRTY);
        }
        // A store to a private page is a copy; one to a file must be noticed.
        if !vma.flags.has(VmFlags::SHARED) || !(write || shmem) {
            bits = bits.without(EntryBits::WRITE);
        }
        self.table.set(page, Entry { pfn, bits })?;
        if write {
            env.files.mark_dirty(file, vma.offset_at(page));
        }
        env.frames.share(pfn);
        self.rss.add(bits);
        Ok(())
    }

    /// Linux's fault-around: what the file has in memory anyway, in a window of 16
    /// pages, within the VMA and one table. Returns the pages mapped.
    fn map_around(
        &mut self,
        env: &mut Env<'_, '_>,
        vma: &Vma,
        file: FileId,
        page: VirtAddr,
    ) -> u32 {
        let window = self.policy.fault_around_pages;
        if window <= 1 {
            return 0;
        }
        let in_table = page.page_number() % TABLE_PAGES;
        let in_vma = page.since(vma.span.start) / PAGE_SIZE;
        let vma_pages = vma.span.pages();
        let from = (in_table - in_table % window).max(in_table - in_table.min(in_vma));
        let to = (from + window).min(TABLE_PAGES).min(in_table + vma_pages - in_vma);
        let table = page.down(in_table * PAGE_SIZE);
        let mut mapped = 0;
        for nth in from..to {
            let at = table.up(nth * PAGE_SIZE);
            if self.table.get(at).is_some() {
                continue;
            }
            let Some(pfn) = env.files.cached(file, vma.offset_at(at)) else { continue };
            if self.map_file_page(env, vma, file, at, pfn, false).is_err() {
                break;
            }
            mapped += 1;
        }
        mapped
    }
}
