//! What the loader says of the machine's memory, and room for the kernel's books.
//!
//! ```text
//!   start info ─► memory map     0 … 640 KiB │ hole │ 1 MiB … end │ …
//!                                                    image, books, then free frames
//! ```

use crate::start::MAPPED_BYTES;
use core::slice;
use heapwise_pages::{PAGE_OFFSET, PAGE_SIZE};

/// The head of PVH's start info, version 1.
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    root_table: u64,
    map: u64,
    map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct MapEntry {
    from: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;

/// Usable memory, from and to, in whole frames.
#[derive(Clone, Copy)]
pub struct Region {
    pub from: u64,
    pub to: u64,
}

/// The machine's memory: at most so many regions.
pub struct MemoryMap {
    regions: [Region; 8],
    count: usize,
}

impl MemoryMap {
    /// As the loader gives it, without page 0 and what the direct map does not reach.
    ///
    /// # Safety
    /// `info` is what the loader left in ebx.
    pub unsafe fn read(info: u64) -> Option<Self> {
        // SAFETY: the caller's promise; low memory is mapped where it is.
        let info = unsafe { &*core::ptr::with_exposed_provenance::<StartInfo>(info as usize) };
        if info.magic != MAGIC || info.version < 1 {
            return None;
        }
        let map = core::ptr::with_exposed_provenance::<MapEntry>(info.map as usize);
        // SAFETY: the loader's array of so many entries.
        let entries = unsafe { slice::from_raw_parts(map, info.map_entries as usize) };
        let mut regions = [Region { from: 0, to: 0 }; 8];
        let mut count = 0;
        for entry in entries.iter().filter(|entry| entry.kind == RAM) {
            let from = entry.from.max(PAGE_SIZE).next_multiple_of(PAGE_SIZE);
            let to = (entry.from + entry.bytes).min(MAPPED_BYTES) & !(PAGE_SIZE - 1);
            if from < to && count < regions.len() {
                regions[count] = Region { from, to };
                count += 1;
            }
        }
        Some(Self { regions, count })
    }

    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.count]
    }

    pub fn end(&self) -> u64 {
        self.regions().iter().map(|region| region.to).max().unwrap_or(0)
    }

    /// Takes the image out, and gives what is free right behind it to `books`.
    pub fn reserve_image(&mut self, image_end: u64) -> Option<Books> {
        const IMAGE: u64 = 1 << 20;
        let region = self.regions[..self.count]
            .iter_mut()
            .find(|region| region.from <= IMAGE && image_end < region.to)?;
        let to = region.to;
        region.from = image_end;
        Some(Books { at: image_end, to })
    }

    /// Takes out what the books have used.
    pub fn reserve_books(&mut self, books: &Books) {
        let end = books.at.next_multiple_of(PAGE_SIZE);
        for region in &mut self.regions[..self.count] {
            if region.from < end && end <= region.to {
                region.from = end;
            }
        }
    }
}

/// Memory that is cut into slices before there is an allocator.
pub struct Books {
    at: u64,
    to: u64,
}

impl Books {
    /// A slice for good, filled by `make`.
    pub fn slice<T>(
        &mut self,
        count: usize,
        mut make: impl FnMut() -> T,
    ) -> Option<&'static mut [T]> {
        let start = self.at.next_multiple_of(align_of::<T>() as u64);
        let end = start + (count * size_of::<T>()) as u64;
        if end > self.to {
            return None;
        }
        self.at = end;
        let first = core::ptr::with_exposed_provenance_mut::<T>((PAGE_OFFSET + start) as usize);
        for nth in 0..count {
            // SAFETY: usable memory that is nobody's yet, mapped by the direct map.
            unsafe { first.add(nth).write(make()) };
        }
        // SAFETY: as above, and written just now.
        Some(unsafe { slice::from_raw_parts_mut(first, count) })
    }
}
