//! The figures of a replay, as a table and as `heapwise.replay/1`.

use std::io::{self, Write};
use std::path::Path;

use heapwise_replay::sim::{Machine, Peak};
use heapwise_replay::{Calls, Figures, Script};
use serde_json::{Value, json};

use super::session::{Outcome, Spread};
use super::subject::Ground;
use crate::table::{self, Column};
use crate::units::{bytes, count, duration};

/// The table.
pub fn write(
    file: &Path,
    script: &Script,
    outcomes: &[Outcome],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "heapwise replay: {}", file.display())?;
    writeln!(out, "  recorded     {}", script.original.command.join(" "))?;
    writeln!(
        out,
        "  events       {} allocations, {} frees, {} thread{}, {}",
        count(script.allocations),
        count(script.frees),
        count(script.threads.into()),
        if script.threads == 1 { "" } else { "s" },
        duration(script.duration_ns)
    )?;
    writeln!(
        out,
        "  held         {} on average, {} at most",
        bytes(script.live_mean_bytes),
        bytes(script.live_peak_bytes)
    )?;
    if script.left_out > 0 {
        writeln!(
            out,
            "  left out     {} events: failed requests, frees of blocks from before the trace",
            count(script.left_out)
        )?;
    }
    writeln!(out)?;
    let rows: Vec<Vec<String>> = outcomes.iter().map(|outcome| row(outcome, script)).collect();
    let columns = [
        Column::Left("MALLOC"),
        Column::Right("TIME"),
        Column::Right("CPU"),
        Column::Right("PEAK RSS"),
        Column::Right("MEAN RSS"),
        Column::Right("OVERHEAD"),
        Column::Right("FAULTS"),
        Column::Right("BRK"),
        Column::Right("MMAP"),
        Column::Right("MUNMAP"),
        Column::Right("OTHER"),
    ];
    for line in table::lines(&columns, &rows) {
        writeln!(out, "{line}")?;
    }
    for outcome in outcomes {
        let failed = outcome.runs.iter().map(|run| run.failed).max().unwrap_or(0);
        if failed > 0 {
            let name = &outcome.subject.name;
            writeln!(out, "{name}: {} requests found no memory", count(failed))?;
        }
    }
    for machine in outcomes.iter().filter_map(machine) {
        writeln!(
            out,
            "simulated: time and CPU are the kernel's, by fixed prices; the allocator's own are not in it"
        )?;
        writeln!(
            out,
            "  {} priced steps, {} TLB flushes, {} mappings at most, {} page tables",
            count(machine.steps),
            count(machine.flushes),
            count(machine.vmas),
            count(machine.page_tables)
        )?;
        writeln!(out, "  at its peak  {}", split(&machine.peak))?;
    }
    Ok(())
}

/// What the simulated machine told of a run.
fn machine(outcome: &Outcome) -> Option<&Machine> {
    outcome.runs.first()?.machine.as_ref()
}

/// Where the resident memory was.
fn split(peak: &Peak) -> String {
    let part = |of: u64| format!("{:.1} %", of as f64 / peak.rss_bytes.max(1) as f64 * 100.0);
    format!(
        "{} resident: {} asked for, {} headers and rounding, {} in thread caches, {} free in bins",
        bytes(peak.rss_bytes),
        part(peak.held_bytes),
        part(peak.chunk_bytes.saturating_sub(peak.held_bytes)),
        part(peak.cached_bytes),
        part(peak.free_bytes)
    )
}

fn row(outcome: &Outcome, script: &Script) -> Vec<String> {
    let spread = |figure: fn(&Figures) -> u64| outcome.spread(figure);
    let overhead = spread(|run| run.rss_mean_bytes).median / script.live_mean_bytes.max(1) as f64;
    let calls = outcome.counted.as_ref().and_then(|counted| counted.calls);
    let call = |which: fn(&Calls) -> u64| calls.map_or("–".into(), |calls| count(which(&calls)));
    let mut row = vec![
        outcome.subject.name.clone(),
        with_radius(spread(|run| run.wall_ns), duration),
        with_radius(spread(Figures::cpu_ns), duration),
        with_radius(spread(|run| run.rss_peak_bytes), bytes),
        with_radius(spread(|run| run.rss_mean_bytes), bytes),
        format!("{:+.0} %", (overhead - 1.0) * 100.0),
        with_radius(spread(|run| run.faults), count),
    ];
    row.extend([
        call(|calls| calls.brk),
        call(|calls| calls.mmap),
        call(|calls| calls.munmap),
        call(|calls| calls.mremap + calls.mprotect + calls.madvise),
    ]);
    row
}

