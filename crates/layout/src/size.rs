//! From a request to a chunk size, and the classes of the thread cache.
//!
//! ```text
//! request  0‥24 → 32    25‥40 → 48    …    1017‥1032 → 1040      small: every multiple of 16
//! request  1033‥65,544  → 16 + 2^k × (9‥16)/8                      medium: 8 classes a doubling
//! larger                → the next multiple of 16                  large: never cached
//! ```
//! A cache has one bin a class; a small chunk's bin is its size / 16, so that
//! the fast paths need no table.

use crate::header::{ALIGNMENT, MIN_CHUNK, OVERHEAD_BYTES};

/// Largest small chunk.
pub const SMALL_MAX_CHUNK: usize = 1040;
/// Largest request that a small chunk serves.
pub const SMALL_MAX_REQUEST: usize = SMALL_MAX_CHUNK - OVERHEAD_BYTES;
/// log2 of the first medium doubling.
const MEDIUM_FIRST_LOG2: u32 = 10;
/// log2 of the classes per doubling.
const MEDIUM_STEPS_LOG2: u32 = 3;
/// Medium classes stand 16 above round numbers, so that a request of 4096 wastes nothing.
const MEDIUM_OFFSET: usize = 16;
/// Number of medium classes: 1 KiB to 64 KiB in six doublings.
pub const MEDIUM_CLASSES: usize = 6 << MEDIUM_STEPS_LOG2;
/// Largest medium chunk.
pub const MEDIUM_MAX_CHUNK: usize = 65536 + MEDIUM_OFFSET;
/// First bin of the medium classes; the bins below are the small ones.
pub const MEDIUM_FIRST_BIN: usize = SMALL_MAX_CHUNK / ALIGNMENT + 1;
/// Bins in a cache. A power of two: the free fast path masks with it.
pub const CACHE_BINS: usize = 128;

const _: () = assert!(MEDIUM_FIRST_BIN + MEDIUM_CLASSES <= CACHE_BINS);
const _: () = assert!(medium_size(MEDIUM_FIRST_BIN + MEDIUM_CLASSES - 1) == MEDIUM_MAX_CHUNK);
const _: () = assert!(medium_bin(SMALL_MAX_CHUNK + 16) == MEDIUM_FIRST_BIN);
const _: () = assert!(medium_bin(MEDIUM_MAX_CHUNK) == MEDIUM_FIRST_BIN + MEDIUM_CLASSES - 1);

/// The chunk that serves `request` bytes: `max(32, (request + 8 + 15) & !15)`.
///
/// `None` for a request over `PTRDIFF_MAX`.
#[must_use]
#[inline]
pub const fn chunk_size(request: usize) -> Option<usize> {
    if request > isize::MAX as usize - 64 {
        return None;
    }
    let size = (request + OVERHEAD_BYTES + ALIGNMENT - 1) & !(ALIGNMENT - 1);
    Some(if size < MIN_CHUNK { MIN_CHUNK } else { size })
}

/// The bin of the smallest medium class that holds a chunk of `size` bytes
/// (`SMALL_MAX_CHUNK < size <= MEDIUM_MAX_CHUNK`).
#[must_use]
#[inline]
pub const fn medium_bin(size: usize) -> usize {
    let last = size - MEDIUM_OFFSET - 1;
    let log2 = last.ilog2();
    let step = (last >> (log2 - MEDIUM_STEPS_LOG2)) & ((1 << MEDIUM_STEPS_LOG2) - 1);
    MEDIUM_FIRST_BIN + (((log2 - MEDIUM_FIRST_LOG2) as usize) << MEDIUM_STEPS_LOG2) + step
}

/// Chunk size of a medium bin.
#[must_use]
#[inline]
pub const fn medium_size(bin: usize) -> usize {
    let class = bin - MEDIUM_FIRST_BIN;
    let shift = (class >> MEDIUM_STEPS_LOG2) as u32 + MEDIUM_FIRST_LOG2 - MEDIUM_STEPS_LOG2;
    let step = class & ((1 << MEDIUM_STEPS_LOG2) - 1);
    MEDIUM_OFFSET + (((1 << MEDIUM_STEPS_LOG2) + step + 1) << shift)
}

/// Chunk size of any cache bin in use (`2 <= bin < MEDIUM_FIRST_BIN + MEDIUM_CLASSES`).
#[must_use]
pub const fn bin_size(bin: usize) -> usize {
    if bin < MEDIUM_FIRST_BIN { bin * ALIGNMENT } else { medium_size(bin) }
}

/// The cache bin whose chunks are exactly `size` bytes, if there is one.
#[must_use]
#[inline]
pub const fn cache_bin(size: usize) -> Option<usize> {
    if size <= SMALL_MAX_CHUNK {
        return if size >= MIN_CHUNK { Some(size / ALIGNMENT) } else { None };
    }
    if size > MEDIUM_MAX_CHUNK {
        return None;
    }
    let bin = medium_bin(size);
    if medium_size(bin) == size { Some(bin) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_as_the_articles_say() {
        for (request, chunk) in
            [(0, 32), (24, 32), (25, 48), (32, 48), (40, 48), (1032, 1040), (262_144, 262_160)]
        {
            assert_eq!(chunk_size(request), Some(chunk), "request {request}");
        }
        assert_eq!(chunk_size(isize::MAX as usize), None);
        assert_eq!(chunk_size(usize::MAX), None);
    }

    #[test]
    fn a_chunk_is_the_smallest_that_holds_the_request() {
        for request in 0..70_000 {
            let size = chunk_size(request).unwrap();
            assert!(size.is_multiple_of(ALIGNMENT) && size - OVERHEAD_BYTES >= request);
            assert!(size == MIN_CHUNK || size - ALIGNMENT - OVERHEAD_BYTES < request);
        }
    }

    #[test]
    fn a_bin_has_one_size_and_a_size_at_most_one_bin() {
        let mut bins = 0;
        for size in (0..MEDIUM_MAX_CHUNK + 200).step_by(ALIGNMENT) {
            if let Some(bin) = cache_bin(size) {
                assert_eq!(bin_size(bin), size);
                bins += 1;
            }
        }
        assert_eq!(bins, MEDIUM_FIRST_BIN + MEDIUM_CLASSES - 2);
        assert_eq!((cache_bin(16), cache_bin(MEDIUM_MAX_CHUNK + 16)), (None, None));
    }

    #[test]
    fn medium_classes_cover_and_waste_at_most_an_eighth() {
        let mut previous = SMALL_MAX_CHUNK;
        for bin in MEDIUM_FIRST_BIN..MEDIUM_FIRST_BIN + MEDIUM_CLASSES {
            let size = medium_size(bin);
            assert!(size > previous && size.is_multiple_of(ALIGNMENT));
            for probe in (previous + 16..=size).step_by(16) {
                assert_eq!(medium_bin(probe), bin, "chunk {probe}");
                assert!((size - probe) * 8 <= probe, "chunk {probe} in {size}");
            }
            assert_eq!(cache_bin(size), Some(bin));
            previous = size;
        }
        assert_eq!(medium_size(medium_bin(chunk_size(4096).unwrap())), 4112);
    }
}
