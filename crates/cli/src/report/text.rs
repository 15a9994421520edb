//! The report for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::model::{Heap, Origin, Process, Report, State};
use super::record::printable;
use crate::run::supervise::End;
use crate::table::{self, Column};
use crate::units::{bytes, count, duration, percent};

/// Longer tables of processes are cut to the greatest by peak RSS: the program's own section
/// should stay on the screen.
const MOST_ROWS: usize = 20;
const HEADING: Style = Style::new().bold();
const NOTICE: Style = AnsiColor::Yellow.on_default();
/// Labels are this wide.
const LABEL: usize = 16;

/// Writes it; the styles are the writer's to strip.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let command = printable(&report.command.join(" "));
    writeln!(out, "{HEADING}heapwise report: {}{HEADING:#}", shortened(&command, 90))?;
    row(out, "ended", end(report.end))?;
    let kernel = &report.kernel;
    row(out, "wall time", duration(kernel.wall_ns))?;
    let cpu = (duration(kernel.user_ns), duration(kernel.system_ns));
    row(out, "CPU time", format!("{} user, {} system", cpu.0, cpu.1))?;
    row(out, "peak RSS", bytes(kernel.rss_peak_bytes))?;
    row(out, "page faults", faults(kernel.minor_faults, kernel.major_faults))?;
    writeln!(out, "  (the kernel's figures: the program and the descendants it waited for)")?;

    match report.main() {
        Some(main) => {
            writeln!(out)?;
            process(out, main)?;
        }
        None if report.library.is_none() => {
            notice(out, "ran without the library, as --anyway asked")?
        }
        None => {
            let name = report.command.first().map_or("", String::as_str);
            let text = format!("{} {}: the library did not load", report.pid, printable(name));
            notice(out, &text)?;
        }
    }

    let others: Vec<&Process> = report.processes.iter().filter(|process| !process.main).collect();
    if !others.is_empty() {
        writeln!(out)?;
        table_of(out, report, others)?;
    }
    if report.processes_lost > 0 {
        let text = format!(
            "{} more processes found the report file full",
            count(report.processes_lost.into())
        );
        notice(out, &text)?;
    }
    Ok(())
}

fn process(out: &mut impl Write, process: &Process) -> io::Result<()> {
    let after = match process.generation {
        0 => String::new(),
        generation => format!(", after {}", plural(generation.into(), "exec", "execs")),
    };
    writeln!(out, "{HEADING}process {} {}{after}{HEADING:#}", process.pid, process.comm)?;
    row(
        out,
        "RSS",
        format!(
            "{} peak, {} at the end",
            bytes(process.rss_peak_bytes),
            bytes(process.rss_last_bytes)
        ),
    )?;
    row(out, "page faults", faults(process.minor_faults, process.major_faults))?;

    let calls = &process.calls;
    let kinds = [
        ("malloc", calls.malloc),
        ("calloc", calls.calloc),
        ("realloc", calls.realloc),
        ("aligned", calls.aligned),
    ];
    row(out, "allocations", format!("{}: {}", count(calls.allocations()), listed(&kinds)))?;
    row(out, "frees", count(calls.free))?;
    if calls.failed > 0 {
        row(out, "out of memory", format!("{} requests failed", count(calls.failed)))?;
    }
    let cache = &process.thread_cache;
    row(
        out,
        "thread caches",
        format!(
            "served {} of the allocations, took {} of the frees",
            percent(cache.hits.min(calls.allocations()), calls.allocations()),
            percent(cache.frees.min(calls.free), calls.free)
        ),
    )?;
    if cache.foreign_frees > 0 {
        row(
            out,
            "foreign frees",
            format!("{} sent home to their arenas", count(cache.foreign_frees)),
        )?;
    }

    let kernel = &process.kernel_calls;
    let kinds = [
        ("brk", kernel.brk),
        ("mmap", kernel.mmap),
        ("munmap", kernel.munmap),
        ("mremap", kernel.mremap),
        ("mprotect", kernel.mprotect),
        ("madvise", kernel.madvise),
    ];
    row(out, "kernel calls", listed(&kinds))?;
    row(out, "given back", format!("{} by madvise, in all", bytes(process.purged_bytes)))?;
    row(out, "arenas", count(process.arenas))?;
    if let Some(heap) = &process.heap {
        rows_of_heap(out, heap)?;
    }
    if let Some(why) = lag(process.state) {
        notice(out, why)?;
    }
    Ok(())
}

