//! The audit: recounts the whole heap from outside the allocator.
//!
//! [`Allocator::check`] looks at what an arena says of itself. This looks for
//! what it forgets: a chunk on its way that no list holds, a live chunk that
//! nobody asked for, a page called clean that is not zero.

use crate::host::resident;
use crate::os::MemoryOs;
use crate::pattern::first_nonzero;
use heapwise_layout::bins::BINS;
use heapwise_layout::header::{HEADER_BYTES, HEADER_OFFSET, Header, SWEPT, free};
use heapwise_layout::size::bin_size;
use heapwise_layout::state::{ArenaState, Batch, Cache, Parcel};
use heapwise_layout::walk::{ChunkState, Read, Stretch, walk};
use heapwise_malloc::Allocator;
use heapwise_malloc::cache::{END_BIN, FIRST_BIN};
use heapwise_malloc::check::OwnMemory;
use heapwise_malloc::os::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

/// What the audit found where it should be.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Live chunks: user pointer, chunk size.
    pub live: BTreeMap<usize, usize>,
    /// Chunks that hold caches of shared arenas.
    pub cache_chunks: usize,
    /// Heaps of all arenas.
    pub heaps: usize,
    /// Arenas.
    pub arenas: usize,
    /// Chunks on their way: user pointer, chunk size and arena.
    in_transit: BTreeMap<usize, (usize, usize)>,
    caches: Vec<usize>,
    /// Addresses of the arenas, by index.
    owners: Vec<usize>,
}

fn word(address: usize) -> usize {
    OwnMemory.word(address).map_or(0, |w| w as usize)
}

/// Recounts everything; no thread may be inside the allocator.
///
/// # Errors
/// What does not add up.
pub fn audit(alloc: &Allocator<MemoryOs>) -> Result<Ledger, String> {
    let mut ledger = Ledger::default();
    for arena in alloc.arenas() {
        if arena.lock.load(Relaxed) != 0 {
            return Err(format!("arena {} is still locked", arena.index.get()));
        }
        ledger.arenas += 1;
        ledger.owners.push(std::ptr::from_ref(arena).addr());
        ledger.walk_heaps(alloc, arena)?;
    }
    for arena in alloc.arenas() {
        ledger.take_lists(arena)?;
    }
    if let Some((pointer, (size, _))) = ledger.in_transit.first_key_value() {
        let lost = ledger.in_transit.len();
        return Err(format!("{lost} chunks on their way are in no list, as {pointer:x} of {size}"));
    }
    ledger.set_caches_apart()?;
    Ok(ledger)
}

impl Ledger {
    fn walk_heaps(
        &mut self,
        alloc: &Allocator<MemoryOs>,
        arena: &ArenaState,
    ) -> Result<(), String> {
        let top = arena.top.get();
        for heap in alloc.heaps(arena) {
            self.heaps += 1;
            let stretch = Stretch { start: heap.start.get(), end: heap.end.load(Relaxed), top };
            let mut flaw = None;
            let walked = walk(&OwnMemory, stretch, |v| {
                let (pointer, size) = (v.chunk + HEADER_BYTES, v.header.size());
                match v.state {
                    ChunkState::Live => _ = self.live.insert(pointer, size),
                    ChunkState::InTransit => {
                        let owner = std::ptr::from_ref(arena).addr();
                        self.in_transit.insert(pointer, (size, owner));
                    }
                    ChunkState::Free => flaw = dirt_in_clean(alloc, v.chunk, size),
                    ChunkState::Top => {
                        let untouched = Span::new(arena.top_touched.get(), v.chunk + size);
                        flaw =
                            dirt(untouched).map(|at| format!("untouched top holds data at {at:x}"));
                    }
                    ChunkState::Fencepost => {}
                }
                flaw.is_none()
            });
            if let Some(flaw) = flaw {
                return Err(flaw);
            }
            walked.map_err(|e| format!("{e:?}"))?;
        }
        Ok(())
    }

