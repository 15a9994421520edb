//! The verdict in words: what it is.

use heapwise_inspect::heap::classes::Class;
use heapwise_inspect::origin::{Origin, PauseFor, Source};
use heapwise_inspect::runtimes::{Language, Part, Runtime};
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

/// How long the process stood still for the look, and for what; none if it did not.
pub fn pause(origin: &Origin) -> Option<String> {
    let stopped = format!("the process was stopped for {}", duration(origin.pause_ns?));
    Some(match &origin.pause_for {
        None => stopped,
        Some(PauseFor::Look { why }) => {
            format!("{stopped}, the whole look: no copy of it could be made ({why})")
        }
        Some(PauseFor::Copy { made_ns, table_bytes, faults, is_removed }) => {
            let stays = "; the copy stays as a zombie until the process ends or the next such look";
            format!(
                "{stopped}, of which a copy of it took {}, and the copy was looked at ({} of page \
                 tables, {} page faults of the process meanwhile){}",
                duration(*made_ns),
                bytes(*table_bytes as u64),
                count(*faults),
                if *is_removed { "" } else { stays },
            )
        }
    })
}

/// The same in few words.
pub fn allocator_briefly(survey: &Survey) -> String {
    const MOST: usize = 40;
    let name = allocator(survey);
    match crate::exit::collector(survey) {
        Some(whose) if is_read(survey) => format!("{name}, beside {whose}"),
        _ if name.chars().count() <= MOST => name,
        _ => "not read".into(),
    }
}

fn is_read(survey: &Survey) -> bool {
    matches!(survey.allocator, Allocator::Heapwise | Allocator::Glibc(_))
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
        Situation::RuntimeHeap { language, bytes: figure, pools } => match (language, pools) {
            (_, Some(pools)) => format!(
                "Python's own objects: {} ({} of the {whole}) in {} of pymalloc, past malloc; {} of \
                 it holds objects{}.",
                size(figure),
                share(figure),
                counted(pools.arenas, "arena"),
                crate::units::percent(pools.used as u64, figure as u64),
                // A pool goes back with its arena, and the arena when no object is left in it.
                if pools.used * 2 < figure { ", the rest is free but pinned by them" } else { "" }
            ),
            (language, None) => format!(
                "{}: {} ({} of the {whole}) in its own heap, past malloc; what of it is alive only its \
                 collector knows.",
                match language {
                    Language::Python => "Python's own objects",
                    Language::Java => "Java's objects",
                    Language::Go => "Go's objects",
                },
                size(figure),
                share(figure)
            ),
        },
        Situation::HeapUnread => heap_unread(survey),
    }
}

fn heap_unread(survey: &Survey) -> String {
    if survey.depth == Depth::Partial {
        return "Most of its heap was not reached: it changed under the walk, or is damaged."
            .into();
    }
    let source = if survey.depth == Depth::Counters { "kernel's counters" } else { "mappings" };
    let why = match &survey.allocator {
        Allocator::Other(name) => {
            format!("Its heap is not one that is read here ({name})")
        }
        Allocator::Hidden(_) => "Its memory may not be read".into(),
        Allocator::Heapwise | Allocator::Glibc(_) => "Its heap was not found".into(),
    };
    format!("{why}: this is what the {source} tell.")
}

/// "1 chunk", "12 345 chunks".
pub fn chunks(number: usize) -> String {
    counted(number, "chunk")
}

fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// What of the account is a runtime's, past malloc: `pymalloc arenas 15.0 MiB (15: …)`.
pub fn runtime(runtime: &Runtime) -> String {
    if runtime.parts.is_empty() {
        return match runtime.language {
            Language::Python => {
                "a CPython without pymalloc's arenas: its objects are on malloc's heap".into()
            }
            Language::Java => "a JVM, whose heap was not found among its mappings".into(),
            Language::Go => "Go, whose heap was not found among its mappings".into(),
        };
    }
    let size = |figure: usize| bytes(figure as u64);
    let part = |part: &Part| format!("{} {}", part.name, size(part.resident));
    let mut words = runtime.parts.iter().map(part).collect::<Vec<_>>().join(", ");
    if let Some(pools) = &runtime.pools {
        words.push_str(&format!(
            " ({}: {} in {}, {} free beside them, {} in pools without any)",
            counted(pools.arenas, "arena"),
            size(pools.used),
            counted(pools.objects, "object"),
            size(pools.free),
            size(pools.empty)
        ));
    }
    words
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
