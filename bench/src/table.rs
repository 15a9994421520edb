//! The results as Markdown, which reads well enough on a terminal: ratios to
//! the reference by job, the idle cases, the kernel's share, what is missing.

use crate::campaign::Cell;
use crate::peers::OURS;
use crate::results::{Figure, Results};
use std::fmt::Write;

/// The whole report.
pub fn markdown(results: &Results) -> String {
    let mut text = format!("{}; `bench {}`\n\n", results.machine, results.command);
    for figure in [Figure::Cpu, Figure::Peak] {
        ratios(&mut text, results, figure);
    }
    crate::goals::section(&mut text, results);
    idle(&mut text, results);
    scaling(&mut text, results);
    kernel(&mut text, results);
    missing(&mut text, results);
    text
}

/// A table of Markdown with its columns in line.
pub fn table(text: &mut String, head: &[String], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max()
    };
    let widths: Vec<usize> =
        (0..head.len()).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let mut line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(head);
    let rule = |(column, width): (usize, &usize)| {
        if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
    };
    line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    text.push('\n');
}

fn heads(first: &str, rest: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(rest.into_iter().map(Into::into)).collect()
}

fn ratio_text(ratio: Option<f64>) -> String {
    ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"))
}

fn ratios(text: &mut String, results: &Results, figure: Figure) {
    let reference = results.reference();
    let _ = writeln!(
        text,
        "## {}, ratio to {reference}; the first column is {reference}'s own median\n",
        figure.name()
    );
    let mut rows = Vec::new();
    for (job, _) in results.contests() {
        let own = match (figure, results.median(job, reference, figure)) {
            (_, None) => "–".into(),
            (Figure::Cpu, Some(seconds)) => format!("{seconds:.2} s"),
            (Figure::Peak, Some(bytes)) => format!("{:.0} MiB", bytes / 1048576.0),
        };
        let mut row = vec![job.clone(), own];
        for peer in &results.peers {
            let mark = results.cell(job, peer).and_then(|cell| match figure {
                Figure::Cpu => cell.cpu(),
                Figure::Peak => cell.peak(),
            });
            // A range of more than a tenth of the median is said.
            let noise = mark.map_or(0.0, |spread| spread.noise());
            let noisy =
                if noise > 0.1 { format!(" ±{:.0}%", noise * 50.0) } else { String::new() };
            row.push(format!("{}{noisy}", ratio_text(results.ratio(job, peer, reference, figure))));
        }
        rows.push(row);
    }
    let means = results.peers.iter().map(|peer| ratio_text(results.mean(peer, figure)));
    rows.push(["geometric mean".to_owned(), String::new()].into_iter().chain(means).collect());
    table(
        text,
        &heads("job", [reference.to_owned()].into_iter().chain(results.peers.iter().cloned())),
        &rows,
    );
}

fn idle(text: &mut String, results: &Results) {
    let mut rows = Vec::new();
    for (job, _) in &results.jobs {
        let factor = |cell: &Cell, of: fn(&crate::workloads::Idle) -> u64| {
            let ratio =
                |idle: &crate::workloads::Idle| of(idle) as f64 / idle.live_bytes.max(1) as f64;
            cell.figure(|sample| sample.idle.as_ref().map_or(f64::NAN, ratio))
                .map(|spread| spread.median)
        };
        let over = |cell: &Cell| {
            let over = |idle: &crate::workloads::Idle| {
                (idle.idle_bytes as f64 - idle.live_bytes as f64) / 1048576.0
            };
            cell.figure(|sample| sample.idle.as_ref().map_or(f64::NAN, over))
                .map(|spread| spread.median)
        };
        let cells = results.peers.iter().map(|peer| {
            let cell = results
                .cell(job, peer)
                .filter(|cell| cell.samples.iter().all(|s| s.idle.is_some()))?;
            let live = cell.figure(|s| s.idle.map_or(0.0, |idle| idle.live_bytes as f64))?.median
                / 1048576.0;
            Some(format!(
                "{:.2} of {live:.0} MiB, {:+.1} ({:.1})",
                factor(cell, |i| i.idle_bytes)?,
                over(cell)?,
                factor(cell, |i| i.burst_bytes)?
            ))
        });
        let cells: Vec<Option<String>> = cells.collect();
        if cells.iter().any(Option::is_some) {
            rows.push(
                [job.clone()]
                    .into_iter()
                    .chain(cells.into_iter().map(|c| c.unwrap_or("–".into())))
                    .collect(),
            );
        }
    }
    if !rows.is_empty() {
        text.push_str("## Memory held after idling, over the pages that hold live blocks, and MiB beyond them (in brackets: the factor before idling)\n\n");
        table(text, &heads("job", results.peers.iter().cloned()), &rows);
    }
}