    fn take_lists(&mut self, arena: &ArenaState) -> Result<(), String> {
        let own = std::ptr::from_ref(arena).addr();
        let mut next = arena.caches.get();
        while next != 0 {
            self.caches.push(next);
            // SAFETY: caches live as long as their arena.
            let cache = unsafe { &*crate::host::address::<Cache>(next) };
            self.take_cache(cache, own)?;
            next = cache.next.get();
        }
        for (index, head) in arena.fast.iter().enumerate() {
            let mut chunk = head.get();
            while chunk != 0 {
                let size = self.take(chunk + HEADER_BYTES, own, "a fastbin")?;
                if size != 32 + 16 * index {
                    return Err(format!("fastbin {index} holds a chunk of {size}"));
                }
                chunk = word(chunk + free::FD);
            }
        }
        let mut bytes = 0;
        for (index, head) in arena.depot.iter().enumerate() {
            let mut first = head.get();
            while first != 0 {
                // SAFETY: a chunk in transit, which holds the head of a batch.
                let batch = unsafe { &*crate::host::address::<Batch>(first) };
                let (below, count) = (batch.below.get(), batch.count.get());
                let sizes = self.take_list(first, own, "the depot")?;
                if sizes.len() != count || sizes.iter().any(|&size| size != bin_size(index)) {
                    return Err(format!("a batch of class {index} counts {count}: {sizes:?}"));
                }
                bytes += sizes.iter().sum::<usize>();
                first = below;
            }
        }
        bytes += self.take_marked(own, arena)?;
        if bytes != arena.depot_bytes.load(Relaxed) {
            return Err(format!("the depot holds {bytes} bytes and counts otherwise"));
        }
        let mut first = arena.inbox.head.load(Relaxed);
        while first != 0 {
            // SAFETY: a chunk in transit, which holds the head of a parcel.
            let parcel = unsafe { &*crate::host::address::<Parcel>(first) };
            let (below, end) = (parcel.below.get(), parcel.end.get());
            let sizes = self.take_list(first, own, "an inbox")?;
            let (last, count) = Parcel::last_and_count(end);
            let alike = sizes.iter().all(|&size| size == sizes[0]);
            if sizes.len() != count || !alike || word(last) != 0 {
                return Err(format!("a parcel of {count} up to {last:x} holds {sizes:?}"));
            }
            first = below;
        }
        Ok(())
    }

    fn take_cache(&mut self, cache: &Cache, own: usize) -> Result<(), String> {
        for pointer in cache.waiting_pointers() {
            if self.live.remove(&pointer).is_none() {
                return Err(format!("a free waits for {pointer:x}, which is not live"));
            }
        }
        for (index, bin) in cache.bins.iter().enumerate() {
            if !(FIRST_BIN..END_BIN).contains(&index) {
                if bin.head.get() != 0 {
                    return Err(format!("cache bin {index} has no class and holds something"));
                }
                continue;
            }
            let sizes = self.take_list(bin.head.get(), own, "a cache bin")?;
            if let Some(size) = sizes.iter().find(|&&s| s != bin_size(index)) {
                return Err(format!("cache bin {index} holds a chunk of {size}"));
            }
            let counted = i64::from(bin.bound.get()) - i64::from(bin.room.get());
            if counted != sizes.len() as i64 {
                return Err(format!(
                    "cache bin {index} holds {} and counts {counted}",
                    sizes.len()
                ));
            }
        }
        for (index, bin) in cache.foreign.iter().enumerate() {
            let (head, owner) = (bin.head.get(), bin.owner.get() as usize);
            let size = Header(bin.live_header.get()).size();
            let arena = if owner == 0 { 0 } else { self.owners[owner - 1] };
            let sizes = self.take_list(head, arena, "a foreign bin")?;
            if sizes.len() != usize::from(bin.count.get()) || sizes.iter().any(|&s| s != size) {
                return Err(format!(
                    "foreign bin {index} of chunks of {size} counts {} and holds {sizes:?}",
                    bin.count.get()
                ));
            }
            if head != 0 && word(bin.tail.get()) != 0 {
                return Err(format!("foreign bin {index} does not end at its tail"));
            }
            if head != 0 && cache.foreign_map[index / 64].get() >> (index % 64) & 1 == 0 {
                return Err(format!("foreign bin {index} holds something unmarked"));
            }
        }
        Ok(())
    }

