//! brk: moving the end of the heap.
//!
//! ```text
//!   start_brk ──► [heap      ]brk        ≥ 1 page        next mapping
//!                            └─ grows ──►├──────────────┤
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::error::Error;
use crate::flags::VmFlags;
use crate::mm::{Env, Mm};
use crate::table::PageTable;
use crate::vma::Vma;
use heapwise_pages::PAGE_SIZE;

impl<T: PageTable> Mm<T> {
    /// The system call: moves the break to `wanted` and returns it, or returns the old
    /// break if that cannot be. O(log n + pages unmapped).
    pub fn brk(&mut self, env: &mut Env<'_, '_>, wanted: VirtAddr) -> VirtAddr {
        // A query, `brk(0)`, is a refusal too.
        let _ = self.try_brk(env, wanted);
        self.bounds.brk
    }

    /// The same, with the reason.
    ///
    /// [`Error::Argument`] below the heap's start, [`Error::DataLimit`],
    /// [`Error::AddressSpaceLimit`], [`Error::Exists`] if a mapping or a stack's guard
    /// is in the way, [`Error::NoGap`] at the end of the space, [`Error::Unmapped`] for
    /// a way down through a hole, [`Error::TooManyMappings`], [`Error::Commit`],
    /// [`Error::OutOfVmas`].
    pub fn try_brk(&mut self, env: &mut Env<'_, '_>, wanted: VirtAddr) -> Result<(), Error> {
        self.events.calls += 1;
        let bounds = self.bounds;
        if wanted < bounds.start_brk {
            return Err(Error::Argument);
        }
        let data = bounds.end_data.since(bounds.start_data);
        if wanted.since(bounds.start_brk).saturating_add(data) > self.limits.data {
            return Err(Error::DataLimit);
        }
        let new = VirtAddr::new(page_align(wanted.get()));
        let old = VirtAddr::new(page_align(bounds.brk.get()));
        if new == old {
            // Within the page: only the number moves.
        } else if wanted <= bounds.brk {
            self.shrink_heap(env, Span::new(new, old))?;
        } else if new > old {
            self.grow_heap(env, Span::new(old, new))?;
        } else {
            // Rounding up passed the end of all addresses.
            return Err(Error::NoGap);
        }
        self.bounds.brk = wanted;
        Ok(())
    }

    fn shrink_heap(&mut self, env: &mut Env<'_, '_>, gone: Span) -> Result<(), Error> {
        // Linux refuses where nothing is mapped, but does not mind foreign mappings.
        self.tree.overlapping(env.nodes, gone).ok_or(Error::Unmapped)?;
        self.unmap(env, gone)
    }

    fn grow_heap(&mut self, env: &mut Env<'_, '_>, more: Span) -> Result<(), Error> {
        if more.end > self.layout.task_size || more.bytes() > self.layout.task_size.get() {
            return Err(Error::NoGap);
        }
        let next = self.tree.find(env.nodes, more.start).map(|id| env.nodes[id]);
        if next.is_some_and(|next| more.end.up(PAGE_SIZE) > self.start_with_gap(&next)) {
            return Err(Error::Exists);
        }
        self.add_heap(env, more)
    }

    /// Linux's `do_brk_flags`; also makes .bss at exec.
    pub(crate) fn add_heap(&mut self, env: &mut Env<'_, '_>, more: Span) -> Result<(), Error> {
        let flags = VmFlags::DATA | VmFlags::ACCOUNT;
        self.may_expand(flags, more.pages())?;
        if self.tree.len() > self.policy.max_map_count {
            return Err(Error::TooManyMappings);
        }
        self.charge(env, more.pages())?;
        let vma = Vma { span: more, flags, offset: more.start.page_number(), ..Vma::default() };
        let start_brk = self.bounds.start_brk;
        if let Err(error) = self.add_to_below(env, vma, start_brk) {
            env.commit.uncharge(more.pages());
            return Err(error);
        }
        self.count(flags, more.pages() as i64);
        Ok(())
    }
}
