//! `heapwise.sim/1`.

use std::io::Write;

use heapwise_sim::script::Line;
use serde_json::{Value, json};

use super::{Afterwards, SimArgs, Told};

/// Scripts and experiments.
pub fn runs(out: &mut impl Write, all: &[Told]) -> anyhow::Result<()> {
    let runs: Vec<Value> = all
        .iter()
        .map(|told| {
            json!({
                "name": told.name,
                "title": told.title,
                "expectations": told.run.checked(),
                "failed": told.run.failed(),
                "steps": told.run.steps,
                "time_ns": told.run.time_ns,
                "lines": told.run.lines.iter().map(line).collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &json!({ "schema": "heapwise.sim/1", "runs": runs }))?;
    Ok(writeln!(out)?)
}

fn line(line: &Line) -> Value {
    match line {
        Line::Said(words) => json!({ "said": words }),
        Line::Did { line, text, ended, events } => json!({
            "line": line,
            "statement": text,
            "ended": ended,
            "events": events.iter().map(event).collect::<Vec<_>>(),
        }),
        Line::Shown { title, text } => json!({ "shown": title, "text": text }),
        Line::Checked { line, text, found, holds } => json!({
            "line": line,
            "expectation": text,
            "found": found,
            "holds": holds,
        }),
    }
}

fn event(event: &heapwise_sim::Event) -> Value {
    json!({
        "at_ns": event.at_ns,
        "cost_ns": event.cost_ns,
        "cpu": event.cpu,
        "pid": event.pid,
        "what": event.what.to_string(),
    })
}

/// A workload.
pub fn workload(
    out: &mut impl Write,
    args: &SimArgs,
    kind: &str,
    after: &Afterwards,
) -> anyhow::Result<()> {
    let sections: serde_json::Map<String, Value> =
        after.sections.iter().map(|(title, text)| (title.clone(), json!(text))).collect();
    let object = json!({
        "schema": "heapwise.sim/1",
        "workload": kind,
        "seed": args.seed,
        "steps": after.steps,
        "time_ns": after.time_ns,
        "proc": sections,
        "events": after.events,
    });
    serde_json::to_writer_pretty(&mut *out, &object)?;
    Ok(writeln!(out)?)
}