/// "12.3 MiB ± 1 %".
pub fn with_radius(spread: Spread, unit: impl Fn(u64) -> String) -> String {
    let middle = unit(spread.median.round() as u64);
    if spread.radius() == 0.0 {
        return middle;
    }
    let percent = spread.radius() / spread.median.max(1.0) * 100.0;
    let decimals = usize::from(percent < 1.0);
    format!("{middle} ±{percent:.decimals$} %")
}

/// The object.
pub fn object(file: &Path, script: &Script, outcomes: &[Outcome]) -> Value {
    json!({
        "schema": "heapwise.replay/1",
        "file": file.display().to_string(),
        "recorded": {
            "command": script.original.command,
            "pid": script.original.pid,
            "rss_peak_bytes": script.original.rss_peak_bytes,
            "kernel_calls": calls(&script.original.calls),
            "lost_records": script.original.lost,
        },
        "script": {
            "allocations": script.allocations,
            "frees": script.frees,
            "left_out": script.left_out,
            "threads": script.threads,
            "duration_ns": script.duration_ns,
            "live_peak_bytes": script.live_peak_bytes,
            "live_mean_bytes": script.live_mean_bytes,
        },
        "results": outcomes.iter()
            .map(|one| outcome(one, script.live_mean_bytes))
            .collect::<Vec<_>>(),
    })
}

/// The part of mean RSS that the program did not hold; negative where it holds what it never
/// touched.
fn fragmentation(outcome: &Outcome, live_mean_bytes: u64) -> f64 {
    let mean = outcome.spread(|run| run.rss_mean_bytes).median;
    if mean == 0.0 { 0.0 } else { 1.0 - live_mean_bytes as f64 / mean }
}

/// One subject.
pub fn outcome(outcome: &Outcome, live_mean_bytes: u64) -> Value {
    let figure = |figure: fn(&Figures) -> u64| {
        let spread = outcome.spread(figure);
        json!({ "median": spread.median, "min": spread.least, "max": spread.most })
    };
    json!({
        "malloc": outcome.subject.name,
        "simulated": outcome.subject.ground == Ground::Simulated,
        "environment": outcome.subject.environment.iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect::<serde_json::Map<_, _>>(),
        "runs": outcome.runs.len(),
        "wall_ns": figure(|run| run.wall_ns),
        "user_ns": figure(|run| run.user_ns),
        "system_ns": figure(|run| run.system_ns),
        "rss_peak_bytes": figure(|run| run.rss_peak_bytes),
        "rss_mean_bytes": figure(|run| run.rss_mean_bytes),
        "rss_end_bytes": figure(|run| run.rss_end_bytes),
        "faults": figure(|run| run.faults),
        "failed": outcome.runs.iter().map(|run| run.failed).max(),
        "kernel_calls": outcome.counted.as_ref().and_then(|run| run.calls).as_ref().map(calls),
        "fragmentation": fragmentation(outcome, live_mean_bytes),
        "machine": machine(outcome).map(|machine| json!({
            "steps": machine.steps,
            "tlb_flushes": machine.flushes,
            "tlb_shootdowns": machine.shootdowns,
            "mappings": machine.vmas,
            "page_tables": machine.page_tables,
            "peak": {
                "rss_bytes": machine.peak.rss_bytes,
                "held_bytes": machine.peak.held_bytes,
                "chunk_bytes": machine.peak.chunk_bytes,
                "cached_bytes": machine.peak.cached_bytes,
                "free_bytes": machine.peak.free_bytes,
            },
        })),
        "rss_samples_bytes": outcome.runs.first().map(|run| &run.samples),
    })
}

fn calls(calls: &Calls) -> Value {
    json!({
        "brk": calls.brk,
        "mmap": calls.mmap,
        "munmap": calls.munmap,
        "mremap": calls.mremap,
        "mprotect": calls.mprotect,
        "madvise": calls.madvise,
    })
}
