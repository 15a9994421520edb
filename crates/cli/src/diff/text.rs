//! The changes for people: what grows first, then the figures.

use std::cmp::Reverse;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use heapwise_inspect::ROWS;
use heapwise_inspect::diff::{Change, Group, Trend};
use heapwise_inspect::heap::scan::Count;

use super::Pair;
use crate::explain::text::wrapped;
use crate::explain::words;
use crate::table::{self, Column};
use crate::units::{bytes, count, duration};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ACTION: Style = AnsiColor::Green.on_default();
/// So many arenas, classes and sites are listed, the largest changes first.
const LISTED: usize = 12;

/// Writes all of it.
pub fn write(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    let (before, after) = (pair.before, pair.after);
    let name = |seen: &heapwise_inspect::Survey| format!("{} ({})", seen.figures.name, seen.pid);
    let names = if pair.diff.same_process {
        name(after)
    } else {
        format!("{} → {}", name(before), name(after))
    };
    writeln!(
        out,
        "{BOLD}{names}{BOLD:#}: RSS {} → {} ({}{})",
        bytes(before.rss as u64),
        bytes(after.rss as u64),
        signed(pair.diff.rss.grown()),
        pair.diff.elapsed_ms.map(|ms| format!(" in {}", elapsed(ms))).unwrap_or_default()
    )?;
    if !pair.diff.same_process {
        writeln!(out, "{DIM}these are two processes, or two runs of one program{DIM:#}")?;
    }
    writeln!(out)?;
    write_growth(pair, out)
}

/// The trend in words, and the tables.
pub fn write_growth(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    for line in wrapped(&sentence(pair)) {
        writeln!(out, "{BOLD}{line}{BOLD:#}")?;
    }
    for action in actions(pair) {
        writeln!(out, "{ACTION}→{ACTION:#} {action}")?;
    }
    write_rows(pair, out)?;
    if pair.has_heaps() {
        write_arenas(pair, out)?;
        write_classes(pair, out)?;
    }
    write_sites(pair, out)
}

/// What grows.
pub fn sentence(pair: &Pair<'_>) -> String {
    let diff = &pair.diff;
    let rate = |grown: usize| match diff.elapsed_ms {
        Some(ms) if diff.same_process => {
            let a_second = grown as f64 * 1000.0 / ms as f64;
            format!(" ({} a second)", bytes(a_second as u64))
        }
        _ => String::new(),
    };
    match diff.trend() {
        Trend::LiveGrows { bytes: grown, chunks } => {
            let most = diff.classes.iter().max_by_key(|(_, change)| change.bytes().grown());
            let class = most.map(|(group, change)| {
                format!("; most in {}: {}", words_of(group), signed(change.bytes().grown()))
            });
            format!(
                "The program holds more: {} in live chunks, {} of them{}{}. Whether it still needs \
                 them, only the program knows.",
                signed(grown as i64),
                signed_count(chunks),
                rate(grown),
                class.unwrap_or_default()
            )
        }
        Trend::KeptGrows { bytes: grown } => format!(
            "What grew is free memory that the allocator keeps: {}{}; what the program holds \
             changed by {}.",
            signed(grown as i64),
            rate(grown),
            signed(diff.live.bytes().grown())
        ),
        Trend::OtherGrows { row, bytes: grown } if !pair.has_heaps() => format!(
            "What grew: {}{} in the row \"{}\"; the heap, which is not read, may be part of it.",
            signed(grown as i64),
            rate(grown),
            row.title()
        ),
        Trend::OtherGrows { row, bytes: grown } => format!(
            "What grew is not malloc's: {}{} in the row \"{}\".",
            signed(grown as i64),
            rate(grown),
            row.title()
        ),
        Trend::Shrinks { bytes: fallen } => {
            format!("The RSS fell by {}.", bytes(fallen as u64))
        }
        Trend::Steady => "Nothing grows: all changes are below 64 KiB or 0.1 %.".into(),
    }
}

/// What to do, each a line.
pub fn actions(pair: &Pair<'_>) -> Vec<String> {
    let typed = pair.typed;
    match pair.diff.trend() {
        Trend::LiveGrows { .. } => vec![
            format!("see whether it goes on: heapwise explain --for 60s {typed}"),
            format!("which sizes there are: heapwise explain --classes {typed}"),
        ],
        Trend::KeptGrows { .. } => vec![format!(
            "a trim would return {}; why it is kept: heapwise explain {typed}",
            bytes(pair.diff.trim_gain.after as u64)
        )],
        Trend::OtherGrows { .. } => vec![format!("what each mapping is: heapwise maps {typed}")],
        Trend::Shrinks { .. } | Trend::Steady => Vec::new(),
    }
}

fn words_of(group: &Group) -> String {
    match group {
        Group::Class(class) => format!("chunks of {} bytes", words::class(*class)),
        Group::Mapped => "chunks with a mapping each".into(),
    }
}

