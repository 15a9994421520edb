//! A set of numbers as bits under two levels of summary.
//!
//! ```text
//!   top      1 bit for each word below that is not zero     scanned
//!   middle   1 bit for each word below that is not zero
//!   leaf     the set itself                                  64 members a word
//! ```
//! Small sets (up to 8 middle words) do without the top: the middle is scanned.
//!
//! Insert, remove, contains: O(1), one word unless a word's emptiness changes.
//! First and last: O(1) up to 2^18 members, then one word more per 2^18.
//! A free list as bits never touches a neighbour: where a linked list dirties
//! three cache lines of 12-byte nodes, this dirties one word of a table a
//! hundred times smaller, and its first member is the lowest address for free.

/// Where a set's three levels lie in the zone's words, and how many members it has.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub(crate) struct BitTree {
    leaf: u32,
    middle: u32,
    /// The words to scan; the middle ones if the set is flat.
    top: u32,
    end: u32,
    /// Kept by the set's owner.
    pub(crate) count: u32,
    /// Kept by the set's owner, in one cache line with the count.
    pub(crate) lone: u32,
    flat: bool,
}

/// Middle words that are scanned rather than summarised: one cache line.
const FLAT: usize = 8;

const fn level(bits: usize) -> usize {
    bits.div_ceil(64)
}

impl BitTree {
    /// Words that a set of `bits` members takes.
    pub(crate) const fn words(bits: usize) -> usize {
        level(bits) + level(level(bits)) + level(level(level(bits)))
    }

    /// The set of `bits` members that starts at word `at`.
    pub(crate) const fn at(at: usize, bits: usize) -> Self {
        let middle = at + level(bits);
        let top = middle + level(level(bits));
        let flat = top - middle <= FLAT;
        let (top, end) = if flat { (middle, top) } else { (top, at + Self::words(bits)) };
        Self {
            leaf: at as u32,
            middle: middle as u32,
            top: top as u32,
            end: end as u32,
            count: 0,
            lone: 0,
            flat,
        }
    }

    /// The word that holds a member.
    #[inline]
    pub(crate) const fn word_of(&self, bit: usize) -> usize {
        self.leaf as usize + bit / 64
    }

    #[inline]
    pub(crate) fn contains(&self, words: &[u64], bit: usize) -> bool {
        words.get(self.word_of(bit)).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    #[inline(always)]
    pub(crate) fn insert(&self, words: &mut [u64], bit: usize) {
        let word = &mut words[self.word_of(bit)];
        let before = *word;
        *word = before | 1 << (bit % 64);
        if before == 0 {
            self.summarise(words, bit / 64);
        }
    }

    /// Takes a member out. The caller knows that it is in.
    #[inline(always)]
    pub(crate) fn remove(&self, words: &mut [u64], bit: usize) {
        let word = &mut words[self.word_of(bit)];
        *word &= !(1 << (bit % 64));
        if *word == 0 {
            self.unsummarise(words, bit / 64);
        }
    }

    /// Writes a whole leaf word, given by any of its members.
    #[inline]
    pub(crate) fn set_word(&self, words: &mut [u64], bit: usize, value: u64) {
        let word = &mut words[self.word_of(bit)];
        let before = core::mem::replace(word, value);
        if before == 0 && value != 0 {
            self.summarise(words, bit / 64);
        } else if before != 0 && value == 0 {
            self.unsummarise(words, bit / 64);
        }
    }

    #[inline(never)]
    pub(crate) fn summarise(&self, words: &mut [u64], leaf: usize) {
        let word = &mut words[self.middle as usize + leaf / 64];
        let before = *word;
        *word = before | 1 << (leaf % 64);
        if before == 0 && !self.flat {
            let middle = leaf / 64;
            words[self.top as usize + middle / 64] |= 1 << (middle % 64);
        }
    }

    #[inline(never)]
    pub(crate) fn unsummarise(&self, words: &mut [u64], leaf: usize) {
        let word = &mut words[self.middle as usize + leaf / 64];
        *word &= !(1 << (leaf % 64));
        if *word == 0 && !self.flat {
            let middle = leaf / 64;
            words[self.top as usize + middle / 64] &= !(1 << (middle % 64));
        }
    }

    /// The lowest member.
    #[inline]
    pub(crate) fn first(&self, words: &[u64]) -> Option<usize> {
        let leaf = self.first_leaf(words)?;
        Some(leaf * 64 + words[self.leaf as usize + leaf].trailing_zeros() as usize)
    }

    /// Takes the lowest member out.
    #[inline]
    pub(crate) fn take_first(&self, words: &mut [u64]) -> Option<usize> {
        let leaf = self.first_leaf(words)?;
        let word = &mut words[self.leaf as usize + leaf];
        let before = *word;
        *word = before & before.wrapping_sub(1);
        if *word == 0 {
            self.unsummarise(words, leaf);
        }
        Some(leaf * 64 + before.trailing_zeros() as usize)
    }

    /// The first leaf word that is not zero.
    #[inline(always)]
    fn first_leaf(&self, words: &[u64]) -> Option<usize> {
        let tops = &words[self.top as usize..self.end as usize];
        let (at, top) = tops.iter().enumerate().find(|(_, word)| **word != 0)?;
        let mut leaf = at * 64 + top.trailing_zeros() as usize;
        if !self.flat {
            leaf = leaf * 64 + words[self.middle as usize + leaf].trailing_zeros() as usize;
        }
        Some(leaf)
    }

    /// The highest member.
    pub(crate) fn last(&self, words: &[u64]) -> Option<usize> {
        let highest = |word: u64| 63 - word.leading_zeros() as usize;
        let tops = &words[self.top as usize..self.end as usize];
        let (at, top) = tops.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
        let mut leaf = at * 64 + highest(*top);
        if !self.flat {
            leaf = leaf * 64 + highest(words[self.middle as usize + leaf]);
        }
        Some(leaf * 64 + highest(words[self.leaf as usize + leaf]))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use heapwise_seed::Rng;
    use std::{collections::BTreeSet, vec};

    #[test]
    fn behaves_as_an_ordered_set() {
        for bits in [1, 63, 64, 65, 4096, 4097, 300_000] {
            let tree = BitTree::at(3, bits);
            let mut words = vec![0; 3 + BitTree::words(bits)];
            let mut model = BTreeSet::new();
            let mut random = Rng::new(bits as u64);
            for _ in 0..4000 {
                let bit = random.index(bits);
                assert_eq!(tree.contains(&words, bit), model.contains(&bit));
                if model.remove(&bit) {
                    tree.remove(&mut words, bit);
                } else {
                    model.insert(bit);
                    tree.insert(&mut words, bit);
                }
                assert_eq!(tree.first(&words), model.first().copied());
                assert_eq!(tree.last(&words), model.last().copied());
            }
            for bit in model {
                assert_eq!(tree.take_first(&mut words), Some(bit));
            }
            assert_eq!(tree.take_first(&mut words), None);
            assert!(words.iter().all(|word| *word == 0));
        }
    }
}