/// Of the jobs that ran with one thread and with two: the same work in less time.
///
/// By CPU time too, twice the one thread's over that of both: what the threads cost each
/// other, whatever else ran on the machine.
fn scaling(text: &mut String, results: &Results) {
    let wall = |job: &str, peer: &str| {
        Some(results.cell(job, peer)?.figure(|s| s.usage.wall_seconds)?.min)
    };
    let cpu = |job: &str, peer: &str| results.median(job, peer, Figure::Cpu);
    scaling_by(text, results, "least wall time of each; the control allocates nothing", 1.0, wall);
    scaling_by(text, results, "by CPU time: 2 if the threads cost each other nothing", 2.0, cpu);
}

/// One such table: one thread's seconds over those of two, times `factor`.
fn scaling_by(
    text: &mut String,
    results: &Results,
    how: &str,
    factor: f64,
    seconds: impl Fn(&str, &str) -> Option<f64>,
) {
    let above_zero = |job: &str, peer: &str| seconds(job, peer).filter(|&s| s > 0.0);
    let rows: Vec<Vec<String>> = results
        .jobs
        .iter()
        .filter_map(|(job, _)| {
            let name = job.strip_suffix("/1")?;
            let two = format!("{name}/2");
            let ratio =
                |peer: &String| Some(factor * above_zero(job, peer)? / above_zero(&two, peer)?);
            let ratios: Vec<Option<f64>> = results.peers.iter().map(ratio).collect();
            ratios.iter().any(Option::is_some).then(|| {
                [name.to_owned()].into_iter().chain(ratios.into_iter().map(ratio_text)).collect()
            })
        })
        .collect();
    if !rows.is_empty() {
        let _ = writeln!(text, "## Throughput of two threads over one ({how})\n");
        table(text, &heads("job", results.peers.iter().cloned()), &rows);
    }
}

/// Calls and faults of all peers, where the calls were counted.
fn calls(text: &mut String, results: &Results) {
    let counted = |job: &str, peer: &String| {
        let cell = results.cell(job, peer)?;
        let faults = cell.figure(|s| s.usage.minor_faults as f64)?.median;
        Some(format!("{} · {faults:.0}", cell.kernel_calls?.sum()))
    };
    let rows: Vec<Vec<String>> = results
        .jobs
        .iter()
        .filter_map(|(job, _)| {
            let cells: Vec<_> = results.peers.iter().map(|peer| counted(job, peer)).collect();
            cells.iter().any(Option::is_some).then(|| {
                let cells = cells.into_iter().map(|cell| cell.unwrap_or("–".into()));
                [job.clone()].into_iter().chain(cells).collect()
            })
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(
            "## Calls for memory (brk, mmap, munmap, mremap, mprotect, madvise) · page faults\n\n",
        );
        table(text, &heads("job", results.peers.iter().cloned()), &rows);
    }
}

fn kernel(text: &mut String, results: &Results) {
    let _ = writeln!(text, "## {OURS} in detail\n");
    let rows: Vec<Vec<String>> = results
        .jobs
        .iter()
        .filter_map(|(job, _)| {
            let cell = results.cell(job, OURS)?;
            let (cpu, peak) = (cell.cpu()?, cell.peak()?);
            let wall = cell.figure(|s| s.usage.wall_seconds)?;
            let system = cell.figure(|s| s.usage.system_seconds)?;
            let faults = cell.figure(|s| s.usage.minor_faults as f64)?;
            let switches = cell.figure(|s| s.usage.switches as f64)?;
            let calls = cell.kernel_calls.map_or(String::new(), |calls| {
                format!(
                    "{} brk {} mmap {} munmap {} mremap {} mprotect {} madvise",
                    calls.brk,
                    calls.mmap,
                    calls.munmap,
                    calls.mremap,
                    calls.mprotect,
                    calls.madvise
                )
            });
            Some(vec![
                job.clone(),
                format!("{:.3} ({:.3}–{:.3})", cpu.median, cpu.min, cpu.max),
                format!("{:.3}", system.median),
                format!("{:.3} ({:.3}–{:.3})", wall.median, wall.min, wall.max),
                format!("{:.1}", peak.median / 1048576.0),
                format!("{:.0}", faults.median),
                format!("{:.0}", switches.median),
                calls,
            ])
        })
        .collect();
    table(
        text,
        &heads(
            "job",
            ["CPU s", "system s", "wall s", "peak MiB", "faults", "switches", "kernel calls"],
        ),
        &rows,
    );
    calls(text, results);
}

fn missing(text: &mut String, results: &Results) {
    for (name, why) in &results.missing {
        let _ = writeln!(text, "- {name}: left out: {why}");
    }
    for cell in &results.cells {
        if let Some(why) = &cell.error {
            let _ = writeln!(text, "- {} under {}: {why}", cell.job, cell.peer);
        }
    }
}
