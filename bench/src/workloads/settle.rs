//! What the idle workloads share: a burst of blocks, its survivors, the count
//! of pages they hold, and the wait.
//!
//! The list of blocks lies in a mapping of its own, touched before the first
//! look at the resident memory, so that only the allocator's memory counts.

use super::{Idle, Load};
use crate::heap::Block;
use crate::process::resident_bytes;
use std::time::Duration;

const PAGE_BYTES: usize = 4096;
const IDLE: Duration = Duration::from_secs(5);
const SHORT_IDLE: Duration = Duration::from_millis(200);

/// A block, its size, or an empty place.
pub type Place = Option<(Block, usize)>;

/// Places for values, outside the heap.
pub struct Slots<T: 'static>(&'static mut [Option<T>]);

impl<T: 'static> Slots<T> {
    /// `most` empty places.
    pub fn new(most: usize) -> Self {
        let bytes = (most * size_of::<Option<T>>()).max(1);
        // SAFETY: a fresh anonymous mapping, which is never unmapped.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        assert!(start != libc::MAP_FAILED, "no memory for the list");
        let first = start.cast::<Option<T>>();
        for index in 0..most {
            // SAFETY: inside the mapping, whose start is page-aligned.
            unsafe { first.add(index).write(None) };
        }
        // SAFETY: every place has been written, and the mapping is ours alone.
        Self(unsafe { std::slice::from_raw_parts_mut(first, most) })
    }

    /// All of them.
    #[inline]
    pub fn all(&mut self) -> &mut [Option<T>] {
        self.0
    }
}

/// Places for blocks, filled one by one.
pub struct Places {
    all: Slots<(Block, usize)>,
    filled: usize,
}

impl Places {
    /// Room for `most` blocks.
    pub fn new(most: usize) -> Self {
        Self { all: Slots::new(most), filled: 0 }
    }

    /// Keeps a block.
    pub fn push(&mut self, block: Block, bytes: usize) {
        self.all.0[self.filled] = Some((block, bytes));
        self.filled += 1;
    }

    /// The places filled so far.
    pub fn filled(&mut self) -> &mut [Place] {
        &mut self.all.0[..self.filled]
    }

    /// Bytes of the pages that hold a byte of a block.
    pub fn live_page_bytes(&self) -> u64 {
        let blocks = self.all.0[..self.filled].iter().flatten();
        let mut pages: Vec<usize> = blocks
            .flat_map(|(block, bytes)| {
                block.address() / PAGE_BYTES..=(block.address() + bytes - 1) / PAGE_BYTES
            })
            .collect();
        pages.sort_unstable();
        pages.dedup();
        (pages.len() * PAGE_BYTES) as u64
    }
}

/// Idles and looks before and after. Counting the live pages allocates, so it comes last.
pub fn settle(load: &Load, start_bytes: u64, live_bytes: impl FnOnce() -> u64) -> Idle {
    let burst_bytes = resident_bytes().saturating_sub(start_bytes);
    std::thread::sleep(if load.scale < 0.1 { SHORT_IDLE } else { IDLE });
    let idle_bytes = resident_bytes().saturating_sub(start_bytes);
    Idle { live_bytes: live_bytes(), burst_bytes, idle_bytes }
}