fn rows_of_heap(out: &mut impl Write, heap: &Heap) -> io::Result<()> {
    row(
        out,
        "from the kernel",
        format!(
            "{} at the end, {} at most",
            bytes(heap.system_bytes),
            bytes(heap.system_peak_bytes)
        ),
    )?;
    row(
        out,
        "live at exit",
        format!(
            "{} in {}, of which {} in {} mapped alone",
            bytes(heap.live_bytes),
            plural(heap.live_chunks, "chunk", "chunks"),
            bytes(heap.mapped_bytes),
            plural(heap.mapped_chunks, "chunk", "chunks")
        ),
    )?;
    row(
        out,
        "idle at exit",
        format!(
            "{} in {}, {} in bins and tops",
            bytes(heap.cached_bytes),
            plural(heap.thread_caches, "thread cache", "thread caches"),
            bytes(heap.free_bytes)
        ),
    )
}

/// Everything that is not the program's last image.
fn table_of(out: &mut impl Write, report: &Report, mut others: Vec<&Process>) -> io::Result<()> {
    let total = others.len();
    writeln!(out, "{HEADING}other process images: {}{HEADING:#}", count(total as u64))?;
    if total > MOST_ROWS {
        // A shell's fork that went on to exec is the least of them.
        others.retain(|process| (process.origin, process.state) != (Origin::Fork, State::Replaced));
    }
    if others.len() > MOST_ROWS {
        // Chosen by size, shown in the order of their start.
        let mut peaks: Vec<u64> = others.iter().map(|process| process.rss_peak_bytes).collect();
        peaks.sort_unstable_by(|a, b| b.cmp(a));
        let least = peaks[MOST_ROWS - 1];
        others.retain(|process| process.rss_peak_bytes >= least);
        others.truncate(MOST_ROWS);
    }
    let columns = [
        Column::Right("PID"),
        Column::Right("PPID"),
        Column::Left("COMMAND"),
        Column::Left("IMAGE"),
        Column::Left("STATE"),
        Column::Right("WALL"),
        Column::Right("PEAK RSS"),
        Column::Right("ALLOCS"),
        Column::Right("FREES"),
        Column::Right("LIVE"),
    ];
    let rows: Vec<Vec<String>> = others
        .iter()
        .map(|process| {
            vec![
                process.pid.to_string(),
                process.ppid.to_string(),
                process.comm.clone(),
                image(process),
                state(process, report),
                duration(process.wall_ns),
                bytes(process.rss_peak_bytes),
                count(process.calls.allocations()),
                count(process.calls.free),
                process.heap.as_ref().map_or("–".into(), |heap| bytes(heap.live_bytes)),
            ]
        })
        .collect();
    for line in table::lines(&columns, &rows) {
        writeln!(out, "  {line}")?;
    }
    if rows.len() < total {
        writeln!(
            out,
            "  … and {} more, smaller or soon replaced by exec; --report=json has them all",
            count((total - rows.len()) as u64)
        )?;
    }
    if others.iter().any(|process| !process.exact) {
        writeln!(
            out,
            "  * ended without exit handlers, was replaced or still runs: the figures lag behind"
        )?;
    }
    Ok(())
}

fn image(process: &Process) -> String {
    match process.origin {
        Origin::Start => "start".into(),
        Origin::Fork => "fork".into(),
        Origin::Exec => format!("exec {}", process.generation),
    }
}

fn state(process: &Process, report: &Report) -> String {
    let killed = process.pid == report.pid && matches!(report.end, End::Killed { .. });
    match process.state {
        State::Exited => "exited".into(),
        State::Ended if killed => "killed *".into(),
        State::Ended => "ended *".into(),
        State::Replaced => "replaced *".into(),
        State::Running => "running *".into(),
    }
}

fn lag(state: State) -> Option<&'static str> {
    match state {
        State::Exited => None,
        State::Ended | State::Replaced => Some(
            "ended without running its exit handlers: the figures lag, the heap was not counted",
        ),
        State::Running => Some("still runs: the figures are those of its last update"),
    }
}

fn end(end: End) -> String {
    match end {
        End::Exited { code } => format!("exit code {code}"),
        End::Killed { signal, core_dumped } => {
            let name = nix::sys::signal::Signal::try_from(signal)
                .map_or("a real-time signal", |signal| signal.as_str());
            let core = if core_dumped { ", core dumped" } else { "" };
            format!("killed by signal {signal} ({name}{core})")
        }
    }
}

fn faults(minor: u64, major: u64) -> String {
    format!("{} minor, {} major", count(minor), count(major))
}

fn listed(kinds: &[(&str, u64)]) -> String {
    let parts: Vec<String> =
        kinds.iter().map(|(name, calls)| format!("{name} {}", count(*calls))).collect();
    parts.join(", ")
}

fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

fn row(out: &mut impl Write, label: &str, value: impl std::fmt::Display) -> io::Result<()> {
    writeln!(out, "  {label:<LABEL$}{value}")
}

fn notice(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "  {NOTICE}{text}{NOTICE:#}")
}
