//! The trace-event format of chrome://tracing, which Perfetto reads too: JSON, times in µs.
//!
//! Live bytes and RSS are counters; kernel calls, and allocations from a size on, are instants of
//! their thread. A counter's point is written when it has moved by a part of itself, so that a
//! long trace still opens.

use std::collections::HashMap;
use std::io::{self, Write};

use heapwise_trace::Trace;
use serde_json::{Value, json};

use super::Sink;
use super::rows::Row;

/// A counter is written again when it has moved by this part.
const MOVED_PART: u64 = 200;
/// Or when so much time has passed.
const MOVED_NS: u64 = 10_000_000;

/// The timeline.
pub struct Timeline<W> {
    out: W,
    from_bytes: u64,
    empty: bool,
    /// Live bytes and time of the last point of each process.
    told: HashMap<u32, (u64, u64)>,
}

impl<W: Write> Timeline<W> {
    /// Writes names of processes.
    pub fn new(mut out: W, trace: &Trace, from_bytes: u64) -> io::Result<Self> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        let mut timeline = Self { out, from_bytes, empty: true, told: HashMap::new() };
        for process in trace.processes() {
            timeline.event(&json!({
                "name": "process_name", "ph": "M", "pid": process.pid, "tid": process.pid,
                "args": { "name": process.command.join(" ") },
            }))?;
        }
        Ok(timeline)
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        self.out.write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    fn counter(&mut self, row: &Row<'_>, name: &str, bytes: u64) -> io::Result<()> {
        self.event(&json!({
            "name": name, "ph": "C", "ts": micros(row.time_ns), "pid": row.pid, "tid": row.pid,
            "args": { "bytes": bytes },
        }))
    }

    fn instant(&mut self, row: &Row<'_>, args: &Value) -> io::Result<()> {
        self.event(&json!({
            "name": row.event, "ph": "i", "s": "t", "ts": micros(row.time_ns), "pid": row.pid,
            "tid": row.thread, "args": args,
        }))
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

impl<W: Write> Sink for Timeline<W> {
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let (bytes, time_ns) = self.told.get(&row.process).copied().unwrap_or((0, 0));
        let moved = row.live_bytes.abs_diff(bytes) > bytes / MOVED_PART;
        let later = row.time_ns.saturating_sub(time_ns) > MOVED_NS;
        if (moved || later) && row.live_bytes != bytes {
            self.told.insert(row.process, (row.live_bytes, row.time_ns));
            self.counter(row, "live bytes", row.live_bytes)?;
        }
        if let Some(rss) = row.rss_bytes {
            return self.counter(row, "RSS", rss);
        }
        let address = row.address.map(|address| format!("{address:#x}"));
        if let Some(bytes) = row.bytes.filter(|_| row.cause.is_some()) {
            let args = json!({
                "bytes": bytes, "address": address, "cause": row.cause, "failed": row.failed,
            });
            return self.instant(row, &args);
        }
        if row.size.is_some_and(|size| size >= self.from_bytes) {
            let args = json!({
                "size": row.size, "address": address, "age_ns": row.age_ns, "site": row.site,
            });
            return self.instant(row, &args);
        }
        if matches!(
            row.event,
            "thread_start" | "thread_end" | "fork" | "process_end" | "process_gone"
        ) {
            return self.instant(row, &json!({}));
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")
    }
}
