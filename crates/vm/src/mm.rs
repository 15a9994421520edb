//! `Mm`: one address space, and what its verbs need around it.
//!
//! ```text
//!   Mm ── VMAs · page table · limits · counters          one a process
//!   Env ─ VMA nodes · frames · files · promises          the machine's, lent for a call
//! ```
//! Each verb stands in a file of its own. All check first and change then: one that
//! returns an error has changed nothing that a program could see, but for what Linux
//! leaves behind in the same case.

use crate::addr::{Span, VirtAddr};
use crate::commit::Commit;
use crate::error::Error;
use crate::files::Files;
use crate::flags::VmFlags;
use crate::frames::Frames;
use crate::layout::{Layout, Limits, Policy};
use crate::table::{Entry, EntryBits, PageTable};
use crate::tree::{Iter, VmaId, VmaPool, VmaTree};
use crate::vma::{Backing, Vma};
use heapwise_pages::{PAGE_SHIFT, Pfn};

/// The machine's parts that a verb works with.
pub struct Env<'e, 'm> {
    /// Where VMAs live.
    pub nodes: &'e mut VmaPool<'m>,
    /// Where pages come from.
    pub frames: &'e mut dyn Frames,
    /// What can be mapped.
    pub files: &'e mut dyn Files,
    /// What has been promised.
    pub commit: &'e mut Commit,
}

/// Where the program's parts lie: the numbers of `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// The first byte of code.
    pub start_code: VirtAddr,
    /// The byte after the last.
    pub end_code: VirtAddr,
    /// The first byte of data.
    pub start_data: VirtAddr,
    /// The byte after the last, without .bss.
    pub end_data: VirtAddr,
    /// Where the heap starts.
    pub start_brk: VirtAddr,
    /// The break: where the heap ends.
    pub brk: VirtAddr,
    /// The stack pointer at the start.
    pub start_stack: VirtAddr,
    /// The first byte of the arguments.
    pub arg_start: VirtAddr,
    /// The byte after the last.
    pub arg_end: VirtAddr,
    /// The first byte of the environment.
    pub env_start: VirtAddr,
    /// The byte after the last.
    pub env_end: VirtAddr,
}

/// Pages mapped, by kind; whether touched or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// All: `VmSize`.
    pub total: u64,
    /// Private, writable, no stack: `VmData`.
    pub data: u64,
    /// Executable, not writable.
    pub code: u64,
    /// Growing down: `VmStk`.
    pub stack: u64,
    /// The most `total` ever was: `VmPeak`.
    pub peak: u64,
}

/// Pages resident, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rss {
    /// Private copies: `RssAnon`.
    pub anon: u64,
    /// Pages of files: `RssFile`.
    pub file: u64,
    /// Pages of shared memory: `RssShmem`.
    pub shmem: u64,
    /// The most they ever were together: `VmHWM`.
    pub peak: u64,
}

impl Rss {
    /// All: `VmRSS`.
    pub const fn total(&self) -> u64 {
        self.anon + self.file + self.shmem
    }

    /// The counter that an entry is in; the page of zeros is in none.
    pub(crate) fn counter(&mut self, bits: EntryBits) -> Option<&mut u64> {
        if bits.has(EntryBits::ZERO) {
            None
        } else if bits.has(EntryBits::ANON) {
            Some(&mut self.anon)
        } else if bits.has(EntryBits::SHMEM) {
            Some(&mut self.shmem)
        } else {
            Some(&mut self.file)
        }
    }

    pub(crate) fn add(&mut self, bits: EntryBits) {
        if let Some(counter) = self.counter(bits) {
            *counter += 1;
        }
        self.peak = self.peak.max(self.total());
    }

    pub(crate) fn sub(&mut self, bits: EntryBits) {
        if let Some(counter) = self.counter(bits) {
            debug_assert_ne!(*counter, 0, "a page too many is gone: {bits:?}");
            *counter = counter.saturating_sub(1);
        }
    }
}

/// What happened, for whoever sets prices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// Verbs called.
    pub calls: u64,
    /// Faults that found or made a page.
    pub faults: u64,
    /// Of these, with a new zeroed frame.
    pub zeroed: u64,
    /// Of these, answered with the page of zeros.
    pub zero_page: u64,
    /// Of these, with a copied frame.
    pub copied: u64,
    /// Of these, that only allowed the store.
    pub reused: u64,
    /// Of these, with a page of a file.
    pub mapped: u64,
    /// Faults that ended in a signal or in want of memory.
    pub failed: u64,
    /// Ranges that every processor had to forget.
    pub flushes: u64,
    /// Pages in these ranges that had entries.
    pub flushed_pages: u64,
}

