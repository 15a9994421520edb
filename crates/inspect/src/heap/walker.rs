//! What a walk over the chunks of a stretch is, and to whom it shows them.

use heapwise_layout::walk::{Read, WalkError};

use super::Piece;

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
    /// Shows the visitor the chunks from `start` on, which is one, in address order, until it wants
    /// no more.
    ///
    /// # Errors
    /// The first chunk that cannot be one.
    fn walk(
        &self,
        memory: &impl Read,
        start: usize,
        visitor: impl Visitor,
    ) -> Result<Stop, WalkError>;
}

/// To whom chunks are shown.
pub trait Visitor {
    /// The next chunk; false ends the walk.
    fn visit(&mut self, piece: Piece) -> bool;

    /// The walk is at `chunk`: as many chunks from there on as the visitor can take without being
    /// shown them, all of which end at `limit` or below. The first one that is left to the walk.
    #[inline]
    fn pass<F: Form>(&mut self, chunk: usize, limit: usize) -> usize {
        let _ = limit;
        chunk
    }
}

impl<V: FnMut(Piece) -> bool> Visitor for V {
    #[inline]
    fn visit(&mut self, piece: Piece) -> bool {
        self(piece)
    }
}

/// How an allocator writes down the plainest of its chunks: small, live or free.
pub trait Form {
    /// The size in a header; of one that is no plain chunk's, anything that is no small multiple of 16.
    fn bytes(header: u64) -> usize;

    /// Whether it is free, told by its own header and the next chunk's; none if it is neither live
    /// nor free.
    fn is_free(header: u64, next: u64) -> Option<bool>;
}
