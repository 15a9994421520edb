//! `heapwise.explain/1`: the account for programs. Bytes everywhere.

use heapwise_inspect::heap::classes::Class;
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::heap::summary::ArenaSummary;
use heapwise_inspect::heap::{KINDS, Kind};
use heapwise_inspect::holders::Holder;
use heapwise_inspect::origin::{PauseFor, Source};
use heapwise_inspect::runtimes::Runtime;
use heapwise_inspect::survey::Site;
use heapwise_inspect::verdict::Verdict;
use heapwise_inspect::{ROWS, Survey};
use serde_json::{Value, json};

use super::{Shown, advice, holders, words};
use crate::target::Look;

/// The object.
pub fn object(look: &Look, verdict: &Verdict, shown: Shown) -> Value {
    let survey = &look.seen;
    let rows: Vec<Value> = ROWS
        .iter()
        .map(|row| json!({ "name": row.name(), "bytes": survey.account.tally[*row] }))
        .collect();
    let mut object = json!({
        "schema": "heapwise.explain/1",
        "pid": survey.pid,
        "name": survey.figures.name,
        "allocator": words::allocator(survey),
        "depth": words::depth(survey.depth),
        "basis": basis(survey),
        "rss_bytes": survey.rss,
        "rows": rows,
        "trim_gain_bytes": survey.trim_gain(),
        "verdict": {
            "situation": verdict.main.name(),
            "text": words::sentence(&verdict.main, survey),
            "actions": advice::of(verdict, look),
            "also": verdict.also.iter().map(|also| json!({
                "situation": also.name(),
                "text": words::sentence(also, survey),
            })).collect::<Vec<_>>(),
        },
        "taken_unix_ms": survey.origin.taken_unix_ms,
        "took_ns": survey.origin.took_ns,
        "pause_ns": survey.origin.pause_ns,
        "pause_for": survey.origin.pause_for.as_ref().map(pause_for),
        "command": survey.origin.command,
        "host": survey.origin.host,
        "kernel": (survey.origin.source == Source::Process).then(|| json!({
            "smaps_rollup_rss_bytes": survey.figures.rss_rollup,
            "statm_rss_bytes": survey.figures.rss_statm,
            "page_table_bytes": survey.figures.page_tables,
            "swap_bytes": survey.figures.swap,
            "hugetlb_bytes": survey.figures.hugetlb,
            "anon_huge_bytes": survey.figures.anon_huge,
        })),
        "cgroup": survey.cgroup.as_ref().map(|group| json!({
            "name": group.name,
            "limit_bytes": group.limit,
            "usage_bytes": group.usage,
        })),
        "arenas": survey.heaps.arenas.iter().map(arena).collect::<Vec<_>>(),
        "mmapped": { "chunks": survey.heaps.mapped.chunks, "bytes": survey.heaps.mapped.bytes },
        "inconsistencies": survey.flaws(),
        "broken": words::broken(survey).into_iter().map(|(arena, why)| {
            json!({ "arena": arena, "text": why })
        }).collect::<Vec<_>>(),
        "notes": survey.notes,
    });
    if !survey.runtimes.is_empty() {
        object["runtimes"] = survey.runtimes.iter().map(runtime).collect();
    }
    if !survey.sites.is_empty() {
        object["sites"] = survey.sites.iter().map(site).collect();
    }
    if shown.holders {
        let told = holders::told(survey).iter();
        object["top_holders"] = told.map(|one| holder(one, shown.bytes)).collect();
    }
    if shown.classes {
        object["classes"] = classes(survey);
    }
    object
}

/// What `rss_bytes` is.
fn basis(survey: &Survey) -> &'static str {
    match survey.origin.source {
        Source::Process => "resident",
        Source::Core => "core",
    }
}

fn classes(survey: &Survey) -> Value {
    let all = survey.classes();
    let class = |(class, count): (Class, Count)| {
        json!({
            "first_chunk_bytes": class.first_bytes,
            "last_chunk_bytes": class.last_bytes,
            "chunks": count.chunks,
            "bytes": count.bytes,
        })
    };
    all.filled().map(class).collect()
}

fn arena(arena: &ArenaSummary) -> Value {
    let kind = |&kind: &Kind| {
        let count = arena.count(kind);
        (kind.name().to_owned(), json!({ "chunks": count.chunks, "bytes": count.bytes }))
    };
    let rows = ROWS.iter().filter(|row| arena.tally[**row] > 0);
    json!({
        "index": arena.index,
        "threads": arena.threads,
        "system_bytes": arena.system_bytes,
        "trim_gain_bytes": arena.trim_gain,
        "whole": arena.is_whole(),
        "rows": rows.map(|row| json!({ "name": row.name(), "bytes": arena.tally[*row] }))
            .collect::<Vec<_>>(),
        "chunks": KINDS.iter().map(kind).collect::<serde_json::Map<_, _>>(),
    })
}

fn runtime(runtime: &Runtime) -> Value {
    json!({
        "name": runtime.language.name(),
        "parts": runtime.parts.iter().map(|part| json!({
            "name": part.name,
            "resident_bytes": part.resident,
        })).collect::<Vec<_>>(),
        "pools": runtime.pools.map(|pools| json!({
            "arenas": pools.arenas,
            "pools": pools.pools,
            "objects": pools.objects,
            "used_bytes": pools.used,
            "free_bytes": pools.free,
            "empty_bytes": pools.empty,
        })),
    })
}

/// An allocation site.
pub fn site(site: &Site) -> Value {
    json!({ "name": site.name, "live_blocks": site.live.chunks, "live_bytes": site.live.bytes })
}

/// A chunk that holds up memory; what it begins with is data of the program.
pub fn holder(holder: &Holder, with_bytes: bool) -> Value {
    let pin = &holder.pin;
    json!({
        "arena": holder.arena,
        "address": format!("{:#x}", holder.pointer()),
        "chunk_bytes": pin.piece.bytes,
        "state": pin.piece.kind.name(),
        "held_bytes": pin.held_bytes,
        "below_top": pin.below_top,
        "first_bytes": (with_bytes && !holder.first.is_empty()).then(|| {
            holder.first.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }),
        "age_ms": holder.age_ms,
        "site": holder.site,
    })
}

fn pause_for(pause: &PauseFor) -> Value {
    match pause {
        PauseFor::Copy { made_ns, table_bytes, faults, is_removed } => json!({
            "what": "copy",
            "made_ns": made_ns,
            "page_table_bytes": table_bytes,
            "page_faults": faults,
            "removed": is_removed,
        }),
        PauseFor::Look { why } => json!({ "what": "look", "why": why }),
    }
}
