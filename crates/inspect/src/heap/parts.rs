//! A long stretch walked in parts, by several threads at once.
//!
//! ```text
//! │ first ── walked ──► border │ ── walked ──► border │ ── walked ──► end │
//! ```
//! Where a chunk begins in the middle of a stretch nothing tells: a border is a guess, made where a long
//! chain of chunks leads on. The walk before it proves it by arriving there, just there and between two
//! live chunks; else the whole stretch is walked again by one thread.

use heapwise_layout::header::ALIGNMENT;
use heapwise_layout::walk::{Read, WalkError};

use super::scan::{Rules, Scan};
use super::summary::Place;
use super::sums::Sums;
use super::{Kind, Piece};
use crate::process::memory::{Image, Memory};
use crate::process::pages::Pages;
use crate::span::Span;

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the top.
    Top,
    /// Behind fenceposts that end here.
    Fence(usize),
    /// At the end of the stretch.
    End,
    /// Where the visitor wanted no more.
    Visitor,
}

/// A way to walk over a stretch of chunks.
pub trait Walker: Sync {
    /// Visits the chunks from `start` on, which is one, in address order, until `visit` returns
    /// false.
    ///
    /// # Errors
    /// The first chunk that cannot be one.
    fn walk(
        &self,
        memory: &impl Read,
        start: usize,
        visit: impl FnMut(Piece) -> bool,
    ) -> Result<Stop, WalkError>;
}

/// What is to be walked, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Where.
    pub place: Place,
    /// How the allocator trims.
    pub rules: Rules,
    /// Whether to paint a picture.
    pub paint: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Walked {
    /// The sums.
    pub sums: Sums,
    /// The end of the last chunk.
    pub reached: usize,
    /// How it ended.
    pub outcome: Result<Stop, WalkError>,
}

/// A part is not shorter: it would not be worth a thread.
const PART_BYTES: usize = 4 << 20;
const MOST_PARTS: usize = 8;
/// A guess is looked for so far.
const SEARCHED: usize = 256 << 10;
/// Chunks in a row that make a guess good enough to be tried.
const PROBE_HOPS: usize = 512;
/// Chunks tried for one guess.
const MOST_HOPS: usize = 1 << 15;

/// Walks a stretch.
pub fn survey<M: Image>(memory: &M, walker: &impl Walker, task: Task) -> Walked {
    let borders = borders(memory, walker, task.place);
    if let Some(walked) = in_parts(memory, walker, task, &borders) {
        return walked;
    }
    let part = walk_part(memory, memory.pages(), walker, task, (task.place.first, usize::MAX));
    Walked { sums: part.sums, reached: part.reached, outcome: part.outcome }
}

/// Chunks where parts begin, but the first.
fn borders<M: Image>(memory: &M, walker: &impl Walker, place: Place) -> Vec<usize> {
    let whole = Span::new(place.first, place.end);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_PARTS);
    let parts = threads.min(memory.pages().resident(whole) / PART_BYTES);
    if parts < 2 || memory.opened().is_none() {
        return Vec::new();
    }
    let mut borders: Vec<usize> = (1..parts)
        .filter_map(|part| border(memory, walker, place.first + whole.bytes() / parts * part))
        .collect();
    borders.dedup();
    borders
}

/// A live chunk behind a live one, at or above `near`: a guess. O(1): so many chunks are tried.
fn border(memory: &impl Read, walker: &impl Walker, near: usize) -> Option<usize> {
    let first = near.next_multiple_of(ALIGNMENT);
    let mut left = MOST_HOPS;
    for at in (first..first.saturating_add(SEARCHED)).step_by(ALIGNMENT) {
        if memory.word(at + 8).is_none_or(|header| header == 0) {
            continue;
        }
        let (mut hops, mut before, mut found) = (0, Kind::Free, None);
        let _ = walker.walk(memory, at, |piece| {
            hops += 1;
            if hops > PROBE_HOPS && before == Kind::Live && piece.kind == Kind::Live {
                found = Some(piece.address);
            }
            before = piece.kind;
            found.is_none() && hops < left
        });
        left = left.saturating_sub(hops);
        if found.is_some() || left == 0 {
            return found;
        }
    }
    None
}

/// All parts at once; none if a border was no border.
fn in_parts<M: Image>(
    memory: &M,
    walker: &impl Walker,
    task: Task,
    borders: &[usize],
) -> Option<Walked> {
    if borders.is_empty() {
        return None;
    }
    let opened = memory.opened()?;
    let starts = [task.place.first].into_iter().chain(borders.iter().copied());
    let ends = borders.iter().copied().chain([usize::MAX]);
    let parts: Vec<Part> = std::thread::scope(|scope| {
        let threads: Vec<_> = starts
            .zip(ends)
            .map(|bounds| {
                let (opened, pages) = (opened.clone(), memory.pages().clone());
                scope.spawn(move || {
                    let twin = Memory::twin(opened, &pages);
                    walk_part(&twin, &pages, walker, task, bounds)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut parts = parts.into_iter();
    let mut walked = parts.next()?;
    for (part, &border) in parts.zip(borders) {
        if walked.outcome != Ok(Stop::Visitor) {
            // It ended before: so would one walk.
            break;
        }
        if walked.reached != border || !walked.may_be_parted || !part.begins_live {
            return None;
        }
        walked.sums.append(&part.sums);
        walked = Part { sums: walked.sums, ..part };
    }
    Some(Walked { sums: walked.sums, reached: walked.reached, outcome: walked.outcome })
}

struct Part {
    sums: Sums,
    reached: usize,
    outcome: Result<Stop, WalkError>,
    begins_live: bool,
    may_be_parted: bool,
}

/// Walks from one chunk to another, which is not visited any more.
fn walk_part(
    memory: &impl Read,
    pages: &Pages,
    walker: &impl Walker,
    task: Task,
    (from, to): (usize, usize),
) -> Part {
    let Task { place, rules, paint } = task;
    let mut scan = Scan::new(memory, pages, rules);
    scan.begin_stretch(place.end);
    if paint {
        scan.paint(Span::new(place.base, place.end));
    }
    let mut reached = from;
    let mut first = None;
    let outcome = walker.walk(memory, from, |piece| {
        if piece.address >= to {
            return false;
        }
        first.get_or_insert(piece.kind);
        reached = piece.end();
        scan.push(piece);
        true
    });
    let may_be_parted = scan.may_be_parted();
    scan.end_stretch();
    let begins_live = first == Some(Kind::Live);
    Part { sums: scan.into_sums(), reached, outcome, begins_live, may_be_parted }
}
