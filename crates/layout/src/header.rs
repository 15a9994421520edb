//! The header word of a chunk, and where things stand in a chunk.
//!
//! ```text
//!  chunk ──► ┌───────────────────────────────┐
//!            │ prev_size                     │  belongs to the previous chunk while that is in use
//!       +8   ├───────────────────────────────┤
//!            │ tag:16 │ size:44    │ 0 A M P │  the header word
//! pointer ─► ├───────────────────────────────┤ +16
//!            │ user data            or       │
//!            │ fd, bk, …  (a free chunk)     │
//!  chunk  ─► ├───────────────────────────────┤ + size
//! ```
//!
//! The tag is what glibc's layout leaves unused. A chunk that the program holds
//! carries a keyed checksum of its size and arena there; every other chunk
//! carries 0. So one load tells a live chunk from a freed or forged one.
//!
//! | tag | P of the next chunk | the chunk is |
//! |---|---|---|
//! | ≠ 0 | 1 | live: the program holds it |
//! | 0 | 1 | on its way: thread cache, inbox, depot or fastbin |
//! | 0 | 0 | free: in a bin, coalesced, its size repeated at its end |

/// Every user pointer and chunk size is a multiple of this.
pub const ALIGNMENT: usize = 16;
/// Distance from a chunk to its user pointer.
pub const HEADER_BYTES: usize = 16;
/// What a chunk costs beyond the request: the header word, `prev_size` being shared.
pub const OVERHEAD_BYTES: usize = 8;
/// The smallest chunk: a header and room for `fd` and `bk`.
pub const MIN_CHUNK: usize = 32;
/// Offset of the header word in a chunk.
pub const HEADER_OFFSET: usize = 8;

/// P: the chunk before this one is in use (or on its way).
pub const PREV_IN_USE: u64 = 1;
/// M: the chunk has a mapping of its own.
pub const MAPPED: u64 = 2;
/// A: the chunk belongs to an arena other than the main one. Kept while a chunk is live or in a bin.
pub const NON_MAIN: u64 = 4;
/// Set in chunks that are to be merged by the next walk that passes them.
pub const SWEPT: u64 = 8;
/// The three flags of the articles.
pub const FLAGS: u64 = PREV_IN_USE | MAPPED | NON_MAIN;
/// First bit of the tag.
pub const TAG_SHIFT: u32 = 48;
/// The bits that hold the size.
pub const SIZE_MASK: u64 = ((1 << TAG_SHIFT) - 1) & !0xf;

/// `prev_size` of a fencepost, and other offsets inside a free chunk (from the chunk).
pub mod free {
    /// Next chunk in the list (a chunk address).
    pub const FD: usize = 16;
    /// Previous chunk in the list.
    pub const BK: usize = 24;
    /// Large bins: first chunk of the next smaller size.
    pub const FD_NEXTSIZE: usize = 32;
    /// Large bins: first chunk of the next larger size.
    pub const BK_NEXTSIZE: usize = 40;
    /// Chunks with whole pages inside: start of the range known to be given back (zero).
    pub const CLEAN_LO: usize = 48;
    /// End of that range.
    pub const CLEAN_HI: usize = 56;
    /// Older neighbour in the arena's list of chunks with dirty pages.
    pub const DIRTY_PREV: usize = 64;
    /// Newer neighbour in that list.
    pub const DIRTY_NEXT: usize = 72;
    /// Where the bookkeeping of a paged chunk ends: pages beyond it may be given back.
    pub const PAGED_BYTES: usize = 80;
}

/// The tag of a live chunk that a profile watches, instead of `tag`: not 0 either, and not
/// what the fast path of free takes for live.
#[must_use]
pub const fn sampled_tag(tag: u64) -> u64 {
    if tag == 1 { 3 } else { tag ^ 1 }
}

/// The header word: `tag:16 | size:44 | 0 | A | M | P`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Header(pub u64);

impl Header {
    /// A header of `size` bytes (a multiple of 16 below 2^48) with `flags` and no tag.
    #[must_use]
    pub const fn new(size: usize, flags: u64) -> Self {
        Self(size as u64 | flags)
    }

    /// The chunk's size in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        (self.0 & SIZE_MASK) as usize
    }

    /// The keyed checksum of a live chunk, 0 for any other.
    #[must_use]
    pub const fn tag(self) -> u16 {
        (self.0 >> TAG_SHIFT) as u16
    }

    /// Whether the previous chunk is in use or on its way (P).
    #[must_use]
    pub const fn prev_in_use(self) -> bool {
        self.0 & PREV_IN_USE != 0
    }

    /// Whether the chunk has a mapping of its own (M).
    #[must_use]
    pub const fn mapped(self) -> bool {
        self.0 & MAPPED != 0
    }

    /// Whether the chunk belongs to a secondary arena (A).
    #[must_use]
    pub const fn non_main(self) -> bool {
        self.0 & NON_MAIN != 0
    }
}

impl core::fmt::Debug for Header {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bit = |on, letter| if on { letter } else { '-' };
        write!(
            f,
            "Header({} {}{}{} tag {:04x})",
            self.size(),
            bit(self.non_main(), 'A'),
            bit(self.mapped(), 'M'),
            bit(self.prev_in_use(), 'P'),
            self.tag()
        )
    }
}

/// The tag of a live chunk of `size` bytes in the arena whose secret is `key`: never 0.
///
/// A multiplicative hash: every bit of `key` and `size` reaches the 16 bits
/// that are kept. A random word passes for the header of one given arena and
/// one given size with probability 2^-16 (2^-15 for the one tag that stands in for 0).
#[must_use]
#[inline]
pub const fn tag_of(key: u64, size: usize) -> u64 {
    let mixed = (size as u64 ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15 | 1);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let tag = mixed >> TAG_SHIFT;
    if tag == 0 { 1 } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        let header = Header(tag_of(7, 48) << TAG_SHIFT | 48 | PREV_IN_USE | NON_MAIN);
        assert_eq!(header.size(), 48);
        assert!(header.prev_in_use() && header.non_main() && !header.mapped());
        assert_eq!(u64::from(header.tag()), tag_of(7, 48));
    }

    #[test]
    fn the_largest_size_leaves_the_tag_alone() {
        let header = Header::new(SIZE_MASK as usize, FLAGS);
        assert_eq!((header.size(), header.tag()), (SIZE_MASK as usize, 0));
        assert_eq!(header.0 & 8, 0, "bit 3 is unused");
    }

    #[test]
    fn debug_names_size_flags_and_tag() {
        extern crate std;
        let header = Header(0xab << TAG_SHIFT | 64 | PREV_IN_USE | MAPPED);
        assert_eq!(std::format!("{header:?}"), "Header(64 -MP tag 00ab)");
    }

    #[test]
    fn a_tag_depends_on_every_bit_of_the_secret() {
        for bit in 0..64 {
            let differing = (32..32 + 16 * 512)
                .step_by(16)
                .filter(|&size| tag_of(0x5eed, size) != tag_of(0x5eed ^ 1 << bit, size))
                .count();
            assert!(differing > 500, "bit {bit}: {differing} of 512");
        }
    }

    #[test]
    fn tags_are_spread_and_never_zero() {
        let mut seen = [0u32; 256];
        for size in (32..1 << 20).step_by(16) {
            let tag = tag_of(0x1234_5678_9abc_def0, size);
            assert!(tag != 0 && tag <= 0xffff);
            seen[(tag & 0xff) as usize] += 1;
        }
        let mean = (1 << 20) / 16 / 256;
        assert!(seen.iter().all(|&n| n > mean / 2 && n < mean * 2));
    }
}
