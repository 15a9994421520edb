//! The walk over a stretch of glibc's heap, chunk by chunk.
//!
//! ```text
//!     header:  size │ A M P        A other arena, M mapped, P the one before is in use
//! next's P = 0                     free
//! in a tcache's or fastbin's list  cached, fast (P = 1: to the arena both are in use)
//! size 16 (and then 16 or 0)       fenceposts: the stretch ends
//! at the arena's top               top
//! ```
//! Bounded: each step goes up by 16 bytes or more.

use heapwise_layout::walk::{Read, Stretch, WalkError};

use crate::heap::walker::{Form, Stop, Visitor, Walker};
use crate::heap::{Kind, Piece};

/// What only lists can tell; all in address order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// Chunks in fastbins.
    pub fast: &'a [usize],
    /// Chunks in thread caches.
    pub cached: &'a [usize],
    /// Chunks that hold thread caches.
    pub metadata: &'a [usize],
}

/// A stretch, and what only lists tell about its chunks.
#[derive(Clone, Copy, Debug)]
pub struct Chunks<'a> {
    /// Where they are; the walk may begin at any of them.
    pub stretch: Stretch,
    /// The lists.
    pub lists: Lists<'a>,
}

impl Walker for Chunks<'_> {
    fn walk(
        &self,
        memory: &impl Read,
        start: usize,
        visitor: impl Visitor,
    ) -> Result<Stop, WalkError> {
        walk(memory, &self.lists, Stretch { start, ..self.stretch }, visitor)
    }
}

/// A chunk by its header and the next one's P.
struct Plain;

impl Form for Plain {
    #[inline]
    fn bytes(header: u64) -> usize {
        (header & !(PREV_IN_USE | NON_MAIN)) as usize
    }

    #[inline]
    fn is_free(_: u64, next: u64) -> Option<bool> {
        Some(next & PREV_IN_USE == 0)
    }
}

const PREV_IN_USE: u64 = 1;
const MAPPED: u64 = 2;
const NON_MAIN: u64 = 4;
const MIN_CHUNK: usize = 32;
const FENCEPOST: usize = 16;
/// Hops after which a chain is believed.
const PROBE_HOPS: usize = 4096;

impl Lists<'_> {
    fn kind(&self, chunk: usize) -> Kind {
        let is_in = |list: &[usize]| !list.is_empty() && list.binary_search(&chunk).is_ok();
        if is_in(self.fast) {
            Kind::Fast
        } else if is_in(self.cached) {
            Kind::Cached
        } else if is_in(self.metadata) {
            Kind::Metadata
        } else {
            Kind::Live
        }
    }

    /// The first chunk of a list above `chunk`.
    fn next_above(&self, chunk: usize) -> usize {
        let next =
            |list: &[usize]| list.get(list.partition_point(|&other| other <= chunk)).copied();
        let all = [self.fast, self.cached, self.metadata].into_iter().filter_map(next);
        all.min().unwrap_or(usize::MAX)
    }
}

/// The lists while a walk goes up past their chunks.
struct Ascent<'a> {
    lists: &'a Lists<'a>,
    next: usize,
}

impl Ascent<'_> {
    #[inline]
    fn kind(&mut self, chunk: usize) -> Kind {
        if chunk < self.next {
            return Kind::Live;
        }
        self.next = self.lists.next_above(chunk);
        self.lists.kind(chunk)
    }
}

/// A header as it may stand in a heap: its size, without flags; 0 closes a heap.
fn size_of(header: u64) -> Option<usize> {
    let plain = header >> 47 == 0 && header & 8 == 0 && header & MAPPED == 0;
    plain.then_some((header & !0xf) as usize)
}

/// Shows every chunk of `stretch` in address order, until the visitor wants no more. O(chunks).
///
/// # Errors
/// The first chunk whose header cannot be read or cannot be a chunk's.
pub fn walk(
    memory: &impl Read,
    lists: &Lists<'_>,
    stretch: Stretch,
    mut visitor: impl Visitor,
) -> Result<Stop, WalkError> {
    let Stretch { start, end, top } = stretch;
    let read = |chunk: usize| {
        let at = chunk.checked_add(8).ok_or(WalkError::BadSize(chunk))?;
        memory.word(at).ok_or(WalkError::Unreadable(chunk))
    };
    let mut chunk = start;
    let mut fenced = false;
    if chunk >= end {
        return Ok(Stop::End);
    }
    let mut header = read(chunk)?;
    let mut ascent = Ascent { lists, next: 0 };
    loop {
        // Lists tell nothing below their next chunk.
        let below_top = if chunk < top { top } else { usize::MAX };
        let passed = visitor.pass::<Plain>(chunk, ascent.next.min(below_top));
        if passed != chunk {
            chunk = passed;
            header = read(chunk)?;
        }
        let bytes = size_of(header).ok_or(WalkError::BadSize(chunk))?;
        let room = end - chunk;
        if chunk == top {
            if bytes < FENCEPOST || bytes > room {
                return Err(WalkError::BadSize(chunk));
            }
            let goes_on = visitor.visit(Piece { address: chunk, bytes, kind: Kind::Top });
            return Ok(if goes_on { Stop::Top } else { Stop::Visitor });
        }
        let is_fence = bytes == FENCEPOST || bytes == 0 && fenced;
        if !is_fence && (bytes < MIN_CHUNK || bytes > room) || room < FENCEPOST {
            // A closed heap whose old top was too small for a chunk ends in a bare 0.
            if bytes == 0 && room == FENCEPOST {
                let goes_on = visitor.visit(Piece {
                    address: chunk,
                    bytes: FENCEPOST,
                    kind: Kind::Fencepost,
                });
                return Ok(if goes_on { Stop::Fence(end) } else { Stop::Visitor });
            }
            return Err(WalkError::BadSize(chunk));
        }
        if is_fence {
            if !visitor.visit(Piece { address: chunk, bytes: FENCEPOST, kind: Kind::Fencepost }) {
                return Ok(Stop::Visitor);
            }
            let next = chunk + FENCEPOST;
            if fenced || next >= end {
                return Ok(Stop::Fence(next));
            }
            fenced = true;
            chunk = next;
            header = read(chunk)?;
            if size_of(header).is_none_or(|bytes| bytes != FENCEPOST && bytes != 0) {
                // What looked like a fencepost stands alone.
                return Err(WalkError::BadSize(chunk));
            }
            continue;
        }
        let next = chunk + bytes;
        if next >= end {
            let goes_on = visitor.visit(Piece { address: chunk, bytes, kind: ascent.kind(chunk) });
            return Ok(if goes_on { Stop::End } else { Stop::Visitor });
        }
        let next_header = read(next);
        let is_free = next_header.is_ok_and(|header| header & PREV_IN_USE == 0);
        let kind = if is_free { Kind::Free } else { ascent.kind(chunk) };
        if !visitor.visit(Piece { address: chunk, bytes, kind }) {
            return Ok(Stop::Visitor);
        }
        chunk = next;
        header = next_header?;
    }
}

