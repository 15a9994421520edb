//! Memory objects in lent slices: shared memory, memfds, and files whose contents the
//! caller puts into their frames.
//!
//! ```text
//!   slots   [object: size, opens, index ─► frame in a SoftTable][object]…
//! ```
//! The index of an object is a page table with file offsets for addresses: one radix
//! tree serves both. So objects end at 256 TiB.

use crate::addr::{Span, VirtAddr};
use crate::files::{FileKind, FileLabel, Files, LoadError};
use crate::frames::Frames;
use crate::soft::{SoftTable, TableArena};
use crate::table::{Entry, EntryBits, PageTable};
use crate::vma::FileId;
use core::fmt;
use heapwise_pages::{Lock, PAGE_SHIFT, PAGE_SIZE, Pfn};

/// Room for one object. The caller lends a slice of these.
pub struct ShmemSlot<'l, 'm, L> {
    object: Option<Object<'l, 'm, L>>,
}

impl<L> ShmemSlot<'_, '_, L> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { object: None }
    }
}

impl<L> Default for ShmemSlot<'_, '_, L> {
    fn default() -> Self {
        Self::new()
    }
}

struct Object<'l, 'm, L> {
    index: SoftTable<'l, 'm, L>,
    kind: FileKind,
    pages: u64,
    opens: u32,
    promised: u64,
    path: &'static str,
    label: FileLabel,
}

/// Memory objects, as [`Files`].
pub struct Shmem<'s, 'l, 'm, L> {
    slots: &'s mut [ShmemSlot<'l, 'm, L>],
    arena: &'l L,
    next_inode: u64,
}

/// The device of nameless shared memory, as Linux mostly numbers it.
const SHMEM_MINOR: u32 = 1;

impl<'s, 'l, 'm, L: Lock<TableArena<'m>>> Shmem<'s, 'l, 'm, L> {
    /// Over lent slots; their indices come from `arena`. O(1).
    pub const fn new(slots: &'s mut [ShmemSlot<'l, 'm, L>], arena: &'l L) -> Self {
        Self { slots, arena, next_inode: 1 }
    }

    /// A new object of so many pages, opened once: its maker's [`close`](Files::close)
    /// is due. `None` if all slots are taken. O(slots).
    pub fn create(&mut self, kind: FileKind, pages: u64, path: &'static str) -> Option<FileId> {
        let nth = self.slots.iter().position(|slot| slot.object.is_none())?;
        let label = FileLabel { major: 0, minor: SHMEM_MINOR, inode: self.next_inode };
        self.next_inode += 1;
        let index = SoftTable::new(self.arena);
        let object = Object { index, kind, pages, opens: 1, promised: 0, path, label };
        self.slots[nth].object = Some(object);
        Some(FileId(nth as u32))
    }

    /// Gives an object another device and inode.
    pub fn set_label(&mut self, file: FileId, label: FileLabel) {
        if let Some(object) = self.object_mut(file) {
            object.label = label;
        }
    }

    /// Gives an object another length in pages: `ftruncate`. What lies behind the end goes, if
    /// nothing maps it; where it is mapped, [`Mm::unmap_file_from`](crate::Mm::unmap_file_from)
    /// is due next. What is new reads as zeros. False if there is no such object.
    /// O(pages that go).
    pub fn truncate(&mut self, file: FileId, pages: u64, frames: &mut dyn Frames) -> bool {
        let Some(object) = self.object_mut(file) else { return false };
        object.pages = pages;
        let behind = Span::new(place(pages), VirtAddr::new(u64::MAX));
        while let Some((page, entry)) = object.index.first(behind) {
            let _ = object.index.clear(page);
            frames.release(entry.pfn);
        }
        true
    }

    /// Objects that exist. O(slots).
    pub fn objects(&self) -> usize {
        self.slots.iter().filter(|slot| slot.object.is_some()).count()
    }

    fn object(&self, file: FileId) -> Option<&Object<'l, 'm, L>> {
        self.slots.get(file.0 as usize)?.object.as_ref()
    }

    fn object_mut(&mut self, file: FileId) -> Option<&mut Object<'l, 'm, L>> {
        self.slots.get_mut(file.0 as usize)?.object.as_mut()
    }
}

const fn place(index: u64) -> VirtAddr {
    VirtAddr::new(index << PAGE_SHIFT)
}

impl<'m, L: Lock<TableArena<'m>>> Files for Shmem<'_, '_, 'm, L> {
    fn kind(&self, file: FileId) -> FileKind {
        self.object(file).map_or(FileKind::Regular, |object| object.kind)
    }

    fn cached(&self, file: FileId, index: u64) -> Option<Pfn> {
        let object = self.object(file).filter(|object| index < object.pages)?;
        Some(object.index.get(place(index))?.pfn)
    }

    fn load(
        &mut self,
        file: FileId,
        index: u64,
        frames: &mut dyn Frames,
    ) -> Result<Pfn, LoadError> {
        let object = self.object_mut(file).filter(|object| index < object.pages);
        let object = object.ok_or(LoadError::BeyondEnd)?;
        if let Some(entry) = object.index.get(place(index)) {
            return Ok(entry.pfn);
        }
        let pfn = frames.take().ok_or(LoadError::OutOfMemory)?;
        let entry = Entry { pfn, bits: EntryBits::READ };
        if object.index.set(place(index), entry).is_err() {
            frames.release(pfn);
            return Err(LoadError::OutOfMemory);
        }
        Ok(pfn)
    }

    fn mark_dirty(&mut self, file: FileId, index: u64) {
        let Some(object) = self.object_mut(file) else { return };
        if let Some(entry) = object.index.get(place(index)) {
            let bits = entry.bits.with(EntryBits::DIRTY);
            // An entry stands there: no table is missing.
            let _ = object.index.set(place(index), entry.with_bits(bits));
        }
    }

    fn is_dirty(&self, file: FileId, index: u64) -> bool {
        let entry = self.object(file).and_then(|object| object.index.get(place(index)));
        entry.is_some_and(|entry| entry.bits.has(EntryBits::DIRTY))
    }

    fn open(&mut self, file: FileId) {
        if let Some(object) = self.object_mut(file) {
            object.opens = object.opens.saturating_add(1);
        }
    }

    fn close(&mut self, file: FileId, frames: &mut dyn Frames) -> u64 {
        let Some(slot) = self.slots.get_mut(file.0 as usize) else { return 0 };
        let Some(object) = &mut slot.object else { return 0 };
        object.opens = object.opens.saturating_sub(1);
        if object.opens > 0 {
            return 0;
        }
        let end = VirtAddr::new(u64::MAX);
        let mut at = VirtAddr::NULL;
        while let Some((page, entry)) = object.index.first(Span::new(at, end)) {
            frames.release(entry.pfn);
            at = page.up(PAGE_SIZE);
        }
        object.index.destroy();
        let promised = object.promised;
        slot.object = None;
        promised
    }

    fn create_shared(&mut self, pages: u64, accounted: bool) -> Option<FileId> {
        let file = self.create(FileKind::Shmem, pages, "/dev/zero (deleted)")?;
        if let Some(object) = self.object_mut(file) {
            object.promised = if accounted { pages } else { 0 };
        }
        Some(file)
    }

    fn label(&self, file: FileId) -> FileLabel {
        self.object(file).map_or(FileLabel::default(), |object| object.label)
    }

    fn write_path(&self, file: FileId, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.object(file).map_or("", |object| object.path))
    }
}
