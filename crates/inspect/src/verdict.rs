//! What it means: which situation this is, and the figures that show it.
//!
//! From one look nobody can say "leak": memory that the program holds may be
//! wanted. So the verdict on live memory is that it is live; whether it grows,
//! a second look tells.

use heapwise_layout::settings::Setting;

use crate::diff::{Diff, Trend, are_read};
use crate::heap::scan::Hole;
use crate::heap::summary::ArenaSummary;
use crate::runtimes::Language;
use crate::runtimes::pymalloc::Pools;
use crate::survey::{Allocator, Depth, Survey};
use crate::tally::{ROWS, Row, Tally};

/// A situation, with the figures that show it (bytes unless named otherwise).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Situation {
    /// Freed, but the allocator keeps it.
    FreedButKept {
        /// Resident and free.
        kept: usize,
    },
    /// A little that lives high up holds the break, with much free below it.
    PinnedBreak {
        /// The free stretch, and what lies above it.
        hole: Hole,
    },
    /// Arenas of threads each keep what their thread once needed.
    ArenaPerThread {
        /// How many secondary arenas.
        arenas: usize,
        /// Resident and free in them.
        kept: usize,
    },
    /// Large blocks have raised the mmap threshold: the like of them now come from the heap.
    ThresholdDrifted {
        /// Where it stands.
        threshold: usize,
        /// Resident and free in the main heap.
        kept: usize,
    },
    /// Free chunks share their pages with live ones.
    Fragmented {
        /// Free bytes on such pages.
        pinned: usize,
    },
    /// Thread caches hold much.
    CachesHold {
        /// Resident in caches.
        cached: usize,
    },
    /// The program holds it.
    Live {
        /// Resident in live chunks.
        live: usize,
    },
    /// The program holds it, and more from look to look.
    LiveGrowing {
        /// Resident in live chunks.
        live: usize,
        /// Bytes in live chunks more than in the look before.
        grown: usize,
        /// Time between the looks.
        elapsed_ms: u64,
    },
    /// Most of the RSS is not malloc's.
    NotHeap {
        /// The largest row of those.
        row: Row,
        /// Its bytes.
        bytes: usize,
    },
    /// Most of the RSS is the heap of a runtime past malloc.
    RuntimeHeap {
        /// Whose.
        language: Language,
        /// Its resident bytes.
        bytes: usize,
        /// How full it is, where that can be read.
        pools: Option<Pools>,
    },
    /// The heap could not be read.
    HeapUnread,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What explains most.
    pub main: Situation,
    /// What else is so.
    pub also: Vec<Situation>,
}

/// glibc's and our threshold before it moves.
const DEFAULT_MMAP_THRESHOLD: usize = 128 << 10;
/// Less than this is not worth a word.
const MIN_BYTES: usize = 256 << 10;
/// Nor is less than one part in so many of the RSS.
const MIN_PART: usize = 10;
/// From so many secondary arenas on they are the story.
const MANY_ARENAS: usize = 3;

impl Situation {
    /// The name that programs read.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FreedButKept { .. } => "freed_but_kept",
            Self::PinnedBreak { .. } => "pinned_break",
            Self::ArenaPerThread { .. } => "arena_per_thread",
            Self::ThresholdDrifted { .. } => "threshold_drifted",
            Self::Fragmented { .. } => "fragmented",
            Self::CachesHold { .. } => "caches_hold",
            Self::Live { .. } => "live",
            Self::LiveGrowing { .. } => "live_growing",
            Self::NotHeap { .. } => "not_heap",
            Self::RuntimeHeap { .. } => "runtime_heap",
            Self::HeapUnread => "heap_unread",
        }
    }
}