/// An address space.
pub struct Mm<T> {
    pub(crate) tree: VmaTree,
    pub(crate) table: T,
    /// Its fixed points.
    pub layout: Layout,
    /// Its limits; change them as `setrlimit` does.
    pub limits: Limits,
    /// The administrator's settings.
    pub policy: Policy,
    /// May map low and dip into the admin's reserve.
    pub privileged: bool,
    /// Where its parts lie.
    pub bounds: Bounds,
    pub(crate) usage: Usage,
    pub(crate) rss: Rss,
    pub(crate) events: Events,
    pub(crate) next_family: u32,
}

/// Pages unmapped between two flushes.
const BATCH: usize = 64;

impl<T: PageTable> Mm<T> {
    /// An empty address space over an empty page table. O(1).
    pub fn new(table: T, layout: Layout, limits: Limits, policy: Policy) -> Self {
        Self {
            tree: VmaTree::new(),
            table,
            layout,
            limits,
            policy,
            privileged: false,
            bounds: Bounds::default(),
            usage: Usage::default(),
            rss: Rss::default(),
            events: Events::default(),
            next_family: 1,
        }
    }

    /// Mapped pages by kind. O(1).
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Resident pages by kind. O(1).
    pub const fn rss(&self) -> Rss {
        self.rss
    }

    /// What happened so far. O(1).
    pub const fn events(&self) -> Events {
        self.events
    }

    /// How many VMAs: what `max_map_count` limits. O(1).
    pub const fn map_count(&self) -> u32 {
        self.tree.len()
    }

    /// The page table.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// The page table, for its owner: entries stay the verbs' business.
    pub const fn table_mut(&mut self) -> &mut T {
        &mut self.table
    }

    /// The VMAs, from the lowest up. O(n) for all.
    pub fn vmas<'p, 'm>(&self, nodes: &'p VmaPool<'m>) -> Iter<'p, 'm> {
        self.tree.iter(nodes)
    }

    /// The VMA that holds an address. O(log n).
    pub fn vma_at(&self, nodes: &VmaPool<'_>, at: VirtAddr) -> Option<Vma> {
        self.tree.holding(nodes, at).map(|id| nodes[id])
    }

    /// The first VMA that ends above an address. O(log n).
    pub fn find_vma(&self, nodes: &VmaPool<'_>, at: VirtAddr) -> Option<Vma> {
        self.tree.find(nodes, at).map(|id| nodes[id])
    }

    /// Whether tree and counters agree; for tests. O(n + pages mapped).
    pub fn is_sound(&self, nodes: &VmaPool<'_>) -> bool {
        let mut usage = Usage { peak: self.usage.peak, ..Usage::default() };
        let mut rss = Rss::default();
        for vma in self.tree.iter(nodes) {
            usage.add(vma.flags, vma.span.pages() as i64);
            let mut at = vma.span.start;
            while let Some((page, entry)) = self.table.first(Span::new(at, vma.span.end)) {
                rss.add(entry.bits);
                at = page.up(heapwise_pages::PAGE_SIZE);
            }
        }
        rss.peak = self.rss.peak;
        self.tree.is_sound(nodes) && usage == self.usage && rss == self.rss
    }

    /// Takes in a VMA as found in another address space: a program's first mappings
    /// where something else has loaded it. Nothing is merged or checked against limits;
    /// what it promises is counted. O(log n).
    ///
    /// [`Error::Exists`], [`Error::Argument`] if it is empty, misaligned or beyond
    /// the end, [`Error::OutOfVmas`].
    pub fn adopt(&mut self, env: &mut Env<'_, '_>, vma: Vma) -> Result<(), Error> {
        let span = vma.span;
        if span.is_empty() || !span.start.is_page() || !span.end.is_page() {
            return Err(Error::Argument);
        }
        if span.end > self.layout.task_size {
            return Err(Error::Argument);
        }
        if self.tree.overlapping(env.nodes, span).is_some() {
            return Err(Error::Exists);
        }
        self.tree.insert(env.nodes, vma)?;
        if let Backing::File(file) = vma.backing {
            env.files.open(file);
        }
        if vma.flags.has(VmFlags::ACCOUNT) {
            env.commit.committed = env.commit.committed.saturating_add(span.pages());
        }
        self.count(vma.flags, span.pages() as i64);
        Ok(())
    }

    /// Compaction moved the frame behind a page: its entry follows. False if the page
    /// has another frame. O(levels).
    pub fn relocate(&mut self, page: VirtAddr, from: Pfn, to: Pfn) -> bool {
        let Some(entry) = self.table.get(page).filter(|entry| entry.pfn == from) else {
            return false;
        };
        // An entry stands there: no table is missing.
        let _ = self.table.set(page, Entry { pfn: to, ..entry });
        self.flush(Span::page_of(page), 1);
        true
    }