    /// Takes a list of user pointers; the chunk sizes in it.
    /// The chunks of an arena that are marked to be merged; the sum of their sizes.
    fn take_marked(&mut self, own: usize, arena: &ArenaState) -> Result<usize, String> {
        let mut sizes = Vec::new();
        self.in_transit.retain(|&pointer, &mut (size, owner)| {
            let header = word(pointer - HEADER_BYTES + HEADER_OFFSET) as u64;
            let marked = owner == own && header & SWEPT != 0;
            if marked {
                sizes.push(size);
            }
            !marked
        });
        let bytes: usize = sizes.iter().sum();
        if sizes.len() != arena.marked_count.get() || bytes != arena.marked_bytes.get() {
            return Err(format!("{bytes} bytes are marked and counted otherwise: {sizes:?}"));
        }
        Ok(bytes)
    }

    fn take_list(&mut self, head: usize, arena: usize, what: &str) -> Result<Vec<usize>, String> {
        let mut sizes = Vec::new();
        let mut pointer = head;
        while pointer != 0 {
            sizes.push(self.take(pointer, arena, what)?);
            pointer = word(pointer);
        }
        Ok(sizes)
    }

    fn take(&mut self, pointer: usize, arena: usize, what: &str) -> Result<usize, String> {
        match self.in_transit.remove(&pointer) {
            Some((size, owner)) if owner == arena => Ok(size),
            Some(_) => Err(format!("{what} holds {pointer:x} of another arena")),
            None => Err(format!(
                "{what} holds {pointer:x}, which is not on its way or in a list already"
            )),
        }
    }

    /// Caches of shared arenas live in chunks of their own.
    fn set_caches_apart(&mut self) -> Result<(), String> {
        let mut holders = BTreeSet::new();
        for &cache in &self.caches {
            if let Some((&pointer, &size)) = self.live.range(..=cache).next_back()
                && cache + size_of::<Cache>() <= pointer + size - 8
            {
                holders.insert(pointer);
            }
        }
        for holder in &holders {
            self.live.remove(holder);
        }
        self.cache_chunks = holders.len();
        Ok(())
    }
}

/// The first byte of `span` that is not zero, among its pages that exist.
pub(crate) fn dirt(span: Span) -> Option<usize> {
    if span.bytes() == 0 {
        return None;
    }
    let dirty = |s: &Span| first_nonzero(s.start, s.bytes()).map(|offset| s.start + offset);
    resident(span).iter().find_map(dirty)
}

fn dirt_in_clean(alloc: &Allocator<MemoryOs>, chunk: usize, size: usize) -> Option<String> {
    let page = alloc.state.page_bytes.load(Relaxed) as usize;
    let first = (chunk + free::PAGED_BYTES).next_multiple_of(page);
    let end = (chunk + size) & !(page - 1);
    if first >= end {
        return None;
    }
    let clean = Span::new(word(chunk + free::CLEAN_LO), word(chunk + free::CLEAN_HI));
    if clean.start < first || clean.end > end {
        return Some(format!("chunk {chunk:x} of {size} calls {clean:x?} clean"));
    }
    dirt(clean).map(|at| {
        format!("chunk {chunk:x} of {size} calls {clean:x?} clean, but at {at:x} it is not")
    })
}

/// Prints every bin and every chunk, for a look at a failure.
pub fn dump(alloc: &Allocator<MemoryOs>) {
    for arena in alloc.arenas() {
        let (top, touched) = (arena.top.get(), arena.top_touched.get());
        eprintln!(
            "arena {} flags {} top {top:x} touched {touched:x}",
            arena.index.get(),
            arena.flags.get()
        );
        for index in 1..BINS {
            let ring = std::ptr::from_ref(&arena.bins[2 * index]).addr() - free::FD;
            let mut chunk = word(ring + free::FD);
            while chunk != ring {
                eprintln!("  bin {index} holds {chunk:x}");
                chunk = word(chunk + free::FD);
            }
        }
        for heap in alloc.heaps(arena) {
            let (start, end) = (heap.start.get(), heap.end.load(Relaxed));
            eprintln!("  heap {start:x}..{end:x} on break {}", heap.on_break.get());
            let _ = walk(&OwnMemory, Stretch { start, end, top }, |v| {
                eprintln!("    {:x} {:?} {:?}", v.chunk, v.header, v.state);
                true
            });
        }
    }
}
