//! fork: a second address space with the same memory, copied only when written.
//!
//! ```text
//!   parent  rw ─► frame          parent  r- ─┐
//!                         ──►                ├─► frame, two owners
//!                                child   r- ─┘      first store: a copy
//! ```

use crate::addr::Span;
use crate::error::Error;
use crate::flags::VmFlags;
use crate::mm::{Env, Events, Mm, Rss, Usage};
use crate::table::{EntryBits, PageTable};
use crate::tree::VmaTree;
use crate::vma::{Backing, Vma};
use heapwise_pages::PAGE_SIZE;

impl<T: PageTable> Mm<T> {
    /// A child's address space over an empty page table. O(n log n + pages mapped).
    ///
    /// [`Error::Commit`], [`Error::OutOfVmas`], [`Error::OutOfTables`]: then there is no
    /// child, and the parent is as before but for rights that come back at the next store.
    pub fn fork<U: PageTable>(&mut self, env: &mut Env<'_, '_>, table: U) -> Result<Mm<U>, Error> {
        self.events.calls += 1;
        let mut child = Mm {
            tree: VmaTree::new(),
            table,
            layout: self.layout,
            limits: self.limits,
            policy: self.policy,
            privileged: self.privileged,
            bounds: self.bounds,
            usage: Usage::default(),
            rss: Rss::default(),
            events: Events::default(),
            next_family: self.next_family,
        };
        let result = self.copy_all(env, &mut child);
        if result.is_err() {
            child.exit(env);
        }
        result.map(|()| child)
    }

    fn copy_all<U: PageTable>(
        &mut self,
        env: &mut Env<'_, '_>,
        child: &mut Mm<U>,
    ) -> Result<(), Error> {
        let mut next = self.tree.first(env.nodes);
        let mut protected = 0;
        let mut result = Ok(());
        while let Some(id) = next {
            next = self.tree.next(env.nodes, id);
            let vma = env.nodes[id];
            if vma.flags.has(VmFlags::DONTCOPY) {
                continue;
            }
            result = self.copy_vma(env, child, &vma, &mut protected);
            if result.is_err() {
                break;
            }
        }
        if protected > 0 {
            let end = self.layout.task_size;
            self.flush(Span::new(self.policy.min_address, end), protected);
        }
        result
    }

    fn copy_vma<U: PageTable>(
        &mut self,
        env: &mut Env<'_, '_>,
        child: &mut Mm<U>,
        vma: &Vma,
        protected: &mut u64,
    ) -> Result<(), Error> {
        let pages = vma.span.pages();
        let accounted = vma.flags.has(VmFlags::ACCOUNT);
        if accounted {
            self.charge(env, pages)?;
        }
        let wiped = vma.flags.has(VmFlags::WIPEONFORK);
        let inherits = vma.anon.is_some() && !wiped;
        let anon = if inherits { Some(child.new_family(true)) } else { None };
        let copy = Vma { anon, ..*vma };
        if let Err(error) = child.tree.insert(env.nodes, copy) {
            env.commit.uncharge(if accounted { pages } else { 0 });
            return Err(error.into());
        }
        if let Backing::File(file) = vma.backing {
            env.files.open(file);
        }
        child.count(vma.flags, pages as i64);
        // Without private copies, faults fill it again as well.
        if inherits { self.copy_pages(env, child, vma, protected) } else { Ok(()) }
    }

    fn copy_pages<U: PageTable>(
        &mut self,
        env: &mut Env<'_, '_>,
        child: &mut Mm<U>,
        vma: &Vma,
        protected: &mut u64,
    ) -> Result<(), Error> {
        let mut at = vma.span.start;
        while let Some((page, entry)) = self.table.first(Span::new(at, vma.span.end)) {
            at = page.up(PAGE_SIZE);
            let mut bits = entry.bits;
            if vma.flags.is_cow() && bits.has(EntryBits::WRITE) {
                bits = bits.without(EntryBits::WRITE);
                self.table.set(page, entry.with_bits(bits))?;
                *protected += 1;
            }
            let bits = bits.without(EntryBits::ACCESSED);
            child.table.set(page, entry.with_bits(bits))?;
            if !bits.has(EntryBits::ZERO) {
                env.frames.share(entry.pfn);
            }
            child.rss.add(bits);
        }
        Ok(())
    }
}
