//! A timeline as one object, `heapwise.timeline/1`.

use std::io::{self, Write};

use serde::Serialize;

use heapwise_trace::What;

use super::model::{Account, Line, Moment, Story, cause_name};
use super::text::{call_text, kernel_text};

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    command: &'a str,
    complete: bool,
    duration_ns: u64,
    allocations: u64,
    frees: u64,
    live_peak_bytes: u64,
    rss_peak_bytes: u64,
    lost_records: u64,
    moments: &'a [Moment],
    kernel_calls: &'a [Account],
    turns: Vec<Turn>,
    calls: Vec<Call>,
    calls_left_out: u64,
}

/// Of a process's life.
#[derive(Serialize)]
struct Turn {
    time_ns: u64,
    pid: u32,
    what: &'static str,
    /// Of a fork, if it is known.
    child_pid: Option<u32>,
}

#[derive(Serialize)]
struct Call {
    time_ns: u64,
    pid: u32,
    thread: u32,
    call: Option<String>,
    size: Option<u64>,
    address: Option<u64>,
    kernel: Vec<Kernel>,
}

#[derive(Serialize)]
struct Kernel {
    time_ns: u64,
    call: &'static str,
    text: String,
    cause: &'static str,
    address: u64,
    bytes: i64,
    failed: bool,
}

/// Writes it.
pub fn write(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let calls = story.lines.iter().filter_map(|line| {
        let Line::Call { event, kernel, pid, thread, time_ns } = line else { return None };
        let block = event.and_then(|event| event.what.allocates());
        Some(Call {
            time_ns: *time_ns,
            pid: *pid,
            thread: *thread,
            call: event.as_ref().map(call_text),
            size: block.map(|block| block.1),
            address: block.map(|block| block.0).or_else(|| event.as_ref()?.what.frees()),
            kernel: kernel
                .iter()
                .map(|(time_ns, call)| Kernel {
                    time_ns: *time_ns,
                    call: call.op.name(),
                    text: kernel_text(call),
                    cause: cause_name(call.cause),
                    address: call.address,
                    bytes: call.bytes,
                    failed: call.failed,
                })
                .collect(),
        })
    });
    let turns = story.lines.iter().filter_map(|line| {
        let Line::Turn { event, pid } = line else { return None };
        let what = match event.what {
            What::ProcessStart => "begins",
            What::ProcessEnd => "ends",
            What::ProcessGone => "gone",
            What::Fork { .. } => "forks",
            _ => return None,
        };
        let child_pid = match event.what {
            What::Fork { child_pid } if child_pid != 0 => Some(child_pid),
            _ => None,
        };
        Some(Turn { time_ns: event.time_ns, pid: *pid, what, child_pid })
    });
    let json = Json {
        schema: "heapwise.timeline/1",
        command: &story.command,
        complete: story.damage.is_none(),
        duration_ns: story.duration_ns,
        allocations: story.allocations,
        frees: story.frees,
        live_peak_bytes: story.live_peak_bytes,
        rss_peak_bytes: story.rss_peak_bytes,
        lost_records: story.lost,
        moments: &story.moments,
        kernel_calls: &story.accounts,
        turns: turns.collect(),
        calls: calls.collect(),
        calls_left_out: story.more,
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}
