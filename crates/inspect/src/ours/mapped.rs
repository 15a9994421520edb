//! Our chunks with a mapping of their own: from the table, no guesses.

use heapwise_layout::header::{HEADER_BYTES, HEADER_OFFSET, Header};
use heapwise_layout::walk::Read;

use super::root::Root;
use crate::span::Span;

/// The mappings in the table, in address order, and entries that lead to no mapped chunk.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// Whole mappings.
    pub spans: Vec<Span>,
    /// Entries without a chunk behind them.
    pub flaws: usize,
}

/// Slots of chunks are above this: 0 is empty, 1 deleted.
const LAST_MARK: usize = 1;

/// Reads the table. O(slots).
pub fn read(memory: &impl Read, root: &Root, page_bytes: usize) -> Mapped {
    let mut mapped = Mapped::default();
    for slot in (root.slots.start..root.slots.end).step_by(8) {
        let Some(pointer) = memory.word(slot).map(|word| word as usize) else { continue };
        if pointer <= LAST_MARK {
            continue;
        }
        match mapping(memory, pointer, page_bytes) {
            Some(span) => mapped.spans.push(span),
            None => mapped.flaws += 1,
        }
    }
    mapped.spans.sort_unstable();
    mapped
}

fn mapping(memory: &impl Read, pointer: usize, page_bytes: usize) -> Option<Span> {
    let chunk = pointer.checked_sub(HEADER_BYTES)?;
    let before = memory.word(chunk)? as usize;
    let header = Header(memory.word(chunk.checked_add(HEADER_OFFSET)?)?);
    let span = Span { start: chunk.checked_sub(before)?, end: chunk.checked_add(header.size())? };
    let is_mapping = header.mapped()
        && span.start.is_multiple_of(page_bytes)
        && span.end.is_multiple_of(page_bytes);
    is_mapping.then_some(span)
}
