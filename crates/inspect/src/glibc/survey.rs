//! All of glibc's heaps: arenas, thread caches, mapped chunks.

use heapwise_layout::walk::Stretch;

use super::arena::{self, Arena, HEAP_BYTES};
use super::heap::{self, Chunks, Lists};
use super::locate::{self, Found, Parameters};
use super::mapped;
use super::tcache::{self, Cache};
use super::version::Table;
use crate::heap::parts::{self, Task};
use crate::heap::rings::Rings;
use crate::heap::scan::{Count, Rules, TopRule};
use crate::heap::summary::{ArenaSummary, CacheSummary, Claim, Heaps, Place, What, finish};
use crate::heap::walker::{Stop, Walker};
use crate::heap::{Kind, Piece};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Image;
use crate::process::threads::Thread;
use crate::span::{Span, page_up};
use crate::tally::{Row, Tally};

/// What is known before the walk.
pub struct Ground<'a, M: Image> {
    /// The target's memory.
    pub memory: &'a M,
    /// Its mappings.
    pub maps: &'a [Mapping],
    /// Its threads.
    pub threads: &'a [Thread],
    /// Stacks and what another allocator has claimed, in address order.
    pub taken: &'a [Span],
    /// The version's table.
    pub table: Table,
    /// Where things are.
    pub found: Found,
    /// What `mp_` says.
    pub parameters: Option<Parameters>,
    /// Offsets of glibc's thread-local variables from a thread pointer.
    pub tls_offsets: &'a [isize],
    /// Whether to paint the heaps.
    pub paint: bool,
    /// Whether to walk the bins.
    pub bins: bool,
}

/// A free chunk keeps its links and sizes: `sizeof(struct malloc_chunk)`.
const CHUNK_HEAD: usize = 0x30;
/// `systrim` leaves a smallest chunk and one byte.
const LEFT_OF_TOP: usize = 33;
const SIZE_MASK: u64 = !7;
const HEADER_FLAGS: u64 = 7;
const PREV_IN_USE: u64 = 1;

