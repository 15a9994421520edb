//! madvise: what a program knows about its memory.
//!
//! ```text
//!   flags     RANDOM, DONTFORK, HUGEPAGE, …     the VMA is marked, split, merged
//!   pages     DONTNEED, FREE                    dropped now, or when memory is short
//!   faults    POPULATE_READ, POPULATE_WRITE     faulted in
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::error::{Error, FaultError};
use crate::flags::{Access, Advice, VmFlags};
use crate::mm::{Env, Mm};
use crate::table::{EntryBits, PageTable};
use crate::tree::VmaId;
use crate::vma::Vma;
use heapwise_pages::PAGE_SIZE;

impl<T: PageTable> Mm<T> {
    /// The system call. O(log n) for each VMA touched, plus the pages dropped or
    /// faulted in.
    ///
    /// [`Error::Argument`] for a misaligned address, a length that passes the end, or a
    /// mapping that the advice does not suit; [`Error::Unmapped`] if there were holes
    /// (what is mapped is done all the same); [`Error::Fault`] where a page cannot be
    /// faulted in; [`Error::TryAgain`] if a VMA cannot be split; [`Error::OutOfFrames`].
    pub fn madvise(
        &mut self,
        env: &mut Env<'_, '_>,
        start: VirtAddr,
        length: u64,
        advice: Advice,
    ) -> Result<(), Error> {
        self.events.calls += 1;
        let bytes = page_align(length);
        let end = start.get().wrapping_add(bytes);
        if !start.is_page() || (length != 0 && bytes == 0) || end < start.get() {
            return Err(Error::Argument);
        }
        let span = Span::new(start, VirtAddr::new(end));
        if span.is_empty() {
            return Ok(());
        }
        let access = match advice {
            Advice::PopulateRead => Access::Read,
            Advice::PopulateWrite => Access::Write,
            _ => return self.advise(env, span, advice),
        };
        self.fault_in(env, span, access)
    }

    fn advise(&mut self, env: &mut Env<'_, '_>, span: Span, advice: Advice) -> Result<(), Error> {
        let mut result = Ok(());
        let mut at = span.start;
        while at < span.end {
            let Some(id) = self.tree.find(env.nodes, at) else { return Err(Error::Unmapped) };
            let vma = env.nodes[id];
            if vma.span.start > at {
                result = Err(Error::Unmapped);
            }
            let part = vma.span.clip(Span::new(at, span.end));
            if part.is_empty() {
                break;
            }
            self.advise_vma(env, id, part, advice)?;
            at = part.end;
        }
        result
    }

