//! `heapwise.diff/1`: the changes for programs. Bytes everywhere.

use heapwise_inspect::diff::{ArenaChange, Change, Group};
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::{ROWS, Survey};
use serde_json::{Value, json};

use super::Pair;
use super::text::{actions, sentence};
use crate::explain::words;

/// The object.
pub fn object(pair: &Pair<'_>) -> Value {
    let diff = &pair.diff;
    let trend = diff.trend();
    let rows = ROWS.iter().map(|&row| named(row.name(), diff.row(row)));
    json!({
        "schema": "heapwise.diff/1",
        "before": side(pair.before),
        "after": side(pair.after),
        "elapsed_ms": diff.elapsed_ms,
        "same_process": diff.same_process,
        "rss_change_bytes": diff.rss.grown(),
        "rows": rows.collect::<Vec<_>>(),
        "trim_gain": bytes(diff.trim_gain),
        "live": counts(diff.live),
        "trend": {
            "situation": trend.name(),
            "text": sentence(pair),
            "actions": actions(pair),
        },
        "arenas": diff.arenas.iter().map(arena).collect::<Vec<_>>(),
        "classes": diff.classes.iter().map(|(group, change)| {
            let (first, last) = match group {
                Group::Class(class) => (Some(class.first_bytes), class.last_bytes),
                Group::Mapped => (None, None),
            };
            let mut object = counts(*change);
            object["mmapped"] = (*group == Group::Mapped).into();
            object["first_chunk_bytes"] = first.into();
            object["last_chunk_bytes"] = last.into();
            object
        }).collect::<Vec<_>>(),
        "sites": diff.sites.iter().map(|(name, change)| {
            let mut object = counts(*change);
            object["name"] = name.as_str().into();
            object
        }).collect::<Vec<_>>(),
    })
}

fn side(seen: &Survey) -> Value {
    json!({
        "pid": seen.pid,
        "name": seen.figures.name,
        "allocator": words::allocator(seen),
        "taken_unix_ms": seen.origin.taken_unix_ms,
        "rss_bytes": seen.rss,
    })
}

fn bytes(change: Change) -> Value {
    json!({
        "before_bytes": change.before,
        "after_bytes": change.after,
        "change_bytes": change.grown(),
    })
}

fn named(name: &str, change: Change) -> Value {
    let mut object = bytes(change);
    object["name"] = name.into();
    object
}

fn counts(change: Change<Count>) -> Value {
    let mut object = bytes(change.bytes());
    object["before_chunks"] = change.before.chunks.into();
    object["after_chunks"] = change.after.chunks.into();
    object["change_chunks"] = change.chunks().grown().into();
    object
}

fn arena(arena: &ArenaChange) -> Value {
    json!({
        "index": arena.index,
        "resident": bytes(arena.resident),
        "live": counts(arena.live),
        "trim_gain": bytes(arena.trim_gain),
    })
}
