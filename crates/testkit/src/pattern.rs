//! What a program writes into its blocks, so that nobody else's write goes unseen.
//!
//! Up to [`DENSE_BYTES`] every byte is written; longer blocks get dense ends
//! and a word now and then between them, so that a test of large blocks does
//! not spend its time in page faults. No word of a pattern is 0.

use crate::host::address;
use heapwise_malloc::os::Span;

/// Blocks up to this size are filled whole.
pub const DENSE_BYTES: usize = 4096;
/// The ends of longer ones.
const EDGE_BYTES: usize = 512;

/// Offsets between the ends of a long block that carry a word.
fn inner(bytes: usize) -> impl Iterator<Item = usize> {
    // Odd multiples of 8: words stand at every offset in a page.
    let step = if bytes <= 1 << 20 { 1024 + 8 } else { (64 << 10) + 8 };
    (EDGE_BYTES..bytes.saturating_sub(EDGE_BYTES + 8)).step_by(step)
}

fn word(key: u64, offset: usize) -> u64 {
    (key ^ offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x0101_0101_0101_0101
}

fn dense(bytes: usize) -> [Span; 2] {
    if bytes <= DENSE_BYTES {
        [Span::new(0, bytes), Span::default()]
    } else {
        [Span::new(0, EDGE_BYTES), Span::new(bytes - EDGE_BYTES, bytes)]
    }
}

fn byte(key: u64, offset: usize) -> u8 {
    word(key, offset & !7).to_le_bytes()[offset & 7]
}

/// Calls `each` for every word, then for every byte that no word covers.
fn visit(bytes: usize, mut each: impl FnMut(usize, usize)) {
    for span in dense(bytes) {
        let aligned = Span::new((span.start + 7) & !7, span.end & !7);
        if aligned.bytes() == 0 {
            (span.start..span.end).for_each(|at| each(at, 1));
            continue;
        }
        (span.start..aligned.start).for_each(|at| each(at, 1));
        (aligned.start..aligned.end).step_by(8).for_each(|at| each(at, 8));
        (aligned.end..span.end).for_each(|at| each(at, 1));
    }
    if bytes > DENSE_BYTES {
        inner(bytes).map(|at| at & !7).for_each(|at| each(at, 8));
    }
}

/// Fills `bytes` at `base` with the pattern of `key`.
pub fn fill(base: usize, bytes: usize, key: u64) {
    // SAFETY: the caller's block; words are written unaligned.
    visit(bytes, |at, width| unsafe {
        if width == 8 {
            address::<u64>(base + at).write_unaligned(word(key, at));
        } else {
            address::<u8>(base + at).write(byte(key, at));
        }
    });
}

/// The first offset below `upto` where `base` no longer holds the pattern that
/// [`fill`] wrote there for a block of `bytes`.
#[must_use]
pub fn damage(base: usize, bytes: usize, upto: usize, key: u64) -> Option<usize> {
    let mut found = None;
    visit(bytes, |at, width| {
        if found.is_some() || at + width > upto {
            return;
        }
        // SAFETY: the caller's block, as above.
        let same = unsafe {
            if width == 8 {
                address::<u64>(base + at).read_unaligned() == word(key, at)
            } else {
                address::<u8>(base + at).read() == byte(key, at)
            }
        };
        if !same {
            found = Some(at);
        }
    });
    found
}

/// The first offset of `bytes` at `base` that is not zero.
#[must_use]
pub fn first_nonzero(base: usize, bytes: usize) -> Option<usize> {
    let head = base.next_multiple_of(8).min(base + bytes) - base;
    let words = (bytes - head) / 8;
    // SAFETY: the caller's block; the words are aligned and inside it.
    unsafe {
        let byte = |at: usize| address::<u8>(base + at).read() != 0;
        let found = (0..head).find(|&at| byte(at));
        let middle = std::slice::from_raw_parts(address::<u64>(base + head), words);
        found
            .or_else(|| middle.iter().position(|&w| w != 0).map(|i| head + 8 * i))
            .or_else(|| (head + 8 * words..bytes).find(|&at| byte(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_byte_of_a_dense_block_is_seen() {
        let mut block = [0u8; 77];
        let base = block.as_mut_ptr().expose_provenance();
        fill(base, 77, 5);
        assert_eq!(damage(base, 77, 77, 5), None);
        for at in [0, 1, 7, 8, 9, 15, 16, 40, 63, 64, 75, 76].into_iter().chain(20..30) {
            block[at] ^= 1;
            assert_eq!(damage(base, 77, 77, 5).map(|d| d / 8), Some(at / 8));
            assert_eq!(damage(base, 77, at & !7, 5), None);
            block[at] ^= 1;
        }
    }

    #[test]
    fn the_first_byte_that_is_not_zero_is_found() {
        let mut block = [0u8; 40];
        assert_eq!(first_nonzero(block.as_ptr().expose_provenance() + 1, 39), None);
        block[20] = 1;
        let word = first_nonzero(block.as_ptr().expose_provenance() + 1, 39).unwrap();
        assert!((13..20).contains(&word));
    }
}
