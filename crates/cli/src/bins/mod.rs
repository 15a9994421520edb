//! `heapwise bins`: what each arena has ready, bin by bin.

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::Style;
use clap::Args;
use heapwise_inspect::heap::Kind;
use heapwise_inspect::heap::rings::Bin;
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::heap::summary::{ArenaSummary, CacheSummary};
use heapwise_inspect::{Options, Survey};
use serde_json::{Value, json};

use crate::exit;
use crate::table::{self, Column};
use crate::target::TargetArgs;
use crate::units::{bytes, count};

/// Show the free lists of every arena: thread caches, fastbins, unsorted, small, large, top
#[derive(Debug, Args)]
pub struct BinsArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON object (heapwise.bins/1)
    #[arg(long)]
    json: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
Sizes are those of chunks: the request and 8 bytes, rounded up to 16. A bin is \"sound\" if every link
comes back, every chunk is of the bin's sizes, and its neighbour knows that it is free.

Exit code: as for heapwise explain.";

/// Looks and prints.
pub fn run(args: BinsArgs) -> anyhow::Result<ExitCode> {
    let options = Options { bins: true, ..Options::default() };
    exit::code(args.target.each(options, |look| {
        let code = exit::of_survey(&look.seen);
        let mut out = anstream::stdout();
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&object(&look.seen))?)?;
        } else {
            write(&look.seen, &mut out)?;
        }
        out.flush()?;
        Ok(code)
    })?)
}

fn write(seen: &Survey, out: &mut impl Write) -> io::Result<()> {
    const BOLD: Style = Style::new().bold();
    let columns = [
        Column::Left("LIST"),
        Column::Right("CHUNKS"),
        Column::Right("BYTES"),
        Column::Left("STATE"),
    ];
    for arena in &seen.heaps.arenas {
        let threads = match arena.threads.as_slice() {
            [] => String::new(),
            [one] => format!(", thread {one}"),
            several => format!(", {} threads", several.len()),
        };
        writeln!(out, "{BOLD}arena {}{BOLD:#}{threads}", arena.index)?;
        for line in table::lines(&columns, &rows(arena)) {
            writeln!(out, "  {line}")?;
        }
        writeln!(out)?;
    }
    for cache in &seen.heaps.caches {
        let owner = cache.tid.map_or("a thread not known".into(), |tid| format!("thread {tid}"));
        writeln!(out, "{BOLD}cache of {owner}{BOLD:#}")?;
        for line in table::lines(&columns, &cache_rows(cache)) {
            writeln!(out, "  {line}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(name: String, held: Count, flaws: Option<usize>) -> Vec<String> {
    let state = match flaws {
        None => String::new(),
        Some(0) => "sound".into(),
        Some(flaws) => format!("{} inconsistent", count(flaws as u64)),
    };
    vec![name, count(held.chunks as u64), bytes(held.bytes as u64), state]
}

/// What an arena has, a list a line: name, chunks, bytes, state.
pub fn rows(arena: &ArenaSummary) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for cache in &arena.caches {
        let owner = cache.tid.map_or("no thread".into(), |tid| format!("thread {tid}"));
        for (size, held) in &cache.classes {
            rows.push(row(format!("cache of {owner}, {}", class(*size)), *held, None));
        }
    }
    if arena.inbox.chunks > 0 {
        rows.push(row("inbox".into(), arena.inbox, None));
    }
    for (index, held) in arena.fast_bins.iter().enumerate().filter(|(_, held)| held.chunks > 0) {
        rows.push(row(format!("fastbin {}", 32 + index * 16), *held, None));
    }
    for bin in arena.bins.iter().filter(|bin| bin.held.chunks > 0 || bin.flaws > 0) {
        rows.push(row(bin_name(bin), bin.held, Some(bin.flaws)));
    }
    rows.push(row("top".into(), arena.count(Kind::Top), None));
    rows
}

/// What a thread's cache has, in the same columns.
pub fn cache_rows(cache: &CacheSummary) -> Vec<Vec<String>> {
    let mut rows: Vec<_> =
        cache.classes.iter().map(|(size, held)| row(class(*size), *held, None)).collect();
    rows.push(row("all".into(), cache.held, None));
    rows
}

fn class(size: usize) -> String {
    if size == 0 { "mixed sizes".into() } else { format!("{size}") }
}

fn bin_name(bin: &Bin) -> String {
    match bin.index {
        1 => "unsorted".into(),
        index @ 2..64 => format!("small {}", index * 16),
        index => format!("large, bin {index}"),
    }
}

fn object(seen: &Survey) -> Value {
    let held = |held: &Count| json!({ "chunks": held.chunks, "bytes": held.bytes });
    let cache = |cache: &CacheSummary| {
        let classes = cache.classes.iter().map(|(size, count)| {
            json!({ "chunk_bytes": size, "chunks": count.chunks, "bytes": count.bytes })
        });
        json!({ "thread": cache.tid, "classes": classes.collect::<Vec<_>>(), "all": held(&cache.held) })
    };
    let arena = |arena: &ArenaSummary| {
        let bins = arena.bins.iter().filter(|bin| bin.held.chunks > 0 || bin.flaws > 0);
        json!({
            "index": arena.index,
            "threads": arena.threads,
            "fastbins": arena.fast_bins.iter().enumerate().map(|(index, count)| {
                json!({ "chunk_bytes": 32 + index * 16, "chunks": count.chunks, "bytes": count.bytes })
            }).collect::<Vec<_>>(),
            "inbox": held(&arena.inbox),
            "bins": bins.map(|bin| json!({
                "index": bin.index,
                "name": bin_name(bin),
                "chunks": bin.held.chunks,
                "bytes": bin.held.bytes,
                "inconsistencies": bin.flaws,
            })).collect::<Vec<_>>(),
            "top": held(&arena.count(Kind::Top)),
            "caches": arena.caches.iter().map(cache).collect::<Vec<_>>(),
        })
    };
    json!({
        "schema": "heapwise.bins/1",
        "pid": seen.pid,
        "arenas": seen.heaps.arenas.iter().map(arena).collect::<Vec<_>>(),
        "caches": seen.heaps.caches.iter().map(cache).collect::<Vec<_>>(),
    })
}
