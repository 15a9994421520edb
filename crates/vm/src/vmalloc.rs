//! vmalloc: frames from anywhere, side by side in a range of kernel addresses.
//!
//! ```text
//!   range   ├─ pages ─┤g├─ pages ────┤g├ lazy ──┤  free, lowest first …      g: guard page,
//!              │ │ │       │ │                                              never mapped
//!   frames     7 2 90      3 41
//! ```
//! `vfree` clears the entries and gives the frames back at once, but what processors
//! remember of the addresses is only forgotten in bulk: until so much lies *lazy*
//! (Linux: fls(cpus) × 32 MiB) that one flush over all of it pays, no lazy address is
//! handed out. A kernel that goes on using what it has freed may until then reach the frame's
//! next owner, as on Linux; [`Vmalloc::purge`] ends that when it is called.

use crate::addr::{Span, VirtAddr};
use crate::flags::VmFlags;
use crate::table::{Entry, EntryBits, OutOfTables, PageTable};
use crate::tree::{OutOfVmas, VmaId, VmaPool, VmaTree};
use crate::vma::Vma;
use core::fmt;
use heapwise_pages::slab::Source;
use heapwise_pages::{Order, PAGE_SHIFT, PAGE_SIZE, Pfn};

/// Where x86-64 Linux has its range (four page-table levels, no KASLR): 32 TiB.
pub const VMALLOC_RANGE: Span = Span::at(VirtAddr::new(0xffff_c900_0000_0000), 1 << 45);

/// Lazy pages for each bit of the number of processors (32 MiB).
const LAZY_PAGES: u64 = (32 << 20) >> PAGE_SHIFT;

/// An area in use, and one that waits to be forgotten.
const LIVE: VmFlags = VmFlags::READ.with(VmFlags::WRITE);
const LAZY: VmFlags = VmFlags::NONE;

/// Why vmalloc or vfree refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocError {
    /// No bytes, or more than the range has.
    Size,
    /// No gap of that length, not even after a purge.
    NoGap,
    /// Not enough frames.
    OutOfMemory,
    /// No memory for another page table.
    OutOfTables,
    /// The pool has no node left for the area.
    OutOfVmas,
    /// No area starts there.
    NotAnArea,
    /// The area has been freed.
    DoubleFree,
}

impl fmt::Display for VmallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "no bytes, or more than the range",
            Self::NoGap => "no gap of that length",
            Self::OutOfMemory => "not enough frames",
            Self::OutOfTables => "no memory for another page table",
            Self::OutOfVmas => "no node left for an area",
            Self::NotAnArea => "no area starts there",
            Self::DoubleFree => "freed already",
        })
    }
}
impl core::error::Error for VmallocError {}

impl From<OutOfTables> for VmallocError {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfTables
    }
}

impl From<OutOfVmas> for VmallocError {
    fn from(_: OutOfVmas) -> Self {
        Self::OutOfVmas
    }
}

/// Figures, all O(1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VmallocFigures {
    /// Pages mapped now.
    pub pages: u64,
    /// Addresses freed and not yet forgotten, in pages, guards included.
    pub lazy_pages: u64,
    /// Bulk purges so far.
    pub purges: u64,
}

/// The kernel's range of scattered memory, behind the caller's lock.
pub struct Vmalloc<'m, T> {
    tree: VmaTree,
    nodes: VmaPool<'m>,
    table: T,
    range: Span,
    limit_pages: u64,
    /// Covers everything lazy.
    lazy: Span,
    figures: VmallocFigures,
}

impl<'m, T: PageTable> Vmalloc<'m, T> {
    /// An empty range (most often [`VMALLOC_RANGE`]) in the kernel's page table. One
    /// node of `nodes` for each area, lazy ones too. O(1).
    pub const fn new(table: T, nodes: VmaPool<'m>, range: Span, cpus: u32) -> Self {
        let fls = (u32::BITS - cpus.leading_zeros()) as u64;
        let lazy = Span::new(VirtAddr::NULL, VirtAddr::NULL);
        let figures = VmallocFigures { pages: 0, lazy_pages: 0, purges: 0 };
        Self {
            tree: VmaTree::new(),
            nodes,
            table,
            range,
            limit_pages: fls * LAZY_PAGES,
            lazy,
            figures,
        }
    }

    /// `vmalloc`: so many bytes, in whole pages, at the lowest address that has room for
    /// them and a guard page. The contents are those of the frames.
    /// O(log areas + pages).
    ///
    /// [`VmallocError::Size`], [`VmallocError::NoGap`], [`VmallocError::OutOfMemory`],
    /// [`VmallocError::OutOfTables`], [`VmallocError::OutOfVmas`]; no frame is kept.
    pub fn alloc(&mut self, frames: &impl Source, bytes: u64) -> Result<VirtAddr, VmallocError> {
        let pages = bytes.div_ceil(PAGE_SIZE);
        if pages == 0 || pages >= self.range.pages() {
            return Err(VmallocError::Size);
        }
        let with_guard = (pages + 1) << PAGE_SHIFT;
        let start = self.place(with_guard)?;
        let vma = Vma { span: Span::at(start, with_guard), flags: LIVE, ..Vma::default() };
        let id = match self.tree.insert(&mut self.nodes, vma) {
            Err(OutOfVmas) if self.figures.lazy_pages != 0 => {
                self.purge();
                self.tree.insert(&mut self.nodes, vma)?
            }
            result => result?,
        };
        let bits = EntryBits::READ.with(EntryBits::WRITE);
        for nth in 0..pages {
            let at = start.up(nth << PAGE_SHIFT);
            let filled = match frames.take(Order::ZERO) {
                None => Err(VmallocError::OutOfMemory),
                Some(pfn) => self.table.set(at, Entry { pfn, bits }).map_err(|error| {
                    frames.give(pfn, Order::ZERO);
                    error.into()
                }),
            };
            if let Err(error) = filled {
                // Nobody has seen these addresses: no processor remembers them.
                self.unmap(frames, Span::new(start, at));
                self.tree.remove(&mut self.nodes, id);
                return Err(error);
            }
        }
        self.figures.pages += pages;
        Ok(start)
    }

