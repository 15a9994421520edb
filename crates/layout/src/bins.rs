//! Which bin a free chunk belongs to: glibc's geometry, 64-bit.
//!
//! ```text
//! bin   1        unsorted: every chunk passes once through it
//! bin   2‥63     small: one size each, 32‥1008
//! bin  64‥126    large: ranges of sizes, kept sorted
//! fast  0‥9      chunk sizes 32‥176 (in use up to max_fast, 128 by default)
//! ```

use crate::header::{ALIGNMENT, MIN_CHUNK};

/// Number of bins; 0 is not used.
pub const BINS: usize = 127;
/// The bin of chunks not sorted yet.
pub const UNSORTED: usize = 1;
/// Chunks of this size and more are large.
pub const MIN_LARGE: usize = 1024;
/// Words of the map of bins that may hold something.
pub const BINMAP_WORDS: usize = 2;
/// Number of fastbins.
pub const FASTBINS: usize = 10;
/// Largest chunk that a fastbin can be set to hold (`M_MXFAST` 160).
pub const MAX_FAST_CHUNK: usize = (FASTBINS - 1) * ALIGNMENT + MIN_CHUNK;
/// Fastbins hold chunks up to this size unless told otherwise.
pub const DEFAULT_MAX_FAST: usize = 128;
/// A chunk of this size that comes out of a merge consolidates the fastbins and may trim.
pub const CONSOLIDATION_BYTES: usize = 65536;

const _: () = assert!(BINS <= BINMAP_WORDS * 64);

/// The bin of a free chunk of `size` bytes.
#[must_use]
#[inline]
pub const fn bin_index(size: usize) -> usize {
    if size < MIN_LARGE {
        size >> 4
    } else if size >> 6 <= 48 {
        48 + (size >> 6)
    } else if size >> 9 <= 20 {
        91 + (size >> 9)
    } else if size >> 12 <= 10 {
        110 + (size >> 12)
    } else if size >> 15 <= 4 {
        119 + (size >> 15)
    } else if size >> 18 <= 2 {
        124 + (size >> 18)
    } else {
        126
    }
}

/// The fastbin of a chunk of `size` bytes (at most [`MAX_FAST_CHUNK`]).
#[must_use]
#[inline]
pub const fn fast_index(size: usize) -> usize {
    (size - MIN_CHUNK) / ALIGNMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_rise_with_size_and_stay_in_range() {
        let mut previous = 0;
        for size in (MIN_CHUNK..4 << 20).step_by(ALIGNMENT) {
            let index = bin_index(size);
            assert!(index >= previous && index < BINS, "size {size}");
            previous = index;
        }
        assert_eq!(bin_index(1008), 63);
        assert_eq!(bin_index(1024), 64);
        assert_eq!(bin_index(usize::MAX >> 20), 126);
    }

    #[test]
    fn ranges_begin_where_glibcs_do() {
        let firsts = [
            (1024, 64),
            (1088, 65),
            (3072, 96),
            (3136, 97),
            (3584, 98),
            (10_752, 112),
            (12_288, 113),
            (40_960, 120),
            (65_536, 121),
            (163_840, 124),
            (262_144, 125),
            (524_288, 126),
            (786_432, 126),
        ];
        for (size, index) in firsts {
            assert_eq!(bin_index(size), index, "size {size}");
            if size != 786_432 && size > 1024 {
                assert_eq!(bin_index(size - ALIGNMENT), index - 1, "below {size}");
            }
        }
    }

    #[test]
    fn fastbins_hold_one_size_each() {
        for index in 0..FASTBINS {
            assert_eq!(fast_index(MIN_CHUNK + index * ALIGNMENT), index);
        }
        assert_eq!(MAX_FAST_CHUNK, 176);
        assert_eq!(fast_index(MAX_FAST_CHUNK), FASTBINS - 1);
    }
}