    fn advise_vma(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        part: Span,
        advice: Advice,
    ) -> Result<(), Error> {
        let vma = env.nodes[id];
        let special = vma.flags.any(VmFlags::SPECIAL);
        let flags = match advice {
            Advice::Normal => vma.flags.without(VmFlags::RANDOM | VmFlags::SEQUENTIAL),
            Advice::Random => vma.flags.without(VmFlags::SEQUENTIAL) | VmFlags::RANDOM,
            Advice::Sequential => vma.flags.without(VmFlags::RANDOM) | VmFlags::SEQUENTIAL,
            Advice::DontFork => vma.flags | VmFlags::DONTCOPY,
            Advice::DoFork if special => return Err(Error::Argument),
            Advice::DoFork => vma.flags.without(VmFlags::DONTCOPY),
            Advice::DontDump => vma.flags | VmFlags::DONTDUMP,
            Advice::DoDump if special => return Err(Error::Argument),
            Advice::DoDump => vma.flags.without(VmFlags::DONTDUMP),
            Advice::WipeOnFork if !vma.is_anonymous() => return Err(Error::Argument),
            Advice::WipeOnFork => vma.flags | VmFlags::WIPEONFORK,
            Advice::KeepOnFork => vma.flags.without(VmFlags::WIPEONFORK),
            Advice::HugePage => vma.flags.without(VmFlags::NOHUGEPAGE) | VmFlags::HUGEPAGE,
            Advice::NoHugePage => vma.flags.without(VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE,
            Advice::DontNeed if vma.flags.has(VmFlags::PFNMAP) => return Err(Error::Argument),
            Advice::DontNeed => {
                self.zap(env, &vma, part);
                return Ok(());
            }
            Advice::Free => return self.free_lazily(env, &vma, part),
            // Everything is in memory already.
            Advice::WillNeed | Advice::PopulateRead | Advice::PopulateWrite => return Ok(()),
        };
        if flags != vma.flags {
            self.change(env, id, part, flags).map_err(|_| Error::TryAgain)?;
        }
        Ok(())
    }

    /// MADV_FREE: the pages stay, and stay counted, until memory is short; a store
    /// takes one back.
    fn free_lazily(&mut self, env: &mut Env<'_, '_>, vma: &Vma, part: Span) -> Result<(), Error> {
        if !vma.is_anonymous() {
            return Err(Error::Argument);
        }
        let (mut at, mut changed) = (part.start, 0);
        while let Some((page, entry)) = self.table.first(Span::new(at, part.end)) {
            at = page.up(PAGE_SIZE);
            // A page that a fork shares is the other's as well.
            if entry.bits.has(EntryBits::ANON) && env.frames.owners(entry.pfn) == 1 {
                let gone = EntryBits::DIRTY.with(EntryBits::ACCESSED).with(EntryBits::WRITE);
                let bits = entry.bits.without(gone).with(EntryBits::LAZY);
                let _ = self.table.set(page, entry.with_bits(bits));
                changed += 1;
            }
        }
        if changed > 0 {
            self.flush(part, changed);
        }
        Ok(())
    }

    /// When memory is short: frees up to `most` pages that MADV_FREE gave up and
    /// nobody wrote since; returns how many. O(n + pages mapped).
    pub fn reclaim(&mut self, env: &mut Env<'_, '_>, most: u64) -> u64 {
        let mut freed = 0;
        let mut next = self.tree.first(env.nodes);
        while let Some(id) = next {
            let vma = env.nodes[id];
            let mut at = vma.span.start;
            while let Some((page, entry)) = self.table.first(Span::new(at, vma.span.end)) {
                if freed == most {
                    return freed;
                }
                let lazy = entry.bits.has(EntryBits::LAZY);
                if lazy && !entry.bits.has(EntryBits::DIRTY) {
                    self.zap(env, &vma, Span::page_of(page));
                    freed += 1;
                }
                at = page.up(PAGE_SIZE);
            }
            next = self.tree.next(env.nodes, id);
        }
        freed
    }

    /// MADV_POPULATE: page by page, up to the first that cannot be.
    fn fault_in(&mut self, env: &mut Env<'_, '_>, span: Span, access: Access) -> Result<(), Error> {
        let mut at = span.start;
        while at < span.end {
            let vma = self.vma_at(env.nodes, at).ok_or(Error::Unmapped)?;
            let needed = if access == Access::Write { VmFlags::WRITE } else { VmFlags::READ };
            if vma.flags.has(VmFlags::PFNMAP) {
                return Err(Error::Fault);
            }
            if !vma.flags.has(needed) {
                return Err(Error::Argument);
            }
            let end = vma.span.end.min(span.end);
            while at < end {
                self.access(env, at, access).map_err(|error| match error {
                    FaultError::OutOfMemory => Error::OutOfFrames,
                    _ => Error::Fault,
                })?;
                at = at.up(PAGE_SIZE);
            }
        }
        Ok(())
    }

    /// MAP_POPULATE: as a program would touch it first.
    pub(crate) fn populate(&mut self, env: &mut Env<'_, '_>, span: Span) -> Result<(), FaultError> {
        let mut at = span.start;
        while at < span.end {
            let Some(vma) = self.vma_at(env.nodes, at) else { return Ok(()) };
            if !vma.is_accessible() {
                return Ok(());
            }
            let private = !vma.flags.has(VmFlags::SHARED);
            let write = private && vma.flags.has(VmFlags::WRITE);
            self.access(env, at, if write { Access::Write } else { Access::Read })?;
            at = at.up(PAGE_SIZE);
        }
        Ok(())
    }
}
