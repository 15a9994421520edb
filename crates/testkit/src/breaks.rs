//! The program break: who moved it how far, and how far it can go.
//!
//! ```text
//! start ├ allocator's ┤ foreign ├ allocator's ┤ now … limit
//! ```
//! Invariant: the pieces are a stack; whoever lowers the break may only give
//! back what is his own.

use heapwise_malloc::os::Span;

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    foreign: bool,
}

/// The break.
#[derive(Debug)]
pub struct Break {
    start: usize,
    now: usize,
    limit: usize,
    end: usize,
    pieces: Vec<Piece>,
}

impl Break {
    /// A break at `start` that may grow up to `end`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, now: start, limit: end, end, pieces: Vec::new() }
    }

    /// Where it is.
    #[must_use]
    pub const fn now(&self) -> usize {
        self.now
    }

    /// Where it began.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Something stands `room` bytes above the break from now on, or nothing does.
    pub fn block(&mut self, room: Option<usize>) {
        self.limit = room.map_or(self.end, |room| (self.now + room).min(self.end));
    }

    /// Moves the break; the old one, or `None` if there is no room.
    ///
    /// # Panics
    /// If the allocator lowers it below what is somebody else's, or anybody below the start.
    pub fn shift(&mut self, delta: isize, foreign: bool) -> Option<usize> {
        let old = self.now;
        let new = old.checked_add_signed(delta)?;
        if delta > 0 {
            if new > self.limit {
                return None;
            }
            if self.pieces.last().is_none_or(|p| p.foreign != foreign) {
                self.pieces.push(Piece { start: old, foreign });
            }
        } else if delta < 0 {
            assert!(new >= self.start, "break lowered below its start");
            // The piece that `new` falls into stays, cut short; those above it go.
            let touched = self.pieces.partition_point(|p| p.start <= new).saturating_sub(1);
            let theirs = self.pieces[touched..].iter().any(|p| p.foreign != foreign);
            assert!(!theirs, "break lowered over what is somebody else's");
            self.pieces.retain(|p| p.start < new);
        }
        self.now = new;
        Some(old)
    }

    /// Lowers the break whoever owns what is there, as a broken program would.
    pub fn pull_down(&mut self, new: usize) {
        self.pieces.retain(|p| p.start < new);
        self.now = new;
    }

    /// Whether `span` lies in one piece of the allocator's.
    #[must_use]
    pub fn owns(&self, span: Span) -> bool {
        let index = self.pieces.partition_point(|p| p.start <= span.start);
        let Some(piece) = index.checked_sub(1).map(|i| self.pieces[i]) else { return false };
        let end = self.pieces.get(index).map_or(self.now, |p| p.start);
        !piece.foreign && span.end <= end
    }

    /// Size of the uppermost piece if it is foreign.
    #[must_use]
    pub fn foreign_top(&self) -> usize {
        self.pieces.last().filter(|p| p.foreign).map_or(0, |p| self.now - p.start)
    }

    /// Bytes that are the allocator's, and that are not.
    #[must_use]
    pub fn own_and_foreign_bytes(&self) -> (usize, usize) {
        let ends = self.pieces.iter().skip(1).map(|p| p.start).chain([self.now]);
        self.pieces.iter().zip(ends).fold((0, 0), |(own, foreign), (p, end)| {
            let bytes = end - p.start;
            if p.foreign { (own, foreign + bytes) } else { (own + bytes, foreign) }
        })
    }

    /// Number of foreign pieces.
    #[must_use]
    pub fn foreign_pieces(&self) -> usize {
        self.pieces.iter().filter(|p| p.foreign).count()
    }
}
