//! mprotect: other rights for a range.
//!
//! ```text
//!   [rw rw|rw rw][r-]  ── r- ──►  [rw rw][r- r- r-]      split once, merged once
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::error::Error;
use crate::flags::{Prot, VmFlags};
use crate::mm::{Env, Mm};
use crate::table::{Entry, EntryBits, PageTable};
use crate::tree::VmaId;
use heapwise_pages::PAGE_SIZE;

impl<T: PageTable> Mm<T> {
    /// The system call. VMAs below one that refuses are changed, as in Linux.
    /// O(log n) for each VMA touched, plus the pages in them.
    ///
    /// [`Error::Argument`] for a misaligned address, [`Error::Unmapped`] at the first
    /// hole, [`Error::Access`] for more than file and mapping allow,
    /// [`Error::DataLimit`], [`Error::AddressSpaceLimit`], [`Error::Commit`],
    /// [`Error::TooManyMappings`], [`Error::OutOfVmas`].
    pub fn mprotect(
        &mut self,
        env: &mut Env<'_, '_>,
        start: VirtAddr,
        length: u64,
        prot: Prot,
    ) -> Result<(), Error> {
        self.events.calls += 1;
        if !start.is_page() {
            return Err(Error::Argument);
        }
        if length == 0 {
            return Ok(());
        }
        let end = start.get().wrapping_add(page_align(length));
        if end <= start.get() {
            return Err(Error::Unmapped);
        }
        if prot.any(!(Prot::RW | Prot::EXEC)) {
            return Err(Error::Argument);
        }
        let (mut at, end) = (start, VirtAddr::new(end));
        while at < end {
            let id = self.tree.holding(env.nodes, at).ok_or(Error::Unmapped)?;
            let vma = env.nodes[id];
            let part = vma.span.clip(Span::new(at, end));
            let flags = VmFlags::of_prot(prot) | vma.flags.without(VmFlags::ACCESS);
            let may = (vma.flags.bits() & VmFlags::MAY_ALL.bits()) >> 4;
            if flags.bits() & VmFlags::ACCESS.bits() & !may != 0 {
                return Err(Error::Access);
            }
            self.protect(env, id, part, flags)?;
            at = part.end;
        }
        Ok(())
    }

    fn protect(
        &mut self,
        env: &mut Env<'_, '_>,
        id: VmaId,
        part: Span,
        mut flags: VmFlags,
    ) -> Result<(), Error> {
        let vma = env.nodes[id];
        let (old, pages) = (vma.flags, part.pages());
        if flags == old {
            return Ok(());
        }
        let mut charged = 0;
        if flags.has(VmFlags::WRITE) {
            let more = self.may_expand(flags, pages);
            if more.is_err() && self.may_expand(old, pages).is_ok() {
                return more;
            }
            let counted = VmFlags::ACCOUNT | VmFlags::WRITE | VmFlags::SHARED | VmFlags::NORESERVE;
            if !old.any(counted) {
                self.charge(env, pages)?;
                charged = pages;
                flags |= VmFlags::ACCOUNT;
            }
        } else if old.has(VmFlags::ACCOUNT) && vma.is_anonymous() && vma.anon.is_none() {
            flags = flags.without(VmFlags::ACCOUNT);
        }
        let id = match self.change(env, id, part, flags) {
            Ok(id) => id,
            Err(error) => {
                env.commit.uncharge(charged);
                return Err(error);
            }
        };
        // After the change: the VMA may have merged, but its flags are these.
        let flags = env.nodes[id].flags;
        if old.has(VmFlags::ACCOUNT) && !flags.has(VmFlags::ACCOUNT) {
            env.commit.uncharge(pages);
        }
        self.count(old, -(pages as i64));
        self.count(flags, pages as i64);
        self.protect_pages(env, part, flags);
        Ok(())
    }

    /// Gives the entries of a span new rights; stores that must be noticed still fault.
    fn protect_pages(&mut self, env: &mut Env<'_, '_>, part: Span, flags: VmFlags) {
        let (mut at, mut changed) = (part.start, 0);
        while let Some((page, entry)) = self.table.first(Span::new(at, part.end)) {
            let bits = rights(env, entry, flags);
            if bits != entry.bits {
                // An entry stands there: no table is missing.
                let _ = self.table.set(page, entry.with_bits(bits));
                changed += 1;
            }
            at = page.up(PAGE_SIZE);
        }
        if changed > 0 {
            self.flush(part, changed);
        }
    }
}

/// An entry's bits under a VMA's flags: writable at once only if nobody else would see
/// the store, or all are meant to.
pub(crate) fn rights(env: &Env<'_, '_>, entry: Entry, flags: VmFlags) -> EntryBits {
    let bits = entry.bits.allowing(flags.prot());
    let private = !flags.has(VmFlags::SHARED);
    let alone = entry.bits.has(EntryBits::ANON)
        && !entry.bits.has(EntryBits::LAZY)
        && env.frames.owners(entry.pfn) == 1;
    let noticed = if private { !alone } else { !entry.bits.has(EntryBits::DIRTY) };
    if noticed { bits.without(EntryBits::WRITE) } else { bits }
}
