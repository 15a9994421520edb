//! A long stretch walked in parts, by several threads at once.
//!
//! ```text
//! │ first ── walked ──► border │ ── walked ──► border │ ── walked ──► end │
//! ```
//! Where a chunk begins in the middle of a stretch nothing tells: a border is a guess, made where a long
//! chain of chunks leads on. The walk before it proves it by arriving there, just there and between two
//! live chunks; else that part is walked again, on to a later border. There are more parts than
//! threads, and whoever is done takes the next: parts cost what their chunks are, not what their bytes are.

use heapwise_layout::header::ALIGNMENT;
use heapwise_layout::walk::{Read, WalkError};

use super::scan::{Rules, Scan};
use super::summary::Place;
use super::sums::Sums;
use super::walker::{Form, Stop, Visitor, Walker};
use super::{Kind, Piece};
use crate::process::memory::{Image, Memory};
use crate::process::pages::Pages;
use crate::span::Span;
use crate::turns::{Turns, processors};

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
const PART_BYTES: usize = 8 << 20;
const PARTS_A_THREAD: usize = 16;
/// A guess is looked for so far.
const SEARCHED: usize = 256 << 10;
/// Chunks in a row that make a guess good enough to be tried.
const PROBE_HOPS: usize = 512;
/// Among so many behind them two live neighbours are looked for.
const SPARE_HOPS: usize = 256;
/// Chunks tried for one guess.
const MOST_HOPS: usize = 1 << 12;
/// Chains without live neighbours, after which no more borders are looked for: in such a heap live and
/// free chunks take turns.
const MOST_VAIN: usize = 2;

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
    let threads = processors();
    let parts = (threads * PARTS_A_THREAD).min(memory.pages().resident(whole) / PART_BYTES);
    if threads < 2 || parts < 2 || memory.opened().is_none() {
        return Vec::new();
    }
    let (mut borders, mut vain) = (Vec::new(), 0);
    for part in 1..parts {
        match guess(memory, walker, place.first + whole.bytes() / parts * part) {
            Guess::Border(border) => borders.push(border),
            Guess::NoChain => {}
            Guess::NoNeighbours => vain += 1,
        }
        if vain == MOST_VAIN {
            break;
        }
    }
    borders.dedup();
    borders
}

/// What a search for a border comes to.
enum Guess {
    /// This chunk, perhaps.
    Border(usize),
    /// Nothing there leads on.
    NoChain,
    /// A chain, but no two live chunks beside each other.
    NoNeighbours,
}

/// Looks for a live chunk behind a live one, at or above `near`. O(1): so many chunks are tried.
fn guess(memory: &impl Read, walker: &impl Walker, near: usize) -> Guess {
    let first = near.next_multiple_of(ALIGNMENT);
    let mut left = MOST_HOPS;
    for at in (first..first.saturating_add(SEARCHED)).step_by(ALIGNMENT) {
        if memory.word(at + 8).is_none_or(|header| header == 0) {
            continue;
        }
        let (mut hops, mut before, mut found) = (0, Kind::Free, None);
        let _ = walker.walk(memory, at, |piece: Piece| {
            hops += 1;
            if hops > PROBE_HOPS && before == Kind::Live && piece.kind == Kind::Live {
                found = Some(piece.address);
            }
            before = piece.kind;
            found.is_none() && hops < left.min(PROBE_HOPS + SPARE_HOPS)
        });
        left = left.saturating_sub(hops);
        match found {
            Some(border) => return Guess::Border(border),
            None if hops > PROBE_HOPS => return Guess::NoNeighbours,
            None if left == 0 => break,
            None => {}
        }
    }
    Guess::NoChain
}

/// All parts, as they come together; none where there is one part only.
fn in_parts<M: Image>(
    memory: &M,
    walker: &impl Walker,
    task: Task,
    borders: &[usize],
) -> Option<Walked> {
    if borders.is_empty() {
        return None;
    }
    let starts: Vec<usize> = [task.place.first].iter().chain(borders).copied().collect();
    let bounds = |part: usize| (starts[part], starts.get(part + 1).copied().unwrap_or(usize::MAX));
    let mut parts = walk_all(memory, walker, task, starts.len(), bounds)?;

    let mut joined: Option<Sums> = None;
    let mut from = task.place.first;
    let mut part = parts.first_mut()?.take()?;
    let (mut next, mut stride) = (1, 1);
    loop {
        // Where it has ended before its border, so would one walk.
        let is_last = next >= starts.len() || part.outcome != Ok(Stop::Visitor);
        if !is_last && !part.leads_to(starts[next], parts[next].as_ref()) {
            // The border was none. Each time twice as far: bounded, and all in the end.
            next = (next + stride).min(starts.len());
            stride *= 2;
            let to = starts.get(next).copied().unwrap_or(usize::MAX);
            part = walk_part(memory, memory.pages(), walker, task, (from, to));
            continue;
        }
        match &mut joined {
            Some(sums) => sums.append(&part.sums),
            None => joined = Some(part.sums),
        }
        if is_last {
            return Some(Walked { sums: joined?, reached: part.reached, outcome: part.outcome });
        }
        from = starts[next];
        part = parts[next].take()?;
        (next, stride) = (next + 1, 1);
    }
}

/// Every part by itself, as far as its own border.
fn walk_all<M: Image>(
    memory: &M,
    walker: &impl Walker,
    task: Task,
    count: usize,
    bounds: impl Fn(usize) -> (usize, usize) + Sync,
) -> Option<Vec<Option<Part>>> {
    let opened = memory.opened()?;
    let (turns, bounds) = (&Turns::new(count), &bounds);
    let mut parts: Vec<Option<Part>> = (0..count).map(|_| None).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors().min(count))
            .map(|_| {
                let (opened, pages) = (opened.clone(), memory.pages().clone());
                scope.spawn(move || {
                    let twin = Memory::twin(opened, &pages);
                    let walk = |part| walk_part(&twin, &pages, walker, task, bounds(part));
                    turns.map(|part| (part, walk(part))).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            for (part, walked) in thread.join().ok()? {
                parts[part] = Some(walked);
            }
        }
        Some(parts)
    })
}

