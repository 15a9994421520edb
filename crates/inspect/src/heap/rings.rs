//! The bins of an arena: rings of free chunks, the same shape in both allocators.
//!
//! ```text
//! bins: │ fd │ bk │ fd │ bk │ …        bin i is addressed as a chunk, its fd at + 16
//!         └─► chunk ─► chunk ─┐
//!         ▲───────────────────┘
//! ```

use heapwise_layout::bins::{BINS, UNSORTED, bin_index};
use heapwise_layout::walk::Read;

use serde::{Deserialize, Serialize};

use super::scan::Count;
use crate::wire;

/// What a bin holds, and what is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Number of the bin: 1 unsorted, 2 to 63 small, then large.
    pub index: usize,
    /// Its chunks.
    pub held: Count,
    /// Links that do not come back, chunks of a size that belongs elsewhere,
    /// chunks not marked as free.
    #[serde(deserialize_with = "wire::figure")]
    pub flaws: usize,
}

/// Where an arena's bins are and how its headers read.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Address of the `fd` of bin 1.
    pub first: usize,
    /// The bits of a header that are the size.
    pub size_mask: u64,
    /// No chunk is larger, and there are not more chunks than fit into this.
    pub heap_bytes: usize,
}

const FD: usize = 16;
const BK: usize = 24;

impl Rings {
    /// Walks every bin. Bounded: at most `heap_bytes / 32` chunks in all.
    pub fn walk(&self, memory: &impl Read) -> Vec<Bin> {
        let mut left = self.heap_bytes / 32;
        (1..BINS).map(|index| self.walk_bin(memory, index, &mut left)).collect()
    }

    fn walk_bin(&self, memory: &impl Read, index: usize, left: &mut usize) -> Bin {
        let ring = (self.first + (index - 1) * 16).wrapping_sub(FD);
        let mut bin = Bin { index, ..Bin::default() };
        let word =
            |chunk: usize, offset: usize| chunk.checked_add(offset).and_then(|at| memory.word(at));
        let mut before = ring;
        let mut next = word(ring, FD);
        loop {
            let Some(chunk) = next.map(|chunk| chunk as usize) else {
                bin.flaws += 1;
                return bin;
            };
            if chunk == ring {
                return bin;
            }
            if *left == 0 || chunk % 16 != 0 {
                bin.flaws += 1;
                return bin;
            }
            *left -= 1;
            if word(chunk, BK) != Some(before as u64) {
                bin.flaws += 1;
            }
            let Some(size) = word(chunk, 8).map(|header| (header & self.size_mask) as usize) else {
                bin.flaws += 1;
                return bin;
            };
            if size > self.heap_bytes || index != UNSORTED && bin_index(size) != index {
                bin.flaws += 1;
                return bin;
            }
            let next_chunk = chunk.wrapping_add(size);
            let marked = word(next_chunk, 8).is_some_and(|header| header & 1 == 0);
            if !marked || word(next_chunk, 0) != Some(size as u64) {
                bin.flaws += 1;
            }
            bin.held.chunks += 1;
            bin.held.bytes += size;
            before = chunk;
            next = word(chunk, FD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Words(HashMap<usize, u64>);
    impl Read for Words {
        fn word(&self, address: usize) -> Option<u64> {
            self.0.get(&address).copied()
        }
    }

    fn arena() -> Words {
        let mut words = HashMap::new();
        for index in 1..BINS {
            let fd = 0x1000 + (index - 1) * 16;
            words.insert(fd, (fd - FD) as u64);
            words.insert(fd + 8, (fd - FD) as u64);
        }
        Words(words)
    }

    const RINGS: Rings = Rings { first: 0x1000, size_mask: !7, heap_bytes: 1 << 20 };

    #[test]
    fn a_chunk_is_found_in_its_bin_and_flaws_are_counted() {
        let mut memory = arena();
        let ring = 0x1000 + 4 * 16 - FD;
        let links: [(usize, u64); 7] = [
            (ring + FD, 0x8000),
            (ring + BK, 0x8000),
            (0x8000 + FD, ring as u64),
            (0x8000 + BK, ring as u64),
            (0x8008, 0x50 | 1),
            (0x8050, 0x50),
            (0x8058, 0x60),
        ];
        memory.0.extend(links);
        let bins = RINGS.walk(&memory);
        assert_eq!(bins[4], Bin { index: 5, held: Count { chunks: 1, bytes: 0x50 }, flaws: 0 });
        assert!(bins.iter().all(|bin| bin.flaws == 0));
        memory.0.insert(0x8000 + BK, 0);
        assert_eq!(RINGS.walk(&memory)[4].flaws, 1);
        // A ring that closes on itself ends all the same.
        memory.0.insert(0x8000 + FD, 0x8000);
        assert!(RINGS.walk(&memory)[4].flaws > 1);
    }
}
