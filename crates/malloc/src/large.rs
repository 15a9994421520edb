//! Chunks with a mapping of their own: from the mmap threshold on.
//!
//! ```text
//! mapping (whole pages)
//! │ 0 … prev_size │ chunk: prev_size │ size, M │ user data … │
//! ```
//! `prev_size` leads from the chunk to the mapping's start (not 0 only for
//! aligned requests); mapping length = prev_size + size. Every such chunk
//! stands in a table, so that a pointer is known to be one without reading it,
//! and its header carries a tag of its pointer, size and `prev_size`, so that an
//! overwritten one is known before a wrong range is unmapped.

use crate::chunk::{Chunk, at};
use crate::fatal::Fault;
use crate::huge::HUGE_BYTES;
use crate::lock;
use crate::os::{Os, Span};
use crate::root::Allocator;
use crate::tunables::Setting;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapwise_layout::header::{
    ALIGNMENT, HEADER_BYTES, Header, MAPPED, OVERHEAD_BYTES, TAG_SHIFT, tag_of,
};

/// A slot that was in use.
const DELETED: u64 = 1;
/// Longer mappings begin with small pages, where others begin with a huge one.
const FIRST_HUGE_MAX_BYTES: usize = 128 << 20;
/// Mappings of this size are advised to use huge pages, if that is on.
const HUGE_ADVICE_BYTES: usize = 4 << 20;

/// The table, locked.
struct Table<'a, O: Os>(&'a Allocator<O>);

impl<O: Os> Drop for Table<'_, O> {
    fn drop(&mut self) {
        lock::unlock(&self.0.os, &self.0.state.mapped.lock);
    }
}

impl<'a, O: Os> Table<'a, O> {
    fn lock(root: &'a Allocator<O>) -> Self {
        lock::lock(&root.os, &root.state.mapped.lock);
        Self(root)
    }

    fn slots(&self) -> &'a [AtomicU64] {
        let table = &self.0.state.mapped;
        // SAFETY: address and length of a live array, changed together under the lock.
        unsafe {
            core::slice::from_raw_parts(
                at::<AtomicU64>(table.slots.load(Relaxed)),
                1 << table.slots_log2.load(Relaxed),
            )
        }
    }

    /// Slots in the order of the search for `pointer`. Terminates: O(slots), O(1) expected.
    fn probe(&self, pointer: usize) -> impl Iterator<Item = &'a AtomicU64> + use<'a, O> {
        let slots = self.slots();
        let hash = (pointer as u64 / ALIGNMENT as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let start = (hash >> (64 - slots.len().ilog2())) as usize;
        (0..slots.len()).map(move |i| &slots[(start + i) & (slots.len() - 1)])
    }

    fn find(&self, pointer: usize) -> Option<&'a AtomicU64> {
        self.probe(pointer)
            .take_while(|slot| slot.load(Relaxed) != 0)
            .find(|slot| slot.load(Relaxed) == pointer as u64)
    }

    /// Notes a chunk. False if the table is full and cannot grow.
    fn insert(&self, pointer: usize, bytes: usize) -> bool {
        let table = &self.0.state.mapped;
        if (table.filled.load(Relaxed) + 1) * 4 > self.slots().len() * 3 {
            // Without memory for that the table fills up: a search is bounded by its
            // length, and whoever has just removed a chunk must be able to note it again.
            self.grow();
        }
        let Some(slot) = self.probe(pointer).find(|slot| slot.load(Relaxed) <= DELETED) else {
            return false;
        };
        if slot.swap(pointer as u64, Relaxed) == 0 {
            table.filled.fetch_add(1, Relaxed);
        }
        let count = table.count.fetch_add(1, Relaxed) + 1;
        table.peak_count.fetch_max(count, Relaxed);
        let total = table.bytes.fetch_add(bytes, Relaxed) + bytes;
        table.peak_bytes.fetch_max(total, Relaxed);
        true
    }

    /// Forgets a chunk of `bytes`.
    fn remove(&self, slot: &AtomicU64, bytes: usize) {
        slot.store(DELETED, Relaxed);
        let table = &self.0.state.mapped;
        let left = table.count.fetch_sub(1, Relaxed) - 1;
        table.bytes.fetch_sub(bytes, Relaxed);
        if left == 0 {
            self.slots().iter().for_each(|slot| slot.store(0, Relaxed));
            table.filled.store(0, Relaxed);
        }
    }

    /// Twice the slots, or as many without the deleted ones.
    fn grow(&self) {
        let table = &self.0.state.mapped;
        let old = self.slots();
        let log2 = (table.count.load(Relaxed).max(1) * 4).ilog2().max(old.len().ilog2());
        let bytes = self.0.page_up(size_of::<AtomicU64>() << log2);
        let Some(address) = self.0.map(bytes) else { return };
        table.slots.store(address, Relaxed);
        table.slots_log2.store(log2, Relaxed);
        for pointer in old.iter().map(|slot| slot.load(Relaxed)).filter(|&p| p > DELETED) {
            if let Some(slot) = self.probe(pointer as usize).find(|slot| slot.load(Relaxed) == 0) {
                slot.store(pointer, Relaxed);
            }
        }
        table.filled.store(table.count.load(Relaxed), Relaxed);
        if !core::ptr::eq(old.as_ptr(), self.0.first_mapped_slots.as_ptr()) {
            let start = old.as_ptr().addr();
            // SAFETY: the former slots, a mapping of their own that nobody reads any more.
            unsafe { self.0.unmap(Span::new(start, start + self.0.page_up(size_of_val(old)))) };
        }
    }
}