    fn place(&mut self, bytes: u64) -> Result<VirtAddr, VmallocError> {
        let gap = |vmalloc: &Self| vmalloc.tree.lowest_gap(&vmalloc.nodes, vmalloc.range, bytes);
        let found = gap(self).or_else(|| {
            self.purge();
            gap(self)
        });
        found.map(|gap| gap.start).ok_or(VmallocError::NoGap)
    }

    /// `vfree`: takes an area back; how many pages it had. O(log areas + pages); now and
    /// then one bulk purge, O(lazy areas).
    ///
    /// [`VmallocError::NotAnArea`], [`VmallocError::DoubleFree`].
    pub fn free(&mut self, frames: &impl Source, at: VirtAddr) -> Result<u64, VmallocError> {
        let (id, span) = self.area(at)?;
        self.unmap(frames, span);
        self.tree.update(&mut self.nodes, id, |vma| vma.flags = LAZY);
        let whole = self.nodes[id].span;
        self.lazy = if self.lazy.is_empty() {
            whole
        } else {
            Span::new(self.lazy.start.min(whole.start), self.lazy.end.max(whole.end))
        };
        self.figures.pages -= span.pages();
        self.figures.lazy_pages += whole.pages();
        if self.figures.lazy_pages > self.limit_pages {
            self.purge();
        }
        Ok(span.pages())
    }

    fn unmap(&mut self, frames: &impl Source, span: Span) {
        for nth in 0..span.pages() {
            if let Some(entry) = self.table.clear(span.start.up(nth << PAGE_SHIFT)) {
                frames.give(entry.pfn, Order::ZERO);
            }
        }
    }

    /// The live area that starts at `at`, and its pages without the guard.
    fn area(&self, at: VirtAddr) -> Result<(VmaId, Span), VmallocError> {
        let id = self.tree.holding(&self.nodes, at).ok_or(VmallocError::NotAnArea)?;
        let vma = self.nodes[id];
        if vma.span.start != at {
            return Err(VmallocError::NotAnArea);
        }
        if vma.flags == LAZY {
            return Err(VmallocError::DoubleFree);
        }
        Ok((id, Span::new(at, vma.span.end.down(PAGE_SIZE))))
    }

    /// Lets every processor forget all that was freed, by one flush; the addresses may be
    /// handed out again then. O(areas between the first and the last lazy one).
    pub fn purge(&mut self) {
        if self.figures.lazy_pages == 0 {
            return;
        }
        self.table.flush(self.lazy);
        let mut next = self.tree.find(&self.nodes, self.lazy.start);
        while let Some(id) = next {
            let vma = self.nodes[id];
            if vma.span.start >= self.lazy.end {
                break;
            }
            if vma.flags == LAZY {
                self.tree.remove(&mut self.nodes, id);
                next = self.tree.find(&self.nodes, vma.span.end);
            } else {
                next = self.tree.next(&self.nodes, id);
            }
        }
        self.lazy = Span::new(VirtAddr::NULL, VirtAddr::NULL);
        self.figures.lazy_pages = 0;
        self.figures.purges += 1;
    }

    /// Bytes of the area that starts at `at`, in whole pages. O(log areas).
    ///
    /// [`VmallocError::NotAnArea`], [`VmallocError::DoubleFree`].
    pub fn size(&self, at: VirtAddr) -> Result<u64, VmallocError> {
        self.area(at).map(|(_, span)| span.bytes())
    }

    /// `vmalloc_to_page`: the frame behind an address. O(levels).
    pub fn frame(&self, at: VirtAddr) -> Option<Pfn> {
        self.table.get(at.page()).map(|entry| entry.pfn)
    }

    /// What is there. O(1).
    pub const fn figures(&self) -> VmallocFigures {
        self.figures
    }

    /// The page table.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// The page table, to give empty tables back ([`PageTable::prune`]).
    pub const fn table_mut(&mut self) -> &mut T {
        &mut self.table
    }
}

/// Prints the areas in use as `/proc/vmallocinfo` does, callers aside. O(areas).
impl<T: PageTable> fmt::Display for Vmalloc<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for vma in self.tree.iter(&self.nodes).filter(|vma| vma.flags == LIVE) {
            let (start, end, bytes) = (vma.span.start, vma.span.end, vma.span.bytes());
            let pages = vma.span.pages() - 1;
            writeln!(f, "{start:#018x}-{end:#018x} {bytes:7} pages={pages} vmalloc")?;
        }
        Ok(())
    }
}
