//! `heapwise.journey/1`: the steps and the states between them. Addresses are text.

use heapwise_sim::journey::{Class, Journey, State};
use serde_json::{Value, json};

/// The object.
pub fn document(script: &str, journey: &Journey) -> Value {
    let steps: Vec<Value> = journey
        .steps
        .iter()
        .map(|step| {
            json!({
                "layer": step.layer.name(),
                "title": step.title,
                "detail": step.detail,
                "cost_ns": step.cost_ns,
                "before": step.before,
                "after": step.after,
            })
        })
        .collect();
    let states: Vec<Value> = journey.states.iter().map(state).collect();
    json!({ "schema": "heapwise.journey/1", "script": script, "steps": steps, "states": states })
}

fn state(state: &State) -> Value {
    let (heap, machine) = (&state.heap, &state.machine);
    let pages: Vec<Value> = machine
        .pages
        .iter()
        .map(|page| {
            json!({
                "at": hex(page.at),
                "frame": page.frame,
                "writable": page.writable,
                "zero": page.zero,
            })
        })
        .collect();
    json!({
        "heap": {
            "thread_cache": classes(&heap.cache),
            "fastbins": classes(&heap.fast),
            "unsorted": classes(&heap.unsorted),
            "small": classes(&heap.small),
            "large": classes(&heap.large),
            "top": { "at": hex(heap.top as u64), "bytes": heap.top_bytes },
            "system_bytes": heap.system_bytes,
            "mapped_chunks": heap.mapped_chunks,
            "mapped_bytes": heap.mapped_bytes,
        },
        "machine": {
            "start_brk": hex(machine.start_brk),
            "brk": hex(machine.brk),
            "maps": machine.maps,
            "page_table": { "entries": machine.page_count, "first": pages, "tables": machine.tables },
            "rss_pages": machine.rss_pages,
            "buddy_blocks": machine.blocks,
            "frames_ready": machine.ready,
            "time_ns": machine.time_ns,
        },
    })
}

fn classes(classes: &[Class]) -> Vec<Value> {
    classes.iter().map(|class| json!({ "bytes": class.size, "chunks": class.chunks })).collect()
}

fn hex(address: u64) -> String {
    format!("{address:#x}")
}