impl<O: Os> Allocator<O> {
    /// The header of a live mapped chunk.
    fn mapped_header(&self, chunk: Chunk, prev_size: usize, size: usize) -> Header {
        let key = self.secret.load(Relaxed) ^ chunk.0 as u64 ^ (prev_size as u64).rotate_left(32);
        Header(tag_of(key, size) << TAG_SHIFT | size as u64 | MAPPED)
    }

    /// The mapping of a mapped chunk; `fault` if its header is not what we wrote.
    ///
    /// # Safety
    /// `chunk` stands in the table.
    unsafe fn mapping(&self, chunk: Chunk, fault: Fault) -> Span {
        // SAFETY: a mapped chunk's two words are mapped.
        let (prev_size, header) = unsafe { (chunk.word(0), chunk.header()) };
        if header != self.mapped_header(chunk, prev_size, header.size()) {
            self.fatal(fault);
        }
        Span::new(chunk.0 - prev_size, chunk.0 + header.size())
    }

    /// Whether `pointer` is that of a mapped chunk.
    pub(crate) fn is_mapped(&self, pointer: usize) -> bool {
        if self.state.mapped.count.load(Relaxed) == 0 {
            return false;
        }
        Table::lock(self).find(pointer).is_some()
    }

    /// Whether a chunk of `size` bytes should get a mapping of its own.
    pub(crate) fn wants_mapping(&self, size: usize) -> bool {
        size >= self.settings.get(Setting::MmapThreshold)
            && self.state.mapped.count.load(Relaxed) < self.settings.get(Setting::MmapMax)
    }

    /// A mapped chunk of at least `size` bytes whose user pointer is a multiple of `align`;
    /// the user pointer, all zero behind it.
    pub(crate) fn map_chunk(&self, size: usize, align: usize) -> Option<usize> {
        let slack = if align > ALIGNMENT { align + self.page_bytes() } else { 0 };
        let total = size.checked_add(OVERHEAD_BYTES + slack)?;
        if total > isize::MAX as usize - self.page_bytes() {
            return None;
        }
        let total = self.page_up(total);
        let start = match self.map_whole_huge(total) {
            Some(start) => start,
            None => self.map(total)?,
        };
        let mut span = Span::new(start, start + total);
        let pointer = (start + HEADER_BYTES + align - 1) & !(align - 1);
        let chunk = Chunk::of(pointer);
        if slack > 0 {
            // Whole pages before and behind go back at once.
            let first = self.page_down(chunk.0);
            let end = self.page_up(chunk.0 + size + OVERHEAD_BYTES).min(span.end);
            let kept = Span::new(first, end);
            // SAFETY: a fresh mapping, of which the chunk needs no other pages.
            unsafe { self.unmap_around(span, kept) };
            span = kept;
        }
        // Before the first page is written: it is the start of a huge one then, unless that is little
        // of the whole. A block that is asked for and not used costs a page.
        let small = if span.bytes() > FIRST_HUGE_MAX_BYTES { HUGE_BYTES } else { 0 };
        self.prepare_huge_mapping(Span::new(span.start + small, span.end));
        if span.bytes() >= HUGE_ADVICE_BYTES && self.settings.get(Setting::HugeTlb) > 0 {
            self.os.advise_huge(span);
        }
        // SAFETY: inside the fresh mapping.
        unsafe {
            chunk.set_word(0, chunk.0 - span.start);
            let prev_size = chunk.0 - span.start;
            chunk.set_header(self.mapped_header(chunk, prev_size, span.end - chunk.0));
        }
        if !Table::lock(self).insert(pointer, span.bytes()) {
            // SAFETY: the fresh mapping, known to nobody.
            unsafe { self.unmap(span) };
            return None;
        }
        Some(pointer)
    }

