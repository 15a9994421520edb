//! How much of a large block the program ever touched, for a recording.
//!
//! A page that was never written is not in memory. So the kernel is asked, when a large block ends,
//! is made smaller, or its process ends, which of its pages are. It is an upper bound: memory that
//! had another block before it may have come with its pages. Of a block with a mapping of its own the
//! question costs little beside the end itself; of others it is asked as often as costs no more than
//! a small part of the time, and those not asked about count as touched whole.

use crate::check::{OwnMemory, stretch};
use crate::global::ALLOCATOR;
use crate::linux::machine::ticks_loosely;
use crate::linux::resident_bytes;
use crate::os::{Os, Span};
use crate::root::{Allocator, Place};
use crate::stream;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use heapwise_layout::header::{HEADER_BYTES, OVERHEAD_BYTES};
use heapwise_layout::record::Kind;
use heapwise_layout::walk::{ChunkState, walk};

/// Smaller blocks are not asked about.
static FROM: AtomicUsize = AtomicUsize::new(usize::MAX);

/// After a question about a block in a heap none is asked for so many times as long.
const PAUSE_TIMES: u64 = 16;
/// Until then, in the processor's counter.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// From so many bytes on blocks are asked about; 0 for none.
pub fn set_from(bytes: u64) {
    FROM.store(if bytes == 0 { usize::MAX } else { bytes as usize }, Relaxed);
}

/// A block is about to end, if `pointer` is one.
pub fn ends(pointer: usize) {
    shrinks(pointer, 0);
}

/// A block is about to get another size.
pub fn shrinks(pointer: usize, request: usize) {
    let from = FROM.load(Relaxed);
    if from == usize::MAX {
        return;
    }
    let bytes = ALLOCATOR.usable_size(pointer);
    if bytes < from || request >= bytes {
        return;
    }
    if matches!(ALLOCATOR.locate(pointer), Place::Mapped) {
        return note(pointer, bytes);
    }
    let begun = ticks_loosely();
    if begun >= NEXT.load(Relaxed) {
        note(pointer, bytes);
        let ended = ticks_loosely();
        NEXT.store(ended + PAUSE_TIMES * ended.saturating_sub(begun), Relaxed);
    }
}

/// The process is about to end, with all blocks that it has.
pub fn process_ends() {
    let from = FROM.load(Relaxed);
    if from != usize::MAX {
        ALLOCATOR.each_large(from, note);
    }
}

#[cold]
fn note(pointer: usize, bytes: usize) {
    let pages =
        Span::new(ALLOCATOR.page_down(pointer), ALLOCATOR.page_up(pointer.saturating_add(bytes)));
    if let Some(bytes) = resident_bytes(pages, ALLOCATOR.os.page_bytes()) {
        stream::write(Kind::Touched, bytes as u64, pointer as u64, 0);
    }
}

impl<O: Os> Allocator<O> {
    /// Pointer and usable bytes of all live blocks of at least `from` bytes, under the locks of
    /// where they are. O(chunks).
    pub(crate) fn each_large(&self, from: usize, mut visit: impl FnMut(usize, usize)) {
        self.each_mapped(|pointer, bytes| {
            if bytes >= from {
                visit(pointer, bytes);
            }
        });
        for arena in self.arenas() {
            let _held = self.hold(arena);
            for heap in self.heaps(arena) {
                // A flaw ends the walk early; the checker is there to name it.
                let _ = walk(&OwnMemory, stretch(arena, heap), |chunk| {
                    let bytes = chunk.header.size() - OVERHEAD_BYTES;
                    if chunk.state == ChunkState::Live && bytes >= from {
                        visit(chunk.chunk + HEADER_BYTES, bytes);
                    }
                    true
                });
            }
        }
    }
}
