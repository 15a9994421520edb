//! The walk over a heap, chunk by chunk: one reader for the checker and the inspector.
//!
//! Invariant: bounded. A walk visits at most `(end - start) / 16` chunks and
//! ends at the first header that cannot be one.

use crate::header::{ALIGNMENT, HEADER_OFFSET, Header, MIN_CHUNK};

/// Memory that may be somebody else's.
pub trait Read {
    /// The word at `address`, or `None` if it cannot be read.
    fn word(&self, address: usize) -> Option<u64>;
}

/// What a chunk is, told by its own tag and the next chunk's P.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// The program holds it.
    Live,
    /// In a thread cache, an inbox, the depot or a fastbin.
    InTransit,
    /// In a bin.
    Free,
    /// The wilderness.
    Top,
    /// A marker of 16 bytes that closes a stretch.
    Fencepost,
}

/// A chunk as the walk finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visited {
    /// Chunk address (user pointer − 16).
    pub chunk: usize,
    /// Its header word.
    pub header: Header,
    /// What it is.
    pub state: ChunkState,
}

/// Why a walk stopped short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// The header at this chunk could not be read.
    Unreadable(usize),
    /// The size at this chunk is no chunk size, or leaves the heap.
    BadSize(usize),
}

/// The stretch to walk.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// First chunk.
    pub start: usize,
    /// End of the stretch.
    pub end: usize,
    /// The arena's top chunk, wherever it is.
    pub top: usize,
}

/// Visits every chunk of `stretch` in address order, until `visit` returns false. O(chunks).
///
/// # Errors
/// The first header that cannot be read or cannot be a chunk's.
pub fn walk(
    memory: &impl Read,
    stretch: Stretch,
    mut visit: impl FnMut(Visited) -> bool,
) -> Result<(), WalkError> {
    let mut chunk = stretch.start;
    let read = |chunk: usize| {
        let word = chunk.checked_add(HEADER_OFFSET).and_then(|at| memory.word(at));
        word.map(Header).ok_or(WalkError::Unreadable(chunk))
    };
    while chunk < stretch.end {
        let header = read(chunk)?;
        let size = header.size();
        if chunk == stretch.top {
            if chunk.checked_add(size) != Some(stretch.end) {
                return Err(WalkError::BadSize(chunk));
            }
            visit(Visited { chunk, header, state: ChunkState::Top });
            return Ok(());
        }
        if size < ALIGNMENT || stretch.end - chunk < size {
            return Err(WalkError::BadSize(chunk));
        }
        let state = if size < MIN_CHUNK {
            ChunkState::Fencepost
        } else if header.tag() != 0 {
            ChunkState::Live
        } else if stretch.end - chunk > size && !read(chunk + size)?.prev_in_use() {
            ChunkState::Free
        } else {
            ChunkState::InTransit
        };
        if !visit(Visited { chunk, header, state }) {
            return Ok(());
        }
        chunk += size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    struct Image(Vec<u64>);
    impl Read for Image {
        fn word(&self, address: usize) -> Option<u64> {
            self.0.get(address / 8).copied()
        }
    }

    #[test]
    fn states_are_told_from_tag_and_next_flag() {
        let mut words = std::vec![0u64; 64];
        words[1] = 0xabcd << 48 | 32 | 1; // 0x00 live
        words[5] = 48 | 1; //               0x20 on its way
        words[11] = 64 | 1; //              0x50 free, as the next one's P is clear
        words[19] = 0x1111 << 48 | 32; //   0x90 live
        words[23] = 336 | 1; //             0xb0 top
        let mut seen = Vec::new();
        let stretch = Stretch { start: 0, end: 512, top: 0xb0 };
        walk(&Image(words), stretch, |v| {
            seen.push((v.chunk, v.state));
            true
        })
        .unwrap();
        use ChunkState::*;
        assert_eq!(seen, [(0, Live), (0x20, InTransit), (0x50, Free), (0x90, Live), (0xb0, Top)]);
    }

    #[test]
    fn fenceposts_close_a_stretch() {
        let mut words = std::vec![0u64; 16];
        words[1] = 64 | 1; //  0x00 free: the fencepost behind it says so
        words[9] = 16; //      0x40
        words[11] = 16 | 1; // 0x50
        let stretch = Stretch { start: 0, end: 0x60, top: 0x1000 };
        let mut seen = Vec::new();
        walk(&Image(words), stretch, |v| {
            seen.push(v.state);
            true
        })
        .unwrap();
        use ChunkState::*;
        assert_eq!(seen, [Free, Fencepost, Fencepost]);
    }

    #[test]
    fn the_visitor_ends_the_walk() {
        let words = std::vec![0, 32 | 1, 0, 0, 0, 32 | 1, 0, 0, 0, 32 | 1, 0, 0];
        let mut visits = 0;
        let stretch = Stretch { start: 0, end: 96, top: 0x1000 };
        walk(&Image(words), stretch, |_| {
            visits += 1;
            visits < 2
        })
        .unwrap();
        assert_eq!(visits, 2);
    }

    #[test]
    fn random_bytes_end_the_walk_in_bounds() {
        let mut random = heapwise_seed::Rng::new(1);
        for _ in 0..2000 {
            let mut word = || {
                let word = random.word();
                // Sizes that often lead somewhere, and now and then nonsense.
                if word >> 60 == 0 { word } else { word >> 40 & 0x1f7 }
            };
            let words: Vec<u64> = (0..256).map(|_| word()).collect();
            let stretch = Stretch { start: 0, end: 2048, top: (word() & 0x7f0) as usize };
            let mut visits = 0;
            let _ = walk(&Image(words), stretch, |v| {
                visits += 1;
                v.chunk < 2048
            });
            assert!(visits <= 2048 / ALIGNMENT);
        }
    }

    #[test]
    fn a_zero_size_ends_the_walk() {
        let stretch = Stretch { start: 0, end: 64, top: 1000 };
        assert_eq!(walk(&Image(std::vec![0; 8]), stretch, |_| true), Err(WalkError::BadSize(0)));
        assert_eq!(walk(&Image(Vec::new()), stretch, |_| true), Err(WalkError::Unreadable(0)));
    }

    #[test]
    fn a_stretch_at_the_end_of_all_addresses_ends_the_walk() {
        let last = usize::MAX - 7;
        let stretch = Stretch { start: last, end: usize::MAX, top: 0 };
        let end = walk(&Image(std::vec![0; 8]), stretch, |_| true);
        assert_eq!(end, Err(WalkError::Unreadable(last)));
    }
}
