//! The chunks that keep free memory from going back.
//!
//! A chunk between two free stretches splits them: were it free too, the three
//! would be one, with more whole pages inside than the two have. What it holds
//! up is that difference less its own bytes.

use serde::{Deserialize, Serialize};

use super::Piece;
use crate::span::Span;
use crate::wire;

/// A chunk that holds up free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The chunk.
    pub piece: Piece,
    /// Resident bytes that a trim could return, were it free, beyond its own.
    #[serde(deserialize_with = "wire::figure")]
    pub held_bytes: usize,
    /// Nothing but the top lies above it: it holds the break (or the heap's end) up.
    pub below_top: bool,
}

/// The largest pins seen so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pins {
    largest: Vec<Pin>,
}

/// So many are kept.
const KEPT: usize = 64;

impl Pins {
    /// Notes a pin. O(log n) for most, O(n) for one that is kept.
    pub fn offer(&mut self, pin: Pin) {
        if pin.held_bytes == 0 && !pin.below_top {
            return;
        }
        let at = self.largest.partition_point(|other| rank(other) >= rank(&pin));
        if at < KEPT {
            self.largest.truncate(KEPT - 1);
            self.largest.insert(at, pin);
        }
    }

    /// Takes all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        other.largest.iter().for_each(|&pin| self.offer(pin));
    }

    /// The pins kept, largest first.
    #[must_use]
    pub fn largest(&self) -> &[Pin] {
        &self.largest
    }
}

fn rank(pin: &Pin) -> usize {
    pin.held_bytes
}

/// Neighbours of a chunk while the walk goes on.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The chunk.
    pub piece: Piece,
    /// The free stretch right before it, possibly empty.
    pub before: Span,
}

impl Holder {
    /// The stretch that it would be part of, with `after` behind it.
    #[must_use]
    pub fn joined(&self, after: Span) -> Span {
        let start = if self.before.bytes() > 0 { self.before.start } else { self.piece.address };
        Span::new(start, self.piece.end().max(after.end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut pins = Pins::default();
        for held_bytes in (0..1000).map(|i| i * 7919 % 1000) {
            let piece = Piece { address: held_bytes * 16, bytes: 32, kind: Kind::Live };
            pins.offer(Pin { piece, held_bytes, below_top: false });
        }
        let kept: Vec<_> = pins.largest().iter().map(|pin| pin.held_bytes).collect();
        assert_eq!(kept, (1000 - KEPT..1000).rev().collect::<Vec<_>>());
    }
}