fn write_rows(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    let line = |change: Change, title: &str| {
        let side = |figure: usize| bytes(figure as u64);
        vec![side(change.before), side(change.after), signed(change.grown()), title.to_owned()]
    };
    let mut rows: Vec<Vec<String>> = ROWS
        .into_iter()
        .map(|row| (row, pair.diff.row(row)))
        .filter(|(_, change)| change.before + change.after > 0)
        .map(|(row, change)| line(change, row.title()))
        .collect();
    rows.push(line(pair.diff.rss, "RSS, the sum to the byte"));
    if pair.has_heaps() {
        rows.push(line(pair.diff.trim_gain, "of it a trim would return"));
    }
    let columns = [
        Column::Right("BEFORE"),
        Column::Right("AFTER"),
        Column::Right("CHANGE"),
        Column::Left(""),
    ];
    write_table(&columns, &rows, 0, out)
}

fn write_arenas(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    let count = pair.before.heaps.arenas.len().max(pair.after.heaps.arenas.len());
    if count < 2 || pair.diff.arenas.is_empty() {
        return Ok(());
    }
    let mut arenas = pair.diff.arenas.clone();
    arenas.sort_by_key(|arena| Reverse(arena.resident.grown().abs()));
    let rows: Vec<Vec<String>> = arenas
        .iter()
        .take(LISTED)
        .map(|arena| {
            vec![
                arena.index.to_string(),
                signed(arena.resident.grown()),
                signed(arena.live.bytes().grown()),
                signed_count(arena.live.chunks().grown()),
                signed(arena.trim_gain.grown()),
            ]
        })
        .collect();
    let columns = [
        Column::Right("ARENA"),
        Column::Right("RESIDENT"),
        Column::Right("LIVE"),
        Column::Right("CHUNKS"),
        Column::Right("TRIM GAIN"),
    ];
    write_table(&columns, &rows, arenas.len(), out)
}

fn write_classes(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut classes: Vec<(String, Change<Count>)> = Vec::new();
    for (group, change) in &pair.diff.classes {
        let name = match group {
            Group::Class(class) => words::class(*class),
            Group::Mapped => "a mapping each".into(),
        };
        classes.push((name, *change));
    }
    write_counts("LIVE CHUNKS OF", classes, out)
}

fn write_sites(pair: &Pair<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut all: Vec<_> = pair.diff.sites.iter().collect();
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by_key(|(_, change)| Reverse(change.bytes().grown().abs()));
    let row = |(name, change): &&(String, Change<Count>)| {
        vec![
            signed_count(change.chunks().grown()),
            signed(change.bytes().grown()),
            bytes(change.after.bytes as u64),
            name.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().take(LISTED).map(row).collect();
    let columns = [
        Column::Right("BLOCKS"),
        Column::Right("BYTES"),
        Column::Right("NOW"),
        Column::Left("ALLOCATED AT"),
    ];
    write_table(&columns, &rows, all.len(), out)
}

fn write_counts(
    title: &'static str,
    mut all: Vec<(String, Change<Count>)>,
    out: &mut impl Write,
) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by_key(|(_, change)| Reverse(change.bytes().grown().abs()));
    let rows: Vec<Vec<String>> = all
        .iter()
        .take(LISTED)
        .map(|(name, change)| {
            vec![
                name.clone(),
                signed_count(change.chunks().grown()),
                signed(change.bytes().grown()),
                bytes(change.after.bytes as u64),
            ]
        })
        .collect();
    let columns = [
        Column::Right(title),
        Column::Right("CHUNKS"),
        Column::Right("BYTES"),
        Column::Right("NOW"),
    ];
    write_table(&columns, &rows, all.len(), out)
}

fn write_table(
    columns: &[Column],
    rows: &[Vec<String>],
    all: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out)?;
    for line in table::lines(columns, rows) {
        writeln!(out, "  {line}")?;
    }
    if all > rows.len() {
        writeln!(out, "  … and {} smaller changes", all - rows.len())?;
    }
    Ok(())
}

fn elapsed(ms: u64) -> String {
    duration(ms.saturating_mul(1_000_000))
}

/// "+1.50 MiB", "−12 B", "0".
fn signed(change: i64) -> String {
    match change {
        0 => "0".into(),
        1.. => format!("+{}", bytes(change.unsigned_abs())),
        _ => format!("−{}", bytes(change.unsigned_abs())),
    }
}

/// "+12 345", "−1", "0".
fn signed_count(change: i64) -> String {
    match change {
        0 => "0".into(),
        1.. => format!("+{}", count(change.unsigned_abs())),
        _ => format!("−{}", count(change.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn changes_have_signs() {
        assert_eq!(super::signed(1536), "+1.50 KiB");
        assert_eq!(super::signed(-12), "−12 B");
        assert_eq!(super::signed(0), "0");
        assert_eq!(super::signed_count(i64::MIN + 1).chars().next(), Some('−'));
    }
}
