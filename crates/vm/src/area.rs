//! Where a new mapping goes.
//!
//! ```text
//!   hint free? ─► there
//!   else the highest gap below mmap_base, else the lowest above legacy_base
//!   anonymous, whole huge pages, no hint: asked with room to spare, then aligned
//! ```

use crate::addr::{HUGE_SIZE, Span, VirtAddr};
use crate::error::Error;
use crate::flags::VmFlags;
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use heapwise_pages::{PAGE_SHIFT, PAGE_SIZE};

/// What kind of mapping wants a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placing {
    /// Private, of no file.
    Anonymous,
    /// Shared memory, new or old, from this page of it on.
    Shmem(u64),
    /// A file, from this page of it on.
    File(u64),
}

/// A wish for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub hint: VirtAddr,
    pub bytes: u64,
    pub fixed: bool,
    /// In the first 2 GiB (`MAP_32BIT`).
    pub low: bool,
    pub placing: Placing,
}

const LOW: Span = Span::new(VirtAddr::new(0x4000_0000), VirtAddr::new(0x8000_0000));

impl<T: PageTable> Mm<T> {
    /// Linux's `get_unmapped_area`. O(log n); O(growing VMAs × log n) at worst.
    ///
    /// [`Error::NoGap`], [`Error::Argument`] for a misaligned fixed place,
    /// [`Error::TooLow`].
    pub(crate) fn find_place(&self, env: &Env<'_, '_>, wish: Wish) -> Result<VirtAddr, Error> {
        let end = self.layout.task_size.get();
        if wish.bytes > end {
            return Err(Error::NoGap);
        }
        let found = match wish.placing {
            _ if wish.fixed => wish.hint,
            Placing::Anonymous
                if self.policy.align_huge
                    && wish.hint == VirtAddr::NULL
                    && wish.bytes.is_multiple_of(HUGE_SIZE) =>
            {
                self.place_padded(env, wish, 0)?
            }
            Placing::Anonymous => self.place(env, wish)?,
            Placing::File(page) if self.policy.align_huge => {
                self.place_padded(env, wish, page << PAGE_SHIFT)?
            }
            Placing::File(_) => self.place(env, wish)?,
            Placing::Shmem(page) => self.place_shmem(env, wish, page << PAGE_SHIFT)?,
        };
        if found.get() > end - wish.bytes {
            return Err(Error::NoGap);
        }
        if !found.is_page() {
            return Err(Error::Argument);
        }
        if found < self.policy.min_address && !self.privileged {
            return Err(Error::TooLow);
        }
        Ok(found)
    }

    /// Aligned so that huge pages of the file fall on huge pages of the address space:
    /// asks for a huge page more and cuts.
    fn place_padded(&self, env: &Env<'_, '_>, wish: Wish, offset: u64) -> Result<VirtAddr, Error> {
        let aligned = || {
            let end = offset.checked_add(wish.bytes)?;
            let first = offset.checked_next_multiple_of(HUGE_SIZE)?;
            if end <= first || end - first < HUGE_SIZE {
                return None;
            }
            let padded = wish.bytes.checked_add(HUGE_SIZE)?;
            offset.checked_add(padded)?;
            let found = self.place(env, Wish { bytes: padded, ..wish }).ok()?;
            if found == wish.hint {
                return Some(found);
            }
            let short = offset.wrapping_sub(found.get()) & (HUGE_SIZE - 1);
            let at_top = !self.layout.legacy && short == 0;
            Some(found.up(if at_top { HUGE_SIZE } else { short }))
        };
        match aligned() {
            Some(found) if found != VirtAddr::NULL => Ok(found),
            _ => self.place(env, wish),
        }
    }

    /// As shared memory is aligned: only what does not fit by itself is moved.
    fn place_shmem(&self, env: &Env<'_, '_>, wish: Wish, offset: u64) -> Result<VirtAddr, Error> {
        let found = self.place(env, wish)?;
        let within = offset & (HUGE_SIZE - 1);
        if !self.policy.align_shmem
            || found == wish.hint
            || wish.bytes < HUGE_SIZE
            || (within != 0 && within + wish.bytes < 2 * HUGE_SIZE)
            || found.get() & (HUGE_SIZE - 1) == within
        {
            return Ok(found);
        }
        let end = self.layout.task_size.get();
        let bytes = wish.bytes + HUGE_SIZE - PAGE_SIZE;
        if bytes > end {
            return Ok(found);
        }
        let Ok(larger) = self.place(env, Wish { bytes, ..wish }) else { return Ok(found) };
        let rest = larger.get() & (HUGE_SIZE - 1);
        let mut moved = larger.get().wrapping_add(within).wrapping_sub(rest);
        if rest > within {
            moved += HUGE_SIZE;
        }
        Ok(if moved > end - wish.bytes { found } else { VirtAddr::new(moved) })
    }

    fn place(&self, env: &Env<'_, '_>, wish: Wish) -> Result<VirtAddr, Error> {
        if self.layout.legacy || wish.low {
            return self.place_bottom_up(env, wish);
        }
        if wish.hint != VirtAddr::NULL {
            let hint = wish.hint.page();
            let reach = self.layout.task_size.get() - wish.bytes;
            if hint.get() <= reach && self.is_free(env, hint, wish.bytes) {
                return Ok(hint);
            }
        }
        self.highest_place(env, wish.bytes).or_else(|_| self.place_bottom_up(env, wish))
    }

    /// Nothing is mapped there, and no stack's guard reaches so far.
    fn is_free(&self, env: &Env<'_, '_>, at: VirtAddr, bytes: u64) -> bool {
        self.tree
            .find(env.nodes, at)
            .is_none_or(|id| at.up(bytes) <= self.start_with_gap(&env.nodes[id]))
    }

    fn highest_place(&self, env: &Env<'_, '_>, bytes: u64) -> Result<VirtAddr, Error> {
        let low = self.policy.min_address.max(VirtAddr::new(PAGE_SIZE));
        let mut within = Span::new(low, self.layout.mmap_base);
        loop {
            let gap = self.tree.highest_gap(env.nodes, within, bytes).ok_or(Error::NoGap)?;
            let above = self.tree.find(env.nodes, gap.end).map(|id| env.nodes[id]);
            match above {
                Some(vma) if self.start_with_gap(&vma) < gap.end => {
                    within.end = self.start_with_gap(&vma);
                }
                _ => return Ok(gap.end.down(bytes)),
            }
        }
    }

    fn place_bottom_up(&self, env: &Env<'_, '_>, wish: Wish) -> Result<VirtAddr, Error> {
        let mut within =
            if wish.low { LOW } else { Span::new(self.layout.legacy_base, self.layout.task_size) };
        if wish.bytes > within.end.get() {
            return Err(Error::NoGap);
        }
        if wish.hint != VirtAddr::NULL {
            let hint = VirtAddr::new(crate::addr::page_align(wish.hint.get()));
            if within.end.get() - wish.bytes >= hint.get() && self.is_free(env, hint, wish.bytes) {
                return Ok(hint);
            }
        }
        within.start = within.start.max(self.policy.min_address);
        loop {
            let gap = self.tree.lowest_gap(env.nodes, within, wish.bytes).ok_or(Error::NoGap)?;
            let above = self.tree.find(env.nodes, gap.start).map(|id| env.nodes[id]);
            match above.filter(|vma| vma.flags.has(VmFlags::GROWSDOWN)) {
                Some(vma) if self.start_with_gap(&vma) < gap.start.up(wish.bytes - 1) => {
                    within.start = vma.span.end;
                }
                _ => return Ok(gap.start),
            }
        }
    }
}