/// Judges a survey.
#[must_use]
pub fn judge(survey: &Survey) -> Verdict {
    let is_unseen = survey.heaps.unseen && survey.account.tally.heap() == 0;
    let runtime = runtime(survey);
    if is_unseen || matches!(survey.depth, Depth::Mappings | Depth::Counters) {
        return Verdict { main: Situation::HeapUnread, also: runtime.into_iter().collect() };
    }
    let threshold = match &survey.allocator {
        Allocator::Glibc(glibc) => glibc
            .parameters
            .filter(|parameters| !parameters.fixed)
            .map(|parameters| parameters.mmap_threshold),
        Allocator::Heapwise => survey
            .root
            .as_ref()
            .filter(|root| root.settings.is_dynamic)
            .and_then(|root| root.settings.get(Setting::MmapThreshold)),
        _ => None,
    };
    let mut verdict =
        judge_rows(&survey.account.tally, survey.rss, &survey.heaps.arenas, threshold);
    if let Some(runtime) = runtime {
        let is_same = |situation: &Situation| {
            use Row::{OtherAnonymous, SharedMemory};
            matches!(situation, Situation::NotHeap { row: OtherAnonymous | SharedMemory, .. })
        };
        if is_same(&verdict.main) {
            verdict.main = runtime;
        } else {
            verdict.also.retain(|situation| !is_same(situation));
            verdict.also.push(runtime);
        }
    }
    verdict
}

/// The largest heap of a runtime, if it matters.
fn runtime(survey: &Survey) -> Option<Situation> {
    let largest = survey.runtimes.iter().max_by_key(|runtime| runtime.heap())?;
    let bytes = largest.heap();
    let matters = bytes >= MIN_BYTES && bytes.saturating_mul(MIN_PART) >= survey.rss;
    matters.then_some(Situation::RuntimeHeap {
        language: largest.language,
        bytes,
        pools: largest.pools,
    })
}

/// Judges a survey that another one preceded.
#[must_use]
pub fn judge_after(before: &Survey, seen: &Survey) -> Verdict {
    let mut verdict = judge(seen);
    let diff = Diff::of(before, seen);
    let (Trend::LiveGrows { bytes: grown, .. }, Some(elapsed_ms)) =
        (diff.trend(), diff.elapsed_ms.filter(|_| are_read(before, seen)))
    else {
        return verdict;
    };
    let tally = &seen.account.tally;
    let growing = Situation::LiveGrowing { live: live(tally), grown, elapsed_ms };
    let is_live = |situation: &Situation| matches!(situation, Situation::Live { .. });
    if is_live(&verdict.main) {
        verdict.main = growing;
    } else {
        verdict.also.retain(|situation| !is_live(situation));
        verdict.also.insert(0, growing);
    }
    verdict
}

/// Held by the program.
fn live(tally: &Tally) -> usize {
    tally[Row::LiveUser] + tally[Row::Headers] + tally[Row::MappedChunks]
}

/// Free and resident in whole pages.
fn kept(tally: &Tally) -> usize {
    tally[Row::FreeWholePages] + tally[Row::Top] + tally[Row::HugeExcess]
}

fn judge_rows(
    tally: &Tally,
    rss: usize,
    arenas: &[ArenaSummary],
    threshold: Option<usize>,
) -> Verdict {
    let matters = |bytes: usize| bytes >= MIN_BYTES && bytes.saturating_mul(MIN_PART) >= rss;
    let mut all = Vec::new();
    let free = kept(tally);
    let main = arenas.first();
    let main_kept = main.map_or(0, |arena| kept(&arena.tally));
    if matters(free) {
        let secondary = arenas.get(1..).unwrap_or_default();
        let in_secondary: usize = secondary.iter().map(|arena| kept(&arena.tally)).sum();
        if secondary.len() >= MANY_ARENAS && in_secondary * 2 >= free {
            all.push(Situation::ArenaPerThread { arenas: secondary.len(), kept: in_secondary });
        }
        let drifted = threshold.filter(|&threshold| threshold >= 2 * DEFAULT_MMAP_THRESHOLD);
        if let Some(main) = main.filter(|_| matters(main_kept)) {
            if pins_break(&main.hole, main_kept) {
                all.push(Situation::PinnedBreak { hole: main.hole });
            }
            let is_large = main.hole.span.bytes() >= DEFAULT_MMAP_THRESHOLD;
            if let Some(threshold) = drifted.filter(|_| is_large) {
                all.push(Situation::ThresholdDrifted { threshold, kept: main_kept });
            }
        }
        if all.is_empty() {
            all.push(Situation::FreedButKept { kept: free });
        }
    }
    let cached = tally[Row::ThreadCaches] + tally[Row::Fastbins];
    if matters(cached) {
        all.push(Situation::CachesHold { cached });
    }
    if matters(tally[Row::FreePinned]) {
        all.push(Situation::Fragmented { pinned: tally[Row::FreePinned] });
    }
    let live = live(tally);
    let others = ROWS.into_iter().filter(|row| !row.of_heap());
    let (row, bytes) = others
        .map(|row| (row, tally[row]))
        .max_by_key(|&(_, bytes)| bytes)
        .unwrap_or((Row::Unattributed, 0));
    let ground = if live >= bytes && live > 0 {
        Situation::Live { live }
    } else if row == Row::Unattributed && bytes > 0 {
        // Most of it is what the walk did not reach: of that nothing is known.
        Situation::HeapUnread
    } else {
        Situation::NotHeap { row, bytes }
    };
    // What is kept explains most if it is more than what lives; else it is an aside.
    let largest = free.max(cached).max(tally[Row::FreePinned]);
    let ground_bytes = live.max(bytes);
    if all.is_empty() || largest.saturating_mul(2) < ground_bytes {
        all.insert(0, ground);
    } else if matters(ground_bytes) {
        all.push(ground);
    }
    let main = all.remove(0);
    Verdict { main, also: all }
}

