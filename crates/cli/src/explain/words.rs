//! The verdict in words: what it is, and what to do next.

use heapwise_inspect::heap::classes::Class;
use heapwise_inspect::origin::Source;
use heapwise_inspect::verdict::Situation;
use heapwise_inspect::{Allocator, Depth, Survey};
use heapwise_layout::walk::WalkError;

use crate::target::{Kind, Look};
use crate::units::{bytes, count, duration, moment};

/// Name and version of the allocator.
pub fn allocator(survey: &Survey) -> String {
    match &survey.allocator {
        Allocator::Heapwise => "heapwise".into(),
        Allocator::Glibc(glibc) => format!("glibc 2.{}", glibc.table.minor),
        Allocator::Other(name) => name.clone(),
        Allocator::Hidden(_) => "unknown".into(),
    }
}

/// The same in few words.
pub fn allocator_briefly(survey: &Survey) -> String {
    const MOST: usize = 40;
    let name = allocator(survey);
    if name.chars().count() <= MOST { name } else { "not read".into() }
}

/// What the rows sum to.
pub fn whole(survey: &Survey) -> &'static str {
    match survey.origin.source {
        Source::Process => "RSS",
        Source::Core => "core",
    }
}

/// How far a look went, as programs read it.
pub const fn depth(depth: Depth) -> &'static str {
    match depth {
        Depth::Whole => "whole",
        Depth::Partial => "partial",
        Depth::Mappings => "mappings",
        Depth::Counters => "counters",
    }
}

/// One or two sentences.
pub fn sentence(situation: &Situation, survey: &Survey) -> String {
    let whole = whole(survey);
    let size = |figure: usize| bytes(figure as u64);
    let share = |figure: usize| crate::units::percent(figure as u64, survey.rss as u64);
    match *situation {
        Situation::FreedButKept { kept } => format!(
            "Freed but kept: {} ({} of the {whole}) is free memory that the allocator keeps for later.",
            size(kept),
            share(kept)
        ),
        Situation::PinnedBreak { hole } => format!(
            "A little high up pins the heap: {} lie free and resident in one piece, and {} in {} \
             above them {} the break from falling.",
            size(hole.resident),
            size(hole.above.bytes),
            chunks(hole.above.chunks),
            if hole.above.chunks == 1 { "keeps" } else { "keep" }
        ),
        Situation::ArenaPerThread { arenas, kept } => format!(
            "One arena per thread, each at its own peak: {arenas} arenas beside the main one keep \
             {} free ({} of the {whole}).",
            size(kept),
            share(kept)
        ),
        Situation::ThresholdDrifted { threshold, kept } => format!(
            "The mmap threshold has drifted up to {}: large blocks come from the heap now, which \
             keeps {} of them after they are freed.",
            size(threshold),
            size(kept)
        ),
        Situation::Fragmented { pinned } => format!(
            "Fragmented: {} ({} of the {whole}) is free, but on pages with something live.",
            size(pinned),
            share(pinned)
        ),
        Situation::CachesHold { cached } => format!(
            "Thread caches, fastbins and inboxes hold {} ({} of the {whole}) ready for the next \
             requests.",
            size(cached),
            share(cached)
        ),
        Situation::Live { live } => format!(
            "Really live: the program holds {} ({} of the {whole}). Whether it grows, a second look \
             tells; one look cannot say whether it is still wanted.",
            size(live),
            share(live)
        ),
        Situation::LiveGrowing { live, grown, elapsed_ms } => format!(
            "Really live, and growing: the program holds {} ({} of the {whole}), {} more than {} \
             before. Whether it still needs all of it, only the program knows.",
            size(live),
            share(live),
            size(grown),
            duration(elapsed_ms.saturating_mul(1_000_000))
        ),
        Situation::NotHeap { row, bytes: figure } => format!(
            "Not malloc's: {} ({} of the {whole}) in one row alone: {}.",
            size(figure),
            share(figure),
            row.title()
        ),
        Situation::HeapUnread => {
            "The heap could not be read: this is what the mappings tell.".into()
        }
    }
}

