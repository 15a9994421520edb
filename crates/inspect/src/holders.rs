//! The chunks of all arenas that hold up free memory, and what they begin with.

use serde::{Deserialize, Serialize};

use crate::heap::pins::Pin;
use crate::heap::summary::Heaps;
use crate::process::memory::Image;
use crate::wire;

/// So many are kept, the largest first.
const KEPT: usize = 64;
/// So many of a chunk's first bytes are read.
const FIRST_BYTES: usize = 32;
/// User data begins here.
const USER_OFFSET: usize = 16;
/// Of a chunk its last word but one is the last that is its own.
const OVERHEAD: usize = 8;

/// A pin, and what is known of its chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Number of its arena.
    pub arena: usize,
    /// The chunk, and what it holds up.
    pub pin: Pin,
    /// Its first bytes; empty if they were not wanted or could not be read.
    #[serde(default, with = "wire::hex", skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<u8>,
    /// How long ago it was allocated, where a profile tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Where it was allocated, where a profile tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

impl Holder {
    /// The address that the program knows.
    #[must_use]
    pub fn pointer(&self) -> usize {
        self.pin.piece.address + USER_OFFSET
    }
}

/// The largest pins of all arenas.
#[must_use]
pub fn find(heaps: &Heaps) -> Vec<Holder> {
    let mut all: Vec<Holder> = heaps
        .arenas
        .iter()
        .flat_map(|arena| arena.pins.largest().iter().map(|pin| (arena.index, *pin)))
        .map(|(arena, pin)| Holder { arena, pin, first: Vec::new(), age_ms: None, site: None })
        .collect();
    all.sort_by_key(|holder| std::cmp::Reverse(holder.pin.held_bytes));
    all.truncate(KEPT);
    all
}

/// Reads what they begin with.
pub fn read_first_bytes(holders: &mut [Holder], memory: &impl Image) {
    for holder in holders {
        let length = FIRST_BYTES.min(holder.pin.piece.bytes.saturating_sub(OVERHEAD));
        let start = holder.pointer();
        let words = (start..start + length).step_by(8).map_while(|at| memory.word(at));
        holder.first = words.flat_map(u64::to_le_bytes).take(length).collect();
    }
}
