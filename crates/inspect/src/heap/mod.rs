//! What is common to the heaps of both allocators: pieces in address order in,
//! rows, trim gain, pins and a picture out.
//!
//! ```text
//!  chunk ─► │ prev_size │ header │ user data …        │ next's prev_size │
//!           c           c+8      c+16                c+size            c+size+8
//!                       └──────────── counted as this chunk ────────────┘
//! ```
//! `prev_size` belongs to the chunk before it (its last word while in use, its
//! size's repetition while free), so a chunk is counted from its header on.

use serde::{Deserialize, Serialize};

use crate::wire;

pub mod calm;
pub mod classes;
pub mod paint;
pub mod parts;
pub mod pins;
pub mod rings;
pub mod scan;
pub mod summary;
pub mod sums;
pub mod walker;

/// What a piece of a heap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The program holds it.
    Live,
    /// In a thread cache, or on its way from one.
    Cached,
    /// In a fastbin or an inbox.
    Fast,
    /// In a bin.
    Free,
    /// The wilderness.
    Top,
    /// Closes a stretch.
    Fencepost,
    /// A live chunk that holds the allocator's own data.
    Metadata,
}

/// All kinds.
pub const KINDS: [Kind; 7] =
    [Kind::Live, Kind::Cached, Kind::Fast, Kind::Free, Kind::Top, Kind::Fencepost, Kind::Metadata];

impl Kind {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cached => "cached",
            Self::Fast => "fast",
            Self::Free => "free",
            Self::Top => "top",
            Self::Fencepost => "fencepost",
            Self::Metadata => "metadata",
        }
    }
}

/// A chunk as a walk found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Chunk address: the user pointer − 16.
    #[serde(deserialize_with = "wire::address")]
    pub address: usize,
    /// Chunk size.
    #[serde(deserialize_with = "wire::figure")]
    pub bytes: usize,
    /// What it is.
    pub kind: Kind,
}

impl Piece {
    /// End of the chunk.
    #[must_use]
    pub const fn end(self) -> usize {
        self.address + self.bytes
    }
}
