//! `heapwise.explain/1`: the account for programs. Bytes everywhere.

use heapwise_inspect::heap::summary::ArenaSummary;
use heapwise_inspect::heap::{KINDS, Kind};
use heapwise_inspect::verdict::Verdict;
use heapwise_inspect::{Depth, ROWS, Survey};
use serde_json::{Value, json};

use super::holders::Holder;
use super::words;

/// The object.
pub fn object(survey: &Survey, verdict: &Verdict, holders: Option<&[Holder]>) -> Value {
    let rows: Vec<Value> = ROWS
        .iter()
        .map(|row| json!({ "name": row.name(), "bytes": survey.account.tally[*row] }))
        .collect();
    let mut object = json!({
        "schema": "heapwise.explain/1",
        "pid": survey.pid,
        "name": survey.figures.name,
        "allocator": words::allocator(survey),
        "depth": depth(survey.depth),
        "rss_bytes": survey.rss,
        "rows": rows,
        "trim_gain_bytes": survey.trim_gain(),
        "verdict": {
            "situation": verdict.main.name(),
            "text": words::sentence(&verdict.main, survey.rss),
            "actions": words::actions(&verdict.main, survey),
            "also": verdict.also.iter().map(|also| json!({
                "situation": also.name(),
                "text": words::sentence(also, survey.rss),
            })).collect::<Vec<_>>(),
        },
        "kernel": {
            "smaps_rollup_rss_bytes": survey.figures.rss_rollup,
            "statm_rss_bytes": survey.figures.rss_statm,
            "page_table_bytes": survey.figures.page_tables,
            "swap_bytes": survey.figures.swap,
            "hugetlb_bytes": survey.figures.hugetlb,
            "anon_huge_bytes": survey.figures.anon_huge,
        },
        "cgroup": survey.cgroup.as_ref().map(|group| json!({
            "name": group.name,
            "limit_bytes": group.limit,
            "usage_bytes": group.usage,
        })),
        "arenas": survey.heaps.arenas.iter().map(arena).collect::<Vec<_>>(),
        "mmapped": { "chunks": survey.heaps.mapped.chunks, "bytes": survey.heaps.mapped.bytes },
        "inconsistencies": survey.flaws(),
        "notes": survey.notes,
    });
    if let Some(holders) = holders {
        object["top_holders"] = holders.iter().map(holder).collect();
    }
    object
}

fn depth(depth: Depth) -> &'static str {
    match depth {
        Depth::Whole => "whole",
        Depth::Partial => "partial",
        Depth::Mappings => "mappings",
        Depth::Counters => "counters",
    }
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

fn holder(holder: &Holder) -> Value {
    let pin = &holder.pin;
    json!({
        "arena": holder.arena,
        "address": format!("{:#x}", pin.piece.address + 16),
        "chunk_bytes": pin.piece.bytes,
        "state": pin.piece.kind.name(),
        "held_bytes": pin.held_bytes,
        "below_top": pin.below_top,
        "first_bytes": holder.first.as_deref().map(|bytes| {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }),
    })
}