struct Part {
    sums: Sums,
    reached: usize,
    outcome: Result<Stop, WalkError>,
    begins_live: bool,
    may_be_parted: bool,
}

impl Part {
    /// Whether `next`, walked from `border` on, goes on where this one has stopped.
    fn leads_to(&self, border: usize, next: Option<&Self>) -> bool {
        self.reached == border && self.may_be_parted && next.is_some_and(|next| next.begins_live)
    }
}

/// Walks from one chunk to another, which is not visited any more.
fn walk_part(
    memory: &impl Image,
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
    let mut counter = Counter { scan, to, reached: from, first: None };
    let outcome = walker.walk(memory, from, &mut counter);
    let Counter { mut scan, reached, first, .. } = counter;
    let may_be_parted = scan.may_be_parted();
    scan.end_stretch();
    let begins_live = first == Some(Kind::Live);
    Part { sums: scan.into_sums(), reached, outcome, begins_live, may_be_parted }
}

/// Counts the chunks below `to`.
struct Counter<'a, M: Image> {
    scan: Scan<'a, M>,
    to: usize,
    /// The end of the last one, and what the first one is.
    reached: usize,
    first: Option<Kind>,
}

impl<M: Image> Visitor for &mut Counter<'_, M> {
    #[inline]
    fn visit(&mut self, piece: Piece) -> bool {
        if piece.address >= self.to {
            return false;
        }
        self.first.get_or_insert(piece.kind);
        self.reached = piece.end();
        self.scan.push(piece);
        true
    }

    #[inline]
    fn pass<F: Form>(&mut self, chunk: usize, limit: usize) -> usize {
        let passed = self.scan.pass::<F>(chunk, limit.min(self.to));
        if passed > chunk {
            self.reached = passed;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use heapwise_layout::walk::Stretch;
    use heapwise_seed::Rng;

    use super::super::scan::TopRule;
    use super::*;
    use crate::glibc::heap::{Chunks, Lists};
    use crate::process::maps;
    use crate::tally::Row;

    const BYTES: usize = 40 << 20;
    const RULES: Rules =
        Rules { bookkeeping: 0x30, flushes_caches: false, top: TopRule::Lowered(33) };

    /// Writes a chain of small chunks over `words`, some of them free.
    fn chain(words: &mut [u64], random: &mut impl FnMut(u64) -> u64) {
        let (mut at, mut last_is_live) = (0, true);
        while at < words.len() {
            let bytes = (32 + 16 * random(6) as usize).min((words.len() - at) * 8);
            let left = (words.len() - at) * 8 - bytes;
            // No rest that is no chunk.
            let bytes = if left < 160 { bytes + left } else { bytes };
            words[at + 1] = bytes as u64 | u64::from(last_is_live);
            last_is_live = !last_is_live || left < 160 || random(4) > 0;
            at += bytes / 8;
        }
    }

    /// One large chunk holds what looks just like chunks, and some of its guesses are none.
    #[test]
    fn parts_pass_what_only_looks_like_chunks() {
        let mut rng = Rng::new(3);
        let mut random = |below: u64| rng.below(below);
        let mut heap = vec![0u64; BYTES / 8 + 2];
        let skipped = heap.as_ptr().addr() / 8 % 2;
        let heap = &mut heap[skipped..];
        let base = heap.as_ptr().addr();
        for (from, to) in [(9, 25), (2, 38), (0, 0)] {
            let (from, to) = (from << 20 >> 3, to << 20 >> 3);
            let end = BYTES / 8 - 512;
            chain(&mut heap[..from], &mut random);
            chain(&mut heap[to..end], &mut random);
            if from < to {
                chain(&mut heap[from + 4..to], &mut random);
                heap[from + 1] = ((to - from) as u64 * 8) | 1;
            }
            heap[end + 1] = (512 * 8) | 1;
            let pid = std::process::id();
            let pages = Pages::of(pid, &maps::of(pid).unwrap(), 4096).unwrap();
            let memory = Memory::open(pid, &pages).unwrap();
            let (end, top) = (base + BYTES, base + end * 8);
            let lists = Lists { cached: &[base + 32], ..Lists::default() };
            let walker = Chunks { stretch: Stretch { start: base, end, top }, lists };
            let task = Task { place: Place { base, first: base, end }, rules: RULES, paint: false };
            let mut scan = Scan::new(&memory, &pages, RULES);
            scan.begin_stretch(end);
            // Shown one by one, nothing is passed.
            let outcome = walker.walk(&memory, base, |piece: Piece| {
                scan.push(piece);
                true
            });
            scan.end_stretch();
            let alone = scan.into_sums();
            assert_eq!(outcome, Ok(Stop::Top));
            for _ in 0..2 {
                let walked = survey(&memory, &walker, task);
                assert_eq!((walked.outcome, walked.reached), (Ok(Stop::Top), end));
                let sums = walked.sums;
                assert_eq!(sums.tally, alone.tally);
                assert_eq!((sums.counts, sums.classes), (alone.counts, alone.classes.clone()));
                assert_eq!((sums.trim_gain, sums.hole), (alone.trim_gain, alone.hole));
                assert_eq!(sums.pins.largest(), alone.pins.largest());
            }
            assert!(alone.tally[Row::LiveUser] > BYTES / 2);
        }
    }
}