    /// A mapping of `bytes` that begins where a huge page does, so that as many as can be are whole in
    /// it; `None` where none are to be had.
    fn map_whole_huge(&self, bytes: usize) -> Option<usize> {
        if bytes < 2 * HUGE_BYTES || !self.large_are_filled() {
            return None;
        }
        let slack = HUGE_BYTES - self.page_bytes();
        let all = self.map(bytes + slack)?;
        let start = all.next_multiple_of(HUGE_BYTES);
        let whole = Span::new(all, all + bytes + slack);
        // SAFETY: a fresh mapping, of which nobody is to know the rest.
        unsafe { self.unmap_around(whole, Span::new(start, start + bytes)) };
        Some(start)
    }

    /// Frees a mapped chunk: the mapping goes at once.
    pub(crate) fn unmap_chunk(&self, pointer: usize) {
        let chunk = Chunk::of(pointer);
        let table = Table::lock(self);
        let Some(slot) = table.find(pointer) else { self.fatal(Fault::UnmapInvalidPointer) };
        // SAFETY: in the table.
        let span = unsafe { self.mapping(chunk, Fault::UnmapInvalidPointer) };
        table.remove(slot, span.bytes());
        drop(table);
        self.note_density(pointer, span.end - pointer);
        // Where large chunks are filled, a heap has huge pages ready for them, and a mapping costs
        // its faults each time: then not each that is the largest so far is to get one.
        let bytes = span.end - chunk.0;
        let bytes = if self.large_are_filled() { bytes.next_power_of_two() } else { bytes };
        self.settings.learn_mapped_free(bytes);
        // SAFETY: freed by its holder, no longer in the table.
        unsafe { self.unmap(span) };
    }

    /// Whether a mapped chunk has just the pages that it would have with `size` bytes.
    pub(crate) fn mapping_fits(&self, pointer: usize, size: usize) -> bool {
        let chunk = Chunk::of(pointer);
        // SAFETY: the caller found it in the table and is its holder.
        let span = unsafe { self.mapping(chunk, Fault::RemapInvalidPointer) };
        let total = size.checked_add(chunk.0 - span.start + OVERHEAD_BYTES);
        total.is_some_and(|total| total <= span.bytes() && self.page_up(total) == span.bytes())
    }

    /// Resizes a mapped chunk to `size` bytes; its user pointer, `None` if the kernel refuses.
    pub(crate) fn remap_chunk(&self, pointer: usize, size: usize) -> Option<usize> {
        let chunk = Chunk::of(pointer);
        // SAFETY: the caller found it in the table and is its holder.
        let span = unsafe { self.mapping(chunk, Fault::RemapInvalidPointer) };
        let offset = chunk.0 - span.start;
        let total = size.checked_add(offset + OVERHEAD_BYTES)?;
        if total > isize::MAX as usize - self.page_bytes() {
            return None;
        }
        let total = self.page_up(total);
        if total == span.bytes() {
            return Some(pointer);
        }
        let grows = total > span.bytes();
        if grows {
            self.note_density(pointer, span.end - pointer);
        }
        let table = Table::lock(self);
        let slot = table.find(pointer)?;
        // SAFETY: the whole mapping of a chunk whose holder asked for the move.
        let start = unsafe { self.remap(span, total) }?;
        table.remove(slot, span.bytes());
        let chunk = Chunk(start + offset);
        // SAFETY: inside the resized mapping, contents kept, `prev_size` with them.
        unsafe { chunk.set_header(self.mapped_header(chunk, offset, total - offset)) };
        // A slot was just deleted, so this finds one.
        table.insert(chunk.pointer(), total);
        drop(table);
        if grows {
            self.prepare_huge_mapping(Span::new(start, start + total));
        }
        Some(chunk.pointer())
    }

    /// Pointer and usable bytes of every mapped chunk, under the table's lock.
    pub(crate) fn each_mapped(&self, mut visit: impl FnMut(usize, usize)) {
        let table = Table::lock(self);
        for pointer in table.slots().iter().map(|slot| slot.load(Relaxed) as usize) {
            if pointer > DELETED as usize {
                visit(pointer, self.mapped_usable(pointer));
            }
        }
    }

    /// Bytes the holder of a mapped chunk may use.
    pub(crate) fn mapped_usable(&self, pointer: usize) -> usize {
        // SAFETY: the caller found it in the table.
        unsafe { Chunk::of(pointer).header() }.size() - HEADER_BYTES
    }
}
