//! The program's heap by the allocator's own books: caches, bins, top.

use heapwise_layout::bins::{BINS, FASTBINS, MIN_LARGE, UNSORTED};
use heapwise_layout::header::{MIN_CHUNK, SIZE_MASK, free};
use heapwise_layout::size::{CACHE_BINS, bin_size};
use heapwise_layout::state::ArenaState;
use heapwise_malloc::Allocator;
use heapwise_malloc::cache::{END_BIN, FIRST_BIN, count};
use heapwise_malloc::os::Os;
use std::sync::atomic::Ordering::Relaxed;

/// Free chunks of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Bytes of a chunk.
    pub size: usize,
    /// How many.
    pub chunks: usize,
}

/// The main arena.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeapState {
    /// The thread's cache.
    pub cache: Vec<Class>,
    /// Fastbins.
    pub fast: Vec<Class>,
    /// The unsorted bin.
    pub unsorted: Vec<Class>,
    /// Small bins.
    pub small: Vec<Class>,
    /// Large bins.
    pub large: Vec<Class>,
    /// Where the top begins; 0 without one.
    pub top: usize,
    /// Its bytes.
    pub top_bytes: usize,
    /// From here on the top was never touched.
    pub top_touched: usize,
    /// Bytes from the system in this arena.
    pub system_bytes: usize,
    /// Chunks with mappings of their own.
    pub mapped_chunks: usize,
    /// Bytes of these.
    pub mapped_bytes: usize,
}

/// No list is followed further.
const MOST_CHUNKS: usize = 100_000;

fn word(at: usize) -> usize {
    let place: *const usize = std::ptr::with_exposed_provenance(at);
    // SAFETY: a word of a free chunk in a list of the allocator's, on this thread, while
    // it is not in the middle of changing that list (between calls, or at a system call).
    unsafe { place.read_volatile() }
}

fn size_of_chunk(chunk: usize) -> usize {
    word(chunk + 8) & SIZE_MASK as usize
}

fn add(classes: &mut Vec<Class>, size: usize) {
    match classes.iter_mut().find(|class| class.size == size) {
        Some(class) => class.chunks += 1,
        None => classes.push(Class { size, chunks: 1 }),
    }
}

impl HeapState {
    /// Takes it down. O(free chunks).
    #[must_use]
    pub fn of<O: Os>(alloc: &Allocator<O>) -> Self {
        let Some(arena) = alloc.arenas().next() else { return Self::default() };
        let mapped = &alloc.state.mapped;
        let mut state = Self {
            cache: cached(arena),
            fast: fast(arena),
            top: arena.top.get(),
            top_touched: arena.top_touched.get(),
            system_bytes: arena.system_bytes.load(Relaxed),
            mapped_chunks: mapped.count.load(Relaxed),
            mapped_bytes: mapped.bytes.load(Relaxed),
            ..Self::default()
        };
        if state.top != 0 {
            state.top_bytes = size_of_chunk(state.top);
        }
        for bin in 1..BINS {
            let head = arena.bins[2 * bin].as_ptr().expose_provenance() - free::FD;
            let mut chunk = arena.bins[2 * bin].get();
            for _ in 0..MOST_CHUNKS {
                if chunk == head || chunk == 0 {
                    break;
                }
                let size = size_of_chunk(chunk);
                let classes = match bin {
                    UNSORTED => &mut state.unsorted,
                    _ if size < MIN_LARGE => &mut state.small,
                    _ => &mut state.large,
                };
                add(classes, size);
                chunk = word(chunk + free::FD);
            }
        }
        state
    }

    /// How many ready chunks the cache has for a chunk of this size.
    #[must_use]
    pub fn ready(&self, size: usize) -> usize {
        self.cache.iter().find(|class| class.size == size).map_or(0, |class| class.chunks)
    }

    /// Whether only the cache differs.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        let without = |state: &Self| Self { cache: Vec::new(), ..state.clone() };
        without(self) == without(other)
    }

    /// Bytes of some classes.
    #[must_use]
    pub fn bytes(classes: &[Class]) -> usize {
        classes.iter().map(|class| class.size * class.chunks).sum()
    }
}

fn cached(arena: &ArenaState) -> Vec<Class> {
    const _: () = assert!(END_BIN <= CACHE_BINS);
    (FIRST_BIN..END_BIN)
        .map(|index| Class {
            size: bin_size(index),
            chunks: count(&arena.cache.bins[index]) as usize,
        })
        .filter(|class| class.chunks > 0)
        .collect()
}

fn fast(arena: &ArenaState) -> Vec<Class> {
    let mut classes = Vec::new();
    for index in 0..FASTBINS {
        let mut chunk = arena.fast[index].get();
        for _ in 0..MOST_CHUNKS {
            if chunk == 0 {
                break;
            }
            add(&mut classes, index * 16 + MIN_CHUNK);
            chunk = word(chunk + free::FD);
        }
    }
    classes
}
