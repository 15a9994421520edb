//! What a walk leaves behind: arenas, their heaps, and claims on resident pages.

use heapwise_layout::walk::WalkError;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::paint::Picture;
use super::parts::Walked;
use super::pins::Pins;
use super::rings::Bin;
use super::scan::{Count, Hole};
use super::{KINDS, Kind};
use crate::process::pages::Pages;
use crate::span::Span;
use crate::tally::{Row, Tally};
use crate::wire;

/// Addresses whose resident bytes are accounted for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The addresses.
    pub span: Span,
    /// Their resident bytes by row; they sum to what is resident there.
    pub tally: Tally,
    /// What it is.
    pub what: What,
}

/// What a claim is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A stretch of chunks of the arena of this number.
    Heap(usize),
    /// A chunk with a mapping of its own.
    MappedChunk,
    /// The allocator's own tables.
    Tables,
}

/// A stretch of chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeapSummary {
    /// From its head to the end of its last chunk, or to where it should have ended.
    pub span: Span,
    /// Resident bytes by row.
    pub tally: Tally,
    /// Why the walk stopped short.
    #[serde(with = "wire::broken")]
    pub broken: Option<WalkError>,
    /// A picture, if wanted.
    pub states: Picture,
}

/// A thread's cache.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CacheSummary {
    /// The thread; none where it has ended or is not known.
    pub tid: Option<u32>,
    /// What each class holds that holds something: chunk size (0 for mixed ones), chunks.
    pub classes: Vec<(usize, Count)>,
    /// All together.
    pub held: Count,
}

/// An arena.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ArenaSummary {
    /// Its number, 0 the main one.
    pub index: usize,
    /// Address of its state.
    pub address: usize,
    /// Threads that allocate from it, where known.
    pub threads: Vec<u32>,
    /// Bytes from the system, by its own counter.
    #[serde(deserialize_with = "wire::figure")]
    pub system_bytes: usize,
    /// Resident bytes by row.
    pub tally: Tally,
    /// Chunks by kind, resident or not, in the order of [`KINDS`].
    pub counts: [Count; KINDS.len()],
    /// Live chunks by size class.
    pub classes: Classes,
    /// Resident bytes that a trim would return.
    #[serde(deserialize_with = "wire::figure")]
    pub trim_gain: usize,
    /// Its largest pins.
    pub pins: Pins,
    /// Its largest free stretch.
    pub hole: Hole,
    /// Its top chunk.
    pub top: Span,
    /// Its stretches of chunks.
    #[serde(deserialize_with = "wire::list")]
    pub heaps: Vec<HeapSummary>,
    /// Its bins, where wanted: unsorted, small, large.
    pub bins: Vec<Bin>,
    /// Its fastbins, chunk sizes from 32 in steps of 16.
    pub fast_bins: Vec<Count>,
    /// Its inbox (ours only).
    pub inbox: Count,
    /// Thread caches that hold chunks of it (ours only; glibc's mix arenas).
    pub caches: Vec<CacheSummary>,
    /// Inconsistencies met.
    #[serde(deserialize_with = "wire::figure")]
    pub flaws: usize,
}

impl ArenaSummary {
    /// Chunks of one kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> Count {
        self.counts[kind as usize]
    }

    /// Whether every stretch was walked to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.heaps.iter().all(|heap| heap.broken.is_none())
    }
}

/// What an allocator's heaps come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heaps {
    /// The arenas, main first.
    #[serde(deserialize_with = "wire::list")]
    pub arenas: Vec<ArenaSummary>,
    /// What is accounted for.
    pub claims: Vec<Claim>,
    /// Thread caches that are not an arena's (glibc's).
    #[serde(deserialize_with = "wire::list")]
    pub caches: Vec<CacheSummary>,
    /// Mapped chunks found.
    pub mapped: Count,
    /// Mapped chunks by the allocator's own counter, where it could be read.
    pub mapped_told: Option<Count>,
    /// There are heaps that could not be found.
    pub unseen: bool,
    /// Inconsistencies outside of arenas.
    #[serde(deserialize_with = "wire::figure")]
    pub flaws: usize,
}

/// Where a stretch stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its head, or what precedes the first chunk.
    pub base: usize,
    /// The first chunk.
    pub first: usize,
    /// Where it ends at most.
    pub end: usize,
}

/// Adds a stretch that was walked to its arena and to the claims.
pub fn finish(
    pages: &Pages,
    place: Place,
    walked: &Walked,
    arena: &mut ArenaSummary,
    claims: &mut Vec<Claim>,
) {
    let Walked { sums, reached, outcome } = walked;
    let broken = outcome.err();
    let counted_to = reached.saturating_add(8).min(place.end);
    let claimed_to = if broken.is_some() { place.end } else { counted_to };
    let head = pages.resident(Span::new(place.base, (place.first + 8).min(place.end)));
    let mut tally = sums.tally;
    tally[Row::AllocatorMetadata] += head;
    tally[Row::Unattributed] += pages.resident(Span::new(counted_to, claimed_to));
    let span = Span::new(place.base, claimed_to);

    arena.tally.add(&tally);
    for (own, more) in arena.counts.iter_mut().zip(sums.counts) {
        *own += more;
    }
    arena.classes.merge(&sums.classes);
    arena.trim_gain += sums.trim_gain;
    arena.pins.merge(&sums.pins);
    if sums.hole.resident >= arena.hole.resident {
        arena.hole = sums.hole;
    }
    if sums.top.bytes() > 0 {
        arena.top = sums.top;
    }
    let states = sums.painting.as_ref().map(|p| p.states(pages)).unwrap_or_default();
    arena.heaps.push(HeapSummary { span, tally, broken, states });
    claims.push(Claim { span, tally, what: What::Heap(arena.index) });
}