/// Half of what is kept lies in one hole, with something, but little, above it.
fn pins_break(hole: &Hole, kept: usize) -> bool {
    hole.resident * 2 >= kept && hole.above.chunks > 0 && hole.above.bytes * 4 <= hole.span.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::scan::Count;
    use crate::span::Span;

    const MIB: usize = 1 << 20;

    fn tally(rows: &[(Row, usize)]) -> Tally {
        let mut tally = Tally::default();
        for &(row, mib) in rows {
            tally[row] = mib * MIB;
        }
        tally
    }

    fn arena(rows: &[(Row, usize)], hole_mib: usize, above: usize) -> ArenaSummary {
        let hole = Hole {
            span: Span::new(0, hole_mib * MIB),
            resident: hole_mib * MIB,
            above: Count { chunks: above.min(1), bytes: above },
        };
        ArenaSummary { tally: tally(rows), hole, ..ArenaSummary::default() }
    }

    fn name(rows: &[(Row, usize)], arenas: &[ArenaSummary], threshold: Option<usize>) -> String {
        let tally = tally(rows);
        let verdict = judge_rows(&tally, tally.sum(), arenas, threshold);
        verdict.main.name().to_owned()
    }

    #[test]
    fn each_situation_is_told_from_its_figures() {
        use Row::*;
        let freed = [(FreeWholePages, 100), (LiveUser, 10), (Files, 5)];
        assert_eq!(name(&freed, &[arena(&freed, 10, 100)], None), "freed_but_kept");
        assert_eq!(name(&freed, &[arena(&freed, 90, 100)], None), "pinned_break");
        assert_eq!(name(&freed, &[arena(&freed, 90, 0)], Some(32 * MIB)), "threshold_drifted");
        let small = arena(&[(Top, 20)], 0, 0);
        let arenas: Vec<_> = std::iter::repeat_n(small, 6).collect();
        assert_eq!(name(&freed, &arenas, None), "arena_per_thread");
        assert_eq!(name(&[(LiveUser, 100), (FreeWholePages, 1)], &[], None), "live");
        assert_eq!(name(&[(MappedChunks, 100), (Files, 5)], &[], None), "live");
        assert_eq!(name(&[(FreePinned, 100), (LiveUser, 90)], &[], None), "fragmented");
        assert_eq!(name(&[(ThreadCaches, 100), (LiveUser, 90)], &[], None), "caches_hold");
        assert_eq!(name(&[(OtherAnonymous, 100), (LiveUser, 9)], &[], None), "not_heap");
        assert_eq!(name(&[], &[], None), "not_heap");
        assert_eq!(name(&[(Unattributed, 100), (LiveUser, 9)], &[], None), "heap_unread");
    }
}