/// The next stretch of the main heap at or above `from`: somebody else had moved the break
/// in between. Where the chain from a header leads to the top, to fenceposts, or on and on.
pub fn find_stretch(memory: &impl Read, from: usize, end: usize, top: usize) -> Option<usize> {
    let mut chunk = from.next_multiple_of(16);
    while chunk.checked_add(MIN_CHUNK)? <= end {
        match memory.word(chunk + 8) {
            // Nothing is there: on with the next page.
            None => chunk = (chunk + 8 + 1).next_multiple_of(4096),
            Some(header) if header & PREV_IN_USE != 0 && is_chain(memory, chunk, end, top) => {
                return Some(chunk);
            }
            Some(_) => chunk += 16,
        }
    }
    None
}

fn is_chain(memory: &impl Read, start: usize, end: usize, top: usize) -> bool {
    let mut chunk = start;
    for hop in 0..PROBE_HOPS {
        if chunk == top {
            return true;
        }
        let header = chunk.checked_add(8).and_then(|at| memory.word(at));
        let Some(bytes) = header.and_then(size_of) else { return false };
        if bytes == FENCEPOST {
            return hop > 1;
        }
        if bytes < MIN_CHUNK || bytes > end - chunk || chunk + bytes >= end {
            return false;
        }
        chunk += bytes;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers at chunk + 8 in an image that begins at 0x1000.
    fn image(words: &[(usize, u64)]) -> impl Read + use<> {
        struct Image(Vec<u64>);
        impl Read for Image {
            fn word(&self, address: usize) -> Option<u64> {
                self.0.get(address.checked_sub(0x1000)? / 8).copied()
            }
        }
        let mut image = vec![0; 512];
        for &(at, word) in words {
            image[(at - 0x1000) / 8] = word;
        }
        Image(image)
    }

    #[test]
    fn kinds_are_told_from_flags_and_lists() {
        let memory = image(&[
            (0x1008, 0x20 | 1), // live
            (0x1028, 0x30 | 1), // cached
            (0x1058, 0x40 | 1), // free: the next one's P is clear
            (0x1098, 0x20),     // fast
            (0x10b8, 0xf40 | 1),
        ]);
        let lists = Lists { fast: &[0x1090], cached: &[0x1020], metadata: &[] };
        let mut seen = Vec::new();
        let stretch = Stretch { start: 0x1000, end: 0x2000, top: 0x10b0 };
        let stop = walk(&memory, &lists, stretch, |piece: Piece| {
            seen.push((piece.address, piece.kind));
            true
        });
        use Kind::*;
        assert_eq!(stop, Ok(Stop::Top));
        assert_eq!(
            seen,
            [(0x1000, Live), (0x1020, Cached), (0x1050, Free), (0x1090, Fast), (0x10b0, Top)]
        );
    }

    #[test]
    fn fenceposts_end_a_stretch_and_the_next_one_is_found() {
        let memory = image(&[
            (0x1008, 0x20 | 1),
            (0x1028, 0x10 | 1),
            (0x1038, 0x10 | 1),
            (0x1048, 0x999), // foreign
            (0x1108, 0x20 | 1),
            (0x1128, 0x20 | 1),
            (0x1148, 0xec0 | 1),
        ]);
        let stretch = Stretch { start: 0x1000, end: 0x2000, top: 0x1140 };
        let stop = walk(&memory, &Lists::default(), stretch, |_: Piece| true);
        assert_eq!(stop, Ok(Stop::Fence(0x1040)));
        assert_eq!(find_stretch(&memory, 0x1040, 0x2000, 0x1140), Some(0x1100));
        assert_eq!(find_stretch(&memory, 0x1160, 0x2000, 0x1140), None);
    }

    #[test]
    fn what_is_no_chunk_ends_the_walk() {
        for header in [0, 0x18, 0x20 | 2, 1 << 50, 0x9000] {
            let memory = image(&[(0x1008, header)]);
            let stretch = Stretch { start: 0x1000, end: 0x2000, top: 0x1f00 };
            let stop = walk(&memory, &Lists::default(), stretch, |_: Piece| true);
            assert_eq!(stop, Err(WalkError::BadSize(0x1000)), "{header:#x}");
        }
    }
}
