//! An arena of glibc: its fields, its fastbins, its heaps.
//!
//! ```text
//! secondary arena, 64 MiB-aligned (4 huge pages in 2.35 to 2.41 with them):
//! │ heap_info │ malloc_state │ chunks … top │      the first heap, prev == 0
//! │ heap_info │ chunks … fenceposts │              further ones, newest first
//! ```

use heapwise_layout::walk::Read;

use super::locate::MAX_ARENAS;
use super::version::{Table, from_bins};
use crate::heap::scan::Count;
use crate::span::Span;

/// What an arena's head says.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Address of the `malloc_state`.
    pub address: usize,
    /// Whether it lives on the break.
    pub is_main: bool,
    /// Set once the break could not be moved: further stretches are mappings.
    pub non_contiguous: bool,
    /// The top chunk.
    pub top: usize,
    /// Bytes from the system.
    pub system_bytes: usize,
    /// Threads that use it.
    pub attached: usize,
    /// Chunks in fastbins, in address order.
    pub fast: Vec<usize>,
    /// The same by bin.
    pub fast_bins: Vec<Count>,
    /// Links that lead nowhere.
    pub flaws: usize,
}

const NON_CONTIGUOUS: u64 = 2;
const FLAGS_OFFSET: usize = 4;
const FASTBINS: usize = 10;

/// Reads an arena. Follows at most `max_chunks` links.
pub fn read(
    memory: &impl Read,
    table: &Table,
    address: usize,
    is_main: bool,
    max_chunks: usize,
) -> Option<Arena> {
    let bins = address.checked_add(table.bins)?;
    let field = |offset| memory.word(bins.checked_add_signed(offset)?);
    // The mutex and the flags share a word.
    let flags = memory.word(address)? >> (FLAGS_OFFSET * 8);
    let mut arena = Arena {
        address,
        is_main,
        non_contiguous: flags & NON_CONTIGUOUS != 0,
        top: field(from_bins::TOP)? as usize,
        system_bytes: field(from_bins::SYSTEM_MEM)? as usize,
        attached: field(from_bins::ATTACHED)? as usize,
        ..Arena::default()
    };
    let mut left = max_chunks.min(arena.system_bytes / 32 + 1);
    if let Some(offset) = table.fastbins {
        for index in 0..FASTBINS {
            let head = memory.word(address.checked_add(offset + index * 8)?)?;
            let count = read_fastbin(memory, table, head as usize, index, &mut arena, &mut left);
            arena.fast_bins.push(count);
        }
    }
    arena.fast.sort_unstable();
    Some(arena)
}

fn read_fastbin(
    memory: &impl Read,
    table: &Table,
    head: usize,
    index: usize,
    arena: &mut Arena,
    left: &mut usize,
) -> Count {
    let size = 32 + index * 16;
    let mut count = Count::default();
    let mut chunk = head;
    while chunk != 0 {
        let header = chunk.checked_add(8).and_then(|at| memory.word(at));
        let fits = header.is_some_and(|header| header as usize & !7 == size);
        if *left == 0 || !chunk.is_multiple_of(16) || !fits {
            arena.flaws += 1;
            break;
        }
        *left -= 1;
        arena.fast.push(chunk);
        count.chunks += 1;
        count.bytes += size;
        let place = chunk + 16;
        let Some(stored) = memory.word(place) else {
            arena.flaws += 1;
            break;
        };
        chunk = table.reveal(place, stored);
    }
    count
}

/// A heap of a secondary arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// From its `heap_info` to the end of its usable part.
    pub span: Span,
    /// The first chunk.
    pub first: usize,
}

/// Size and alignment of a heap.
pub const HEAP_BYTES: usize = 64 << 20;

/// The heaps of a secondary arena, newest first; `None` if one's head is no head.
pub fn heaps(
    memory: &impl Read,
    table: &Table,
    arena: &Arena,
    huge_page_bytes: usize,
) -> Option<Vec<Heap>> {
    let huge = (35..42).contains(&table.minor) && huge_page_bytes.is_power_of_two();
    let alignments = [HEAP_BYTES, if huge { huge_page_bytes.checked_mul(4)? } else { HEAP_BYTES }];
    alignments.into_iter().find_map(|bytes| heaps_aligned(memory, table, arena, bytes))
}

fn heaps_aligned(
    memory: &impl Read,
    table: &Table,
    arena: &Arena,
    heap_bytes: usize,
) -> Option<Vec<Heap>> {
    let mut heaps = Vec::new();
    let mut head = arena.top & !(heap_bytes - 1);
    while head != 0 {
        let word = |offset| memory.word(head.checked_add(offset)?).map(|word| word as usize);
        let (owner, previous, bytes) = (word(0)?, word(8)?, word(16)?);
        let is_head =
            owner == arena.address && bytes <= heap_bytes && head.is_multiple_of(heap_bytes);
        if !is_head || heaps.len() == MAX_ARENAS {
            return None;
        }
        let behind_head = head + table.heap_info_bytes;
        let first = if behind_head <= arena.address && arena.address < head + bytes {
            arena.address.checked_add(table.arena_bytes)?.next_multiple_of(16)
        } else {
            behind_head
        };
        heaps.push(Heap { span: Span::new(head, head + bytes), first });
        head = previous;
    }
    (!heaps.is_empty()).then_some(heaps)
}
