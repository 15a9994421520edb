//! A trim in words and as `heapwise.trim/1`.

use std::io::{self, Write};

use anstyle::Style;
use heapwise_inspect::heap::summary::ArenaSummary;
use serde_json::{Value, json};

use super::Trim;
use crate::explain::words;
use crate::table::{self, Column};
use crate::units::{bytes, count, duration};

/// For people.
pub fn write(trim: &Trim, out: &mut impl Write) -> io::Result<()> {
    const BOLD: Style = Style::new().bold();
    let seen = &trim.before;
    writeln!(
        out,
        "{BOLD}process {} ({}){BOLD:#}, {}, RSS {}",
        seen.pid,
        seen.figures.name,
        words::allocator(seen),
        bytes(seen.rss as u64)
    )?;
    let predicted = trim.predicted();
    writeln!(
        out,
        "A trim would return {} ({}).",
        bytes(predicted as u64),
        share(predicted, seen.rss)
    )?;
    let rows: Vec<Vec<String>> = seen
        .heaps
        .arenas
        .iter()
        .map(|arena| {
            let top = arena.top.bytes();
            vec![
                format!("{}", arena.index),
                threads(arena),
                bytes(arena.tally.sum() as u64),
                bytes(arena.trim_gain as u64),
                bytes(top as u64),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let columns = [
            Column::Right("ARENA"),
            Column::Left("THREADS"),
            Column::Right("RESIDENT"),
            Column::Right("RETURNS"),
            Column::Right("TOP"),
        ];
        writeln!(out)?;
        for line in table::lines(&columns, &rows) {
            writeln!(out, "  {line}")?;
        }
    }
    if let Some(done) = &trim.done {
        let measured = done.measured(seen);
        writeln!(
            out,
            "\nDone in {}: the RSS is {}, {} less; {} were predicted.",
            duration(done.took.as_nanos() as u64),
            bytes(done.after.rss as u64),
            bytes(measured as u64),
            bytes(predicted as u64),
        )?;
        if done.reply.started_helper {
            writeln!(out, "No helper ran, so one thread was stopped for a moment to start it.")?;
        }
        if done.reply.left > 0 {
            let arenas = done.reply.left;
            let (noun, verb) = if arenas == 1 { ("arena", "its") } else { ("arenas", "their") };
            writeln!(
                out,
                "{} {noun} kept {verb} thread caches, as {verb} threads ran all the time.",
                count(arenas)
            )?;
        }
        return Ok(());
    }
    let how = trim.how();
    if how.is_empty() {
        if !trim.wanted && seen.root.is_some() && predicted > 0 {
            writeln!(out, "\nTo do it: heapwise trim --apply {}", trim.typed)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "\nTo do it in this process, stopped meanwhile (it hangs if a thread is inside malloc just then):\n  {}\n\
         To have it done by itself from the next start on:\n  {}",
        how[0], how[1]
    )
}

fn share(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "nothing is resident".into();
    }
    format!("{:.1} % of it", part as f64 * 100.0 / whole as f64)
}

fn threads(arena: &ArenaSummary) -> String {
    match arena.threads.as_slice() {
        [] => "–".into(),
        [one] => format!("{one}"),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// For programs.
pub fn object(trim: &Trim) -> Value {
    let seen = &trim.before;
    json!({
        "schema": "heapwise.trim/1",
        "pid": seen.pid,
        "name": seen.figures.name,
        "allocator": words::allocator(seen),
        "rss_bytes": seen.rss,
        "predicted_bytes": trim.predicted(),
        "arenas": seen.heaps.arenas.iter().map(|arena| json!({
            "index": arena.index,
            "threads": arena.threads,
            "resident_bytes": arena.tally.sum(),
            "predicted_bytes": arena.trim_gain,
            "top_bytes": arena.top.bytes(),
        })).collect::<Vec<_>>(),
        "applied": trim.done.as_ref().map(|done| json!({
            "rss_bytes": done.after.rss,
            "measured_bytes": done.measured(seen),
            "predicted_bytes": done.after.trim_gain(),
            "took_ns": done.took.as_nanos() as u64,
            "started_helper": done.reply.started_helper,
            "busy_arenas": done.reply.left,
        })),
        "refusal": trim.refusal,
        "how": trim.how(),
    })
}