/// What to do, each a line.
pub fn actions(situation: &Situation, look: &Look) -> Vec<String> {
    let Look { seen: survey, typed, kind } = look;
    let gain = survey.trim_gain();
    let trim = format!("a trim would return {}: call malloc_trim(0)", bytes(gain as u64));
    let ours = matches!(survey.allocator, Allocator::Heapwise);
    let mut lines = Vec::new();
    match situation {
        Situation::FreedButKept { .. } => {
            lines.push(trim);
            if !ours {
                lines.push(
                    "or start it as `heapwise run -- …`, which gives whole free pages back by itself"
                        .into(),
                );
            }
        }
        Situation::PinnedBreak { .. } => {
            lines.push(trim);
            lines.push(format!("what pins it: heapwise explain --top-holder {typed}"));
        }
        Situation::ArenaPerThread { .. } => {
            lines.push("fewer arenas: start it with MALLOC_ARENA_MAX=2".into());
            lines.push(trim);
        }
        Situation::ThresholdDrifted { .. } => {
            lines.push(
                "hold the threshold: start it with MALLOC_MMAP_THRESHOLD_=131072 (large blocks \
                 then go back as they are freed, at the price of a system call each)"
                    .into(),
            );
            lines.push(trim);
        }
        Situation::Fragmented { .. } => {
            lines.push(format!(
                "no trim helps; which chunks hold pages: heapwise explain --top-holder {typed}"
            ));
            lines.push(format!("where they lie: heapwise maps {typed}"));
        }
        Situation::CachesHold { .. } => {
            lines.push(if ours {
                "they go back when their threads sleep, and at malloc_trim(0)".into()
            } else {
                "smaller caches: start it with GLIBC_TUNABLES=glibc.malloc.tcache_count=2".into()
            });
            lines.push(format!("what is in them: heapwise bins {typed}"));
        }
        Situation::Live { .. } => {
            lines.push(match kind {
                Kind::Process => {
                    format!("does it grow? two looks tell: heapwise explain --for 10s {typed}")
                }
                Kind::File => format!("does it grow? with a later look: heapwise diff {typed} PID"),
                Kind::Command => {
                    "does it grow? two looks while it runs: heapwise explain --for 10s PID".into()
                }
            });
        }
        Situation::LiveGrowing { .. } => {
            lines.push(format!("which sizes: heapwise explain --classes {typed}"));
            lines.push(format!(
                "over a longer time: heapwise snapshot {typed} -o before.hws, and later heapwise \
                 diff before.hws {typed}"
            ));
        }
        Situation::NotHeap { .. } | Situation::HeapUnread => {
            lines.push(format!("what each mapping is: heapwise maps {typed}"));
        }
    }
    lines
}

/// "1 chunk", "12 345 chunks".
pub fn chunks(number: usize) -> String {
    format!("{} chunk{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// The chunk sizes of a class: "48", "1088–1136", "from 524 288".
pub fn class(class: Class) -> String {
    let first = count(class.first_bytes as u64);
    match class.last_bytes {
        Some(last) if last == class.first_bytes => first,
        Some(last) => format!("{first}–{}", count(last as u64)),
        None => format!("from {first}"),
    }
}

/// When and where, for what is no live process.
pub fn circumstances(look: &Look) -> Option<String> {
    if look.kind != Kind::File {
        return None;
    }
    let origin = &look.seen.origin;
    let when = moment(origin.taken_unix_ms);
    Some(match origin.source {
        Source::Process if origin.host.name.is_empty() => format!("a snapshot of {when}"),
        Source::Process => format!("a snapshot of {when}, on {}", origin.host.name),
        Source::Core => format!("a core file of {when}"),
    })
}

/// The number of the arena and the reason of each walk that stopped short.
pub fn broken(survey: &Survey) -> Vec<(usize, String)> {
    let why = |why| match why {
        WalkError::Unreadable(chunk) => {
            format!("the walk stopped at {chunk:#x}, where nothing can be read")
        }
        WalkError::BadSize(chunk) => {
            format!("the walk stopped at {chunk:#x}, whose header cannot be a chunk's")
        }
    };
    let arenas = survey.heaps.arenas.iter();
    let heaps = arenas.flat_map(|arena| arena.heaps.iter().map(|heap| (arena.index, heap)));
    heaps.filter_map(|(index, heap)| Some((index, why(heap.broken?)))).collect()
}
