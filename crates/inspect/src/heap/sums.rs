//! What a walk comes to: rows, counts, classes, trim gain, pins, the largest hole, a picture.
//!
//! Sums of two parts of a stretch add up to those of the whole where the parts meet between two
//! live chunks: nothing free lies across.

use std::ops::AddAssign;

use heapwise_layout::header::ALIGNMENT;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::paint::Painting;
use super::pins::Pins;
use super::{KINDS, Kind};
use crate::span::Span;
use crate::tally::Tally;
use crate::wire;

/// Chunks and their bytes, resident or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    #[serde(deserialize_with = "wire::figure")]
    pub chunks: usize,
    /// Their sizes together.
    #[serde(deserialize_with = "wire::figure")]
    pub bytes: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        self.chunks += more.chunks;
        self.bytes += more.bytes;
    }
}

/// The largest free stretch, and what lies above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Its addresses.
    pub span: Span,
    /// Resident bytes of it.
    #[serde(deserialize_with = "wire::figure")]
    pub resident: usize,
    /// Live and cached chunks above it in the same stretch.
    pub above: Count,
}

/// Chunks below this size are counted by size first.
pub const SMALL: usize = 4096;

/// The sums.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Resident bytes by row.
    pub tally: Tally,
    /// Chunks by kind, in the order of [`KINDS`].
    pub counts: [Count; KINDS.len()],
    /// Live chunks by size class.
    pub classes: Classes,
    /// Live chunks by size that are not yet in the classes.
    pub small: Box<[usize; SMALL / ALIGNMENT]>,
    /// Resident bytes that a trim would return.
    pub trim_gain: usize,
    /// The largest pins.
    pub pins: Pins,
    /// The largest free stretch.
    pub hole: Hole,
    /// The top chunk.
    pub top: Span,
    /// The picture, if wanted.
    pub painting: Option<Painting>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            counts: [Count::default(); KINDS.len()],
            classes: Classes::default(),
            small: Box::new([0; SMALL / ALIGNMENT]),
            trim_gain: 0,
            pins: Pins::default(),
            hole: Hole::default(),
            top: Span::default(),
            painting: None,
        }
    }
}

impl Sums {
    /// Chunks of one kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> Count {
        self.counts[kind as usize]
    }

    /// Counts a live chunk in its class.
    #[inline]
    pub fn count_live(&mut self, bytes: usize) {
        match self.small.get_mut(bytes / ALIGNMENT) {
            Some(chunks) => *chunks += 1,
            None => self.classes.add(bytes, 1),
        }
    }

    /// Puts what was counted by size into the classes.
    pub fn settle(&mut self) {
        for (index, chunks) in self.small.iter_mut().enumerate().filter(|(_, chunks)| **chunks > 0)
        {
            self.classes.add(index * ALIGNMENT, *chunks);
            *chunks = 0;
        }
    }

    /// Adds what follows right behind in the same stretch. Both are settled.
    pub fn append(&mut self, next: &Self) {
        self.tally.add(&next.tally);
        for (own, more) in self.counts.iter_mut().zip(next.counts) {
            *own += more;
        }
        self.classes.merge(&next.classes);
        self.trim_gain += next.trim_gain;
        self.pins.merge(&next.pins);
        if next.hole.span.bytes() > self.hole.span.bytes() {
            self.hole = next.hole;
        } else {
            for kind in [Kind::Live, Kind::Cached] {
                self.hole.above += next.count(kind);
            }
        }
        if next.top.bytes() > 0 {
            self.top = next.top;
        }
        if let (Some(own), Some(more)) = (&mut self.painting, &next.painting) {
            own.merge(more);
        }
    }
}
