//! All of our heaps: arenas, caches, mapped chunks, tables.

use super::arena::{self, Arena, Chunks, Heap, class_bytes};
use super::mapped;
use super::root::Root;
use crate::heap::Kind;
use crate::heap::parts::{self, Task};
use crate::heap::rings::Rings;
use crate::heap::scan::{Count, Rules, TopRule};
use crate::heap::summary::{ArenaSummary, CacheSummary, Claim, Heaps, Place, What, finish};
use crate::process::memory::Image;
use crate::span::Span;
use crate::tally::{Row, Tally};
use heapwise_layout::header::{MIN_CHUNK, SIZE_MASK, free};
use heapwise_layout::state::{ArenaState, HEAP_RESERVE};
use std::mem::offset_of;

/// What is known before the walk.
pub struct Ground<'a, M: Image> {
    /// The target's memory.
    pub memory: &'a M,
    /// The root.
    pub root: &'a Root,
    /// Whether to paint the heaps.
    pub paint: bool,
    /// Whether to walk the bins.
    pub bins: bool,
}

/// Our trim empties the caches of sleeping threads, and purges every top.
const RULES: Rules =
    Rules { bookkeeping: free::PAGED_BYTES, flushes_caches: true, top: TopRule::Purged(MIN_CHUNK) };

impl<M: Image> Ground<'_, M> {
    /// Walks everything.
    #[must_use]
    pub fn survey(&self) -> Heaps {
        let mut heaps = Heaps::default();
        let max_chunks = self.memory.pages().total() / 32;
        for (index, &address) in self.root.arenas.iter().enumerate() {
            match arena::read(self.memory, address, max_chunks) {
                Some(arena) => {
                    let summary = self.survey_arena(index, &arena, &mut heaps.claims);
                    heaps.arenas.push(summary);
                }
                None => {
                    heaps.flaws += 1;
                    heaps.unseen = true;
                }
            }
        }
        self.claim_mapped(&mut heaps);
        heaps
    }

    fn survey_arena(&self, index: usize, arena: &Arena, claims: &mut Vec<Claim>) -> ArenaSummary {
        let threads = arena.caches.iter().map(|cache| cache.tid).filter(|&tid| tid != 0);
        let mut summary = ArenaSummary {
            index,
            address: arena.address,
            threads: threads.collect(),
            system_bytes: arena.system_bytes,
            fast_bins: arena.fast_bins.clone(),
            inbox: arena.inbox,
            caches: arena.caches.iter().map(summary_of).collect(),
            flaws: arena.flaws,
            ..ArenaSummary::default()
        };
        // A newest heap that a trim finds empty goes back whole, and the next one is the newest.
        let mut next_is_newest = false;
        for heap in &arena.heaps {
            next_is_newest = self.survey_heap(arena, heap, next_is_newest, &mut summary, claims);
        }
        if self.bins {
            let rings = Rings {
                first: arena.address + offset_of!(ArenaState, bins) + 16,
                size_mask: SIZE_MASK,
                heap_bytes: arena.system_bytes.min(self.memory.pages().total().saturating_mul(64)),
            };
            summary.bins = rings.walk(self.memory);
            summary.flaws += summary.bins.iter().map(|bin| bin.flaws).sum::<usize>();
        }
        summary
    }

    /// Walks a heap; true if a trim would give it back whole.
    fn survey_heap(
        &self,
        arena: &Arena,
        heap: &Heap,
        is_newest: bool,
        summary: &mut ArenaSummary,
        claims: &mut Vec<Claim>,
    ) -> bool {
        let pages = self.memory.pages();
        let place = Place { base: heap.head, first: heap.first, end: heap.end };
        let walker = Chunks::of(arena, heap, is_newest);
        let task = Task { place, rules: RULES, paint: self.paint };
        let walked = parts::survey(self.memory, &walker, task);
        let used = walked.sums.count(Kind::Live).chunks + walked.sums.count(Kind::Metadata).chunks;
        let is_whole = walked.outcome.is_ok();
        let has_top = heap.first <= arena.top && arena.top < heap.end || is_newest;
        let is_oldest = arena.heaps.last().is_some_and(|last| last.head == heap.head);
        let goes = used == 0 && has_top && !is_oldest && !heap.on_break && is_whole;
        let gain_before = summary.trim_gain;
        finish(pages, place, &walked, summary, claims);
        claims.extend(heap.parts_span(pages.page_bytes()).map(|span| {
            let tally = Tally::of(Row::AllocatorMetadata, pages.resident(span));
            Claim { span, tally, what: What::Tables }
        }));
        if goes {
            let whole = Span::new(heap.head, heap.head.saturating_add(HEAP_RESERVE));
            summary.trim_gain = gain_before + pages.resident(whole);
        }
        goes
    }

    fn claim_mapped(&self, heaps: &mut Heaps) {
        let pages = self.memory.pages();
        let mapped = mapped::read(self.memory, self.root, pages.page_bytes());
        for &span in &mapped.spans {
            heaps.mapped.chunks += 1;
            heaps.mapped.bytes += span.bytes();
            let tally = Tally::of(Row::MappedChunks, pages.resident(span));
            heaps.claims.push(Claim { span, tally, what: What::MappedChunk });
        }
        heaps.flaws += mapped.flaws;
        heaps.mapped_told =
            Some(Count { chunks: self.root.mapped_count, bytes: self.root.mapped_bytes });
        if heaps.mapped_told != Some(heaps.mapped) {
            heaps.flaws += 1;
        }
    }
}

fn summary_of(cache: &arena::ThreadCache) -> CacheSummary {
    let class = |(index, count): (usize, &Count)| {
        (count.chunks > 0).then_some((class_bytes(index), *count))
    };
    let mut classes: Vec<(usize, Count)> =
        cache.bins.iter().enumerate().filter_map(class).collect();
    if cache.foreign.chunks > 0 {
        classes.push((0, cache.foreign));
    }
    CacheSummary { tid: (cache.tid != 0).then_some(cache.tid), classes, held: cache.held() }
}
