//! Live chunks by size class: how many, how many bytes.
//!
//! A class is the bin that the chunk would fall into were it free, for both
//! allocators glibc's geometry: one size each below 1024 bytes, ranges above.
//! Chunks with a mapping of their own are in none.

use std::sync::LazyLock;

use heapwise_layout::bins::{BINS, bin_index};
use heapwise_layout::header::{ALIGNMENT, MIN_CHUNK};
use serde::{Deserialize, Serialize};

use super::scan::Count;

/// Sizes of a class, of chunks: the request and 8 bytes, rounded up to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// Its number: the bin's.
    pub index: usize,
    /// Smallest chunk of it.
    pub first_bytes: usize,
    /// Largest chunk of it; `None` for the last class, which has no end.
    pub last_bytes: Option<usize>,
}

/// The smallest chunk of each bin. From here on there is only the last one.
static FIRSTS: LazyLock<[usize; BINS]> = LazyLock::new(|| {
    const LAST_BEGINS_BELOW: usize = 1 << 20;
    let mut firsts = [0; BINS];
    for bytes in (MIN_CHUNK..LAST_BEGINS_BELOW).step_by(ALIGNMENT).rev() {
        firsts[bin_index(bytes)] = bytes;
    }
    firsts
});

impl Class {
    /// The class of this number.
    #[must_use]
    pub fn of(index: usize) -> Option<Self> {
        let first_bytes = FIRSTS.get(index).copied().filter(|&first| first > 0)?;
        let next = FIRSTS.get(index + 1);
        Some(Self { index, first_bytes, last_bytes: next.map(|next| next - ALIGNMENT) })
    }
}

/// A histogram of live chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(usize, Count)>", try_from = "Vec<(usize, Count)>")]
pub struct Classes(Box<[Count; BINS]>);

impl Default for Classes {
    fn default() -> Self {
        Self(Box::new([Count::default(); BINS]))
    }
}

impl Classes {
    /// Counts chunks of one size. O(1).
    pub fn add(&mut self, chunk_bytes: usize, chunks: usize) {
        self.0[bin_index(chunk_bytes)] += Count { chunks, bytes: chunk_bytes * chunks };
    }

    /// Counts all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0.iter()) {
            *own += *more;
        }
    }

    /// What a class of this number has.
    #[must_use]
    pub fn count(&self, index: usize) -> Count {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The classes that have chunks, smallest first.
    pub fn filled(&self) -> impl Iterator<Item = (Class, Count)> + '_ {
        let all = self.0.iter().enumerate().filter(|(_, count)| count.chunks > 0);
        all.filter_map(|(index, count)| Some((Class::of(index)?, *count)))
    }
}

impl From<Classes> for Vec<(usize, Count)> {
    fn from(classes: Classes) -> Self {
        classes.filled().map(|(class, count)| (class.index, count)).collect()
    }
}

impl TryFrom<Vec<(usize, Count)>> for Classes {
    type Error = String;

    fn try_from(list: Vec<(usize, Count)>) -> Result<Self, Self::Error> {
        let mut classes = Self::default();
        for (index, count) in list {
            let class = Class::of(index).ok_or_else(|| format!("no size class {index}"))?;
            classes.0[class.index] = count;
        }
        Ok(classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_adjoin_and_hold_their_sizes() {
        let all: Vec<Class> = (0..BINS).filter_map(Class::of).collect();
        assert_eq!(all[0].first_bytes, MIN_CHUNK);
        for pair in all.windows(2) {
            assert_eq!(pair[0].last_bytes, Some(pair[1].first_bytes - ALIGNMENT));
        }
        assert_eq!(all.last().unwrap().last_bytes, None);
        for class in all {
            let last = class.last_bytes.unwrap_or(1 << 40);
            assert_eq!(bin_index(class.first_bytes), class.index);
            assert_eq!(bin_index(last), class.index);
        }
    }

    #[test]
    fn what_is_counted_comes_back() {
        let mut classes = Classes::default();
        for bytes in [32, 32, 48, 5000, 1 << 30] {
            classes.add(bytes, 1);
        }
        let counts: Vec<_> =
            classes.filled().map(|(_, count)| (count.chunks, count.bytes)).collect();
        assert_eq!(counts, [(2, 64), (1, 48), (1, 5000), (1, 1 << 30)]);
        let list: Vec<(usize, Count)> = classes.clone().into();
        assert_eq!(Classes::try_from(list).unwrap(), classes);
        assert!(Classes::try_from(vec![(0, Count::default())]).is_err());
        assert!(Classes::try_from(vec![(BINS, Count::default())]).is_err());
        let mut twice = classes.clone();
        twice.merge(&classes);
        assert_eq!(twice.count(2).chunks, 4);
    }
}