    /// Counts pages that are mapped, or no longer.
    pub(crate) fn count(&mut self, flags: VmFlags, pages: i64) {
        self.usage.add(flags, pages);
    }

    /// Whether so many pages more stay within the limits.
    pub(crate) fn may_expand(&self, flags: VmFlags, pages: u64) -> Result<(), Error> {
        let over = |used: u64, limit: u64| used.saturating_add(pages) > limit >> PAGE_SHIFT;
        if over(self.usage.total, self.limits.address_space) {
            return Err(Error::AddressSpaceLimit);
        }
        if flags.is_data() && over(self.usage.data, self.limits.data) {
            return Err(Error::DataLimit);
        }
        Ok(())
    }

    pub(crate) fn charge(&self, env: &mut Env<'_, '_>, pages: u64) -> Result<(), Error> {
        env.commit.charge(pages, self.usage.total, self.privileged)
    }

    /// Whether `more` VMAs still fit under `max_map_count`.
    pub(crate) const fn is_full(&self) -> bool {
        self.tree.len() >= self.policy.max_map_count
    }

    /// Where a VMA starts for those who want to map below it: a growing one keeps
    /// its guard.
    pub(crate) const fn start_with_gap(&self, vma: &Vma) -> VirtAddr {
        let gap = if vma.flags.has(VmFlags::GROWSDOWN) { self.policy.stack_guard() } else { 0 };
        vma.span.start.down(gap)
    }

    pub(crate) fn flush(&mut self, span: Span, pages: u64) {
        self.table.flush(span);
        self.events.flushes += 1;
        self.events.flushed_pages += pages;
    }

    /// Takes all pages of a part of a VMA out: entries first, then every processor's
    /// memory of them, then the frames. O(pages mapped there).
    pub(crate) fn zap(&mut self, env: &mut Env<'_, '_>, vma: &Vma, span: Span) {
        let mut at = span.start;
        loop {
            let mut gone = [None::<Entry>; BATCH];
            let mut taken = 0;
            let from = at;
            for slot in &mut gone {
                let Some((page, entry)) = self.table.first(Span::new(at, span.end)) else { break };
                if let Backing::File(file) = vma.backing
                    && entry.bits.has(EntryBits::DIRTY)
                    && !entry.bits.has(EntryBits::ANON)
                {
                    env.files.mark_dirty(file, vma.offset_at(page));
                }
                *slot = self.table.clear(page);
                taken += 1;
                at = page.up(heapwise_pages::PAGE_SIZE);
            }
            if taken == 0 {
                return;
            }
            self.flush(Span::new(from, at), taken);
            for entry in gone.into_iter().flatten() {
                self.rss.sub(entry.bits);
                if !entry.bits.has(EntryBits::ZERO) {
                    env.frames.release(entry.pfn);
                }
            }
        }
    }

    /// Takes a VMA out, with its pages, its promise and its file.
    pub(crate) fn drop_vma(&mut self, env: &mut Env<'_, '_>, id: VmaId) {
        let vma = self.tree.remove(env.nodes, id);
        self.zap(env, &vma, vma.span);
        self.forget(env, &vma);
        close(env, &vma);
    }

    /// Takes back what was counted and promised for a VMA, or a part of one.
    pub(crate) fn forget(&mut self, env: &mut Env<'_, '_>, part: &Vma) {
        self.count(part.flags, -(part.span.pages() as i64));
        if part.flags.has(VmFlags::ACCOUNT) {
            env.commit.uncharge(part.span.pages());
        }
    }

    /// The end of the address space: everything goes back. O(VMAs + pages mapped).
    pub fn exit(&mut self, env: &mut Env<'_, '_>) {
        while let Some(id) = self.tree.first(env.nodes) {
            self.drop_vma(env, id);
        }
        self.table.prune(Span::new(VirtAddr::NULL, VirtAddr::new(u64::MAX)));
    }
}

/// One VMA less maps its file.
pub(crate) fn close(env: &mut Env<'_, '_>, vma: &Vma) {
    if let Backing::File(file) = vma.backing {
        let promised = env.files.close(file, env.frames);
        env.commit.uncharge(promised);
    }
}

impl Usage {
    fn add(&mut self, flags: VmFlags, pages: i64) {
        self.total = self.total.saturating_add_signed(pages);
        self.peak = self.peak.max(self.total);
        let part = if flags.is_code() {
            &mut self.code
        } else if flags.has(VmFlags::GROWSDOWN) {
            &mut self.stack
        } else if flags.is_data() {
            &mut self.data
        } else {
            return;
        };
        *part = part.saturating_add_signed(pages);
    }
}