impl<M: Image> Ground<'_, M> {
    /// Walks everything; `None` if the ring of arenas does not close any more.
    #[must_use]
    pub fn survey(&self) -> Option<Heaps> {
        let addresses = locate::ring(self.memory, &self.table, self.found.main_arena)?;
        let mut heaps = Heaps::default();
        let mut arenas = Vec::new();
        for &address in &addresses {
            let is_main = address == self.found.main_arena;
            match arena::read(self.memory, &self.table, address, is_main, self.max_chunks()) {
                Some(arena) => arenas.push(arena),
                None => {
                    heaps.flaws += 1;
                    heaps.unseen = true;
                }
            }
        }
        let caches = self.caches(&arenas);
        let mut cached: Vec<usize> = caches.iter().flat_map(|cache| cache.chunks.clone()).collect();
        cached.sort_unstable();
        let mut metadata: Vec<usize> = caches.iter().map(Cache::chunk).collect();
        metadata.sort_unstable();

        for (index, arena) in arenas.iter().enumerate() {
            let mut summary = ArenaSummary {
                index,
                address: arena.address,
                threads: self.threads_of(arena.address, &addresses),
                system_bytes: arena.system_bytes,
                fast_bins: arena.fast_bins.clone(),
                flaws: arena.flaws,
                ..ArenaSummary::default()
            };
            let lists = Lists { fast: &arena.fast, cached: &cached, metadata: &metadata };
            self.walk_into(arena, &lists, &mut summary, &mut heaps.claims);
            self.claim_rests(&summary, arena.is_main, &mut heaps.claims);
            if self.bins {
                summary.bins = self.rings(arena).walk(self.memory);
                summary.flaws += summary.bins.iter().map(|bin| bin.flaws).sum::<usize>();
            }
            heaps.arenas.push(summary);
        }
        heaps.flaws += caches.iter().map(|cache| cache.flaws).sum::<usize>();
        heaps.caches = caches.iter().map(summary_of).collect();
        self.claim_mapped(&cached, &mut heaps);
        Some(heaps)
    }

    /// No list is longer: every chunk in one has its own resident bytes.
    fn max_chunks(&self) -> usize {
        self.memory.pages().total() / 32
    }

    fn rings(&self, arena: &Arena) -> Rings {
        Rings {
            first: arena.address + self.table.bins,
            size_mask: SIZE_MASK,
            heap_bytes: arena.system_bytes.min(self.memory.pages().total().saturating_mul(64)),
        }
    }

    /// The threads' caches, and those of threads whose local storage was not found.
    fn caches(&self, arenas: &[Arena]) -> Vec<Cache> {
        let mut caches: Vec<Cache> = Vec::new();
        for thread in self.threads {
            let Some(pointer) = thread.pointer else { continue };
            let cache = self
                .thread_locals(pointer)
                .find_map(|word| tcache::at(self.memory, &self.table, word, self.max_chunks()));
            if let Some(mut cache) = cache
                && !caches.iter().any(|other| other.address == cache.address)
            {
                cache.tid = Some(thread.tid);
                caches.push(cache);
            }
        }
        let attached: usize = arenas.iter().map(|arena| arena.attached).sum();
        if caches.len() < attached {
            self.search_caches(arenas, &mut caches);
        }
        caches
    }

    /// Looks at every chunk of the right size.
    fn search_caches(&self, arenas: &[Arena], caches: &mut Vec<Cache>) {
        let mut candidates = Vec::new();
        for arena in arenas {
            self.each_stretch(arena, &mut |place| {
                let walker = Self::walker(arena, place, &Lists::default());
                let stop = walker.walk(self.memory, place.first, |piece: Piece| {
                    if piece.kind == Kind::Live && piece.bytes == self.table.tcache.chunk_bytes {
                        candidates.push(piece.address + 16);
                    }
                    true
                });
                stop.ok()
            });
        }
        for pointer in candidates {
            let known = caches.iter().any(|cache| cache.address == pointer);
            let cache = tcache::read(self.memory, &self.table, pointer, self.max_chunks());
            // Here nothing but its own shape speaks for it: it must be whole and hold something.
            if let Some(cache) = cache
                && !known
                && cache.flaws == 0
                && cache.held().chunks > 0
            {
                caches.push(cache);
            }
        }
    }

    /// glibc's thread-local variables of a thread.
    fn thread_locals(&self, pointer: usize) -> impl Iterator<Item = usize> + '_ {
        let place = move |offset: &isize| pointer.checked_add_signed(*offset);
        self.tls_offsets
            .iter()
            .filter_map(place)
            .filter_map(|at| self.memory.word(at))
            .map(|word| word as usize)
    }

    /// Those whose `thread_arena`, one of their variables, is this one.
    fn threads_of(&self, arena: usize, arenas: &[usize]) -> Vec<u32> {
        let of_thread =
            |pointer: usize| self.thread_locals(pointer).find(|word| arenas.contains(word));
        self.threads
            .iter()
            .filter(|thread| thread.pointer.and_then(of_thread) == Some(arena))
            .map(|thread| thread.tid)
            .collect()
    }

    fn breaks(&self) -> Vec<Span> {
        breaks(self.maps)
    }

    fn rules(&self, arena: &Arena, end: usize) -> Rules {
        // The break is only lowered if it is still where the top ends.
        let break_end = self.breaks().last().map(|span| span.end);
        let top_end = self
            .memory
            .word(arena.top.wrapping_add(8))
            .map(|header| arena.top.saturating_add((header & SIZE_MASK) as usize));
        let is_lowered = arena.is_main && break_end == Some(end) && top_end == break_end;
        Rules {
            bookkeeping: CHUNK_HEAD,
            flushes_caches: false,
            top: if is_lowered { TopRule::Lowered(LEFT_OF_TOP) } else { TopRule::Kept },
        }
    }

    fn walk_into(
        &self,
        arena: &Arena,
        lists: &Lists<'_>,
        summary: &mut ArenaSummary,
        claims: &mut Vec<Claim>,
    ) {
        let pages = self.memory.pages();
        self.each_stretch(arena, &mut |place| {
            let walker = Self::walker(arena, place, lists);
            let task = Task { place, rules: self.rules(arena, place.end), paint: self.paint };
            let walked = parts::survey(self.memory, &walker, task);
            finish(pages, place, &walked, summary, claims);
            walked.outcome.ok()
        });
    }

    fn walker<'l>(arena: &Arena, place: Place, lists: &Lists<'l>) -> Chunks<'l> {
        let stretch = Stretch { start: place.first, end: place.end, top: arena.top };
        Chunks { stretch, lists: *lists }
    }

    /// What is resident behind the ends of a secondary arena's heaps: parts of huge pages, or what
    /// a heap that shrank after the page walk gave back.
    fn claim_rests(&self, arena: &ArenaSummary, is_main: bool, claims: &mut Vec<Claim>) {
        if is_main {
            return;
        }
        let pages = self.memory.pages();
        for heap in &arena.heaps {
            let end = page_up(heap.span.end, pages.page_bytes());
            let Some(mapping) = maps::find(self.maps, end).filter(|m| m.is_anonymous()) else {
                continue;
            };
            let limit = (heap.span.start | (HEAP_BYTES - 1)).saturating_add(1);
            let rest = Span::new(end, mapping.span.end.min(limit).max(end));
            let mut tally = Tally::default();
            for run in pages.runs_in(rest) {
                let is_huge = run.huge || !pages.zero_pages_told();
                let row = if is_huge { Row::HugeExcess } else { Row::Unattributed };
                tally[row] += run.span.bytes();
            }
            if tally.sum() > 0 {
                claims.push(Claim { span: rest, tally, what: What::Heap(arena.index) });
            }
        }
    }

    /// Calls `walk` with every stretch of an arena; it returns how the walk over it ended.
    fn each_stretch(&self, arena: &Arena, walk: &mut impl FnMut(Place) -> Option<Stop>) {
        if arena.top == (arena.address + self.table.bins).wrapping_sub(16) {
            // Nothing was ever cut from it.
        } else if arena.is_main {
            self.each_main_stretch(arena, walk);
        } else {
            let huge = self.parameters.map_or(0, |parameters| parameters.huge_page_bytes);
            let heaps = arena::heaps(self.memory, &self.table, arena, huge).unwrap_or_default();
            for heap in heaps {
                walk(Place { base: heap.span.start, first: heap.first, end: heap.span.end });
            }
        }
    }

    /// The break, stretch by stretch, then mappings that stand in for it.
    fn each_main_stretch(&self, arena: &Arena, walk: &mut impl FnMut(Place) -> Option<Stop>) {
        let breaks = self.breaks();
        for span in &breaks {
            let base = self.parameters.map(|parameters| parameters.sbrk_base);
            let first = match base.filter(|&base| span.contains(base)) {
                Some(base) => Some(base.next_multiple_of(16)),
                None => heap::find_stretch(self.memory, span.start, span.end, arena.top),
            };
            let mut next = first.map(|first| {
                (first, base.filter(|&base| base <= first && span.contains(base)).unwrap_or(first))
            });
            while let Some((first, base)) = next.take() {
                let place = Place { base, first, end: span.end };
                if let Some(Stop::Fence(end)) = walk(place) {
                    next = heap::find_stretch(self.memory, end, span.end, arena.top)
                        .map(|first| (first, first));
                }
            }
        }
        if arena.non_contiguous || !breaks.iter().any(|span| span.contains(arena.top)) {
            self.each_mapped_stretch(arena, walk);
        }
    }

    /// Where the break could not grow, glibc cuts mappings of 1 MiB and more into chunks.
    fn each_mapped_stretch(&self, arena: &Arena, walk: &mut impl FnMut(Place) -> Option<Stop>) {
        let accept = |at: usize, (before, header): (u64, u64), end: usize| {
            if before != 0 || header & HEADER_FLAGS != PREV_IN_USE {
                return None;
            }
            let stretch = Stretch { start: at, end, top: arena.top };
            let (mut reached, mut chunks) = (at, 0);
            let stop = heap::walk(self.memory, &Lists::default(), stretch, |piece: Piece| {
                reached = piece.end();
                chunks += 1;
                true
            });
            let whole = matches!(stop, Ok(Stop::Top | Stop::Fence(_))) && chunks > 1;
            whole.then(|| Span::new(at, reached))
        };
        for span in mapped::find_heads(self.memory, self.maps, self.taken, accept) {
            walk(Place { base: span.start, first: span.start, end: span.end });
        }
    }

    /// Mapped chunks; from 2.43 a thread cache may hold some.
    fn claim_mapped(&self, cached: &[usize], heaps: &mut Heaps) {
        let mut taken: Vec<Span> = heaps.claims.iter().map(|claim| claim.span).collect();
        taken.extend(self.taken);
        taken.sort_unstable();
        heaps.mapped_told =
            self.parameters.map(|told| Count { chunks: told.n_mmaps, bytes: told.mmapped_bytes });
        if heaps.mapped_told.is_some_and(|told| told.chunks == 0) {
            return;
        }
        let pages = self.memory.pages();
        let mut all = Count::default();
        for span in mapped::find(self.memory, &self.table, self.maps, &taken) {
            all.chunks += 1;
            all.bytes += span.bytes();
            let next = cached.partition_point(|&chunk| chunk < span.start);
            let row = if cached.get(next).is_some_and(|&chunk| span.contains(chunk)) {
                Row::ThreadCaches
            } else {
                heaps.mapped.chunks += 1;
                heaps.mapped.bytes += span.bytes();
                Row::MappedChunks
            };
            let tally = Tally::of(row, pages.resident(span));
            heaps.claims.push(Claim { span, tally, what: What::MappedChunk });
        }
        if heaps.mapped_told.is_some_and(|told| told != all) {
            heaps.flaws += 1;
        }
    }
}

/// The break's mappings, neighbours joined.
#[must_use]
pub fn breaks(maps: &[Mapping]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.is_break()) {
        match spans.last_mut() {
            Some(last) if last.end == mapping.span.start => last.end = mapping.span.end,
            _ => spans.push(mapping.span),
        }
    }
    spans
}

fn summary_of(cache: &Cache) -> CacheSummary {
    let class = |(index, count): (usize, &Count)| {
        let size = if index < 64 { 32 + index * 16 } else { 0 };
        (count.chunks > 0).then_some((size, *count))
    };
    CacheSummary {
        tid: cache.tid,
        classes: cache.lists.iter().enumerate().filter_map(class).collect(),
        held: cache.held(),
    }
}
