//! The account for people: the verdict first, then the figures, then what stands beside them.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use heapwise_inspect::heap::Kind;
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::holders::Holder;
use heapwise_inspect::origin::Source;
use heapwise_inspect::verdict::Verdict;
use heapwise_inspect::{ROWS, Row, Survey};

use super::holders::{self, dump};
use super::{Shown, advice, words};
use crate::table::{self, Column};
use crate::target::Look;
use crate::units::{bytes, count, duration, percent};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ACTION: Style = AnsiColor::Green.on_default();
/// So many arenas are listed.
const ARENAS_LISTED: usize = 12;
/// So many broken walks are.
const BROKEN_LISTED: usize = 5;
/// So many allocation sites are.
const SITES_LISTED: usize = 10;
/// Width of a line of words.
const WIDTH: usize = 80;

/// Writes all of it.
pub fn write(look: &Look, verdict: &Verdict, shown: Shown, out: &mut impl Write) -> io::Result<()> {
    let survey = &look.seen;
    writeln!(
        out,
        "{BOLD}{} ({}){BOLD:#}: {} {}, allocator {}",
        survey.figures.name,
        survey.pid,
        words::whole(survey),
        bytes(survey.rss as u64),
        words::allocator_briefly(survey)
    )?;
    if let Some(line) = words::circumstances(look) {
        writeln!(out, "{DIM}{line}{DIM:#}")?;
    }
    writeln!(out)?;
    for line in wrapped(&words::sentence(&verdict.main, survey)) {
        writeln!(out, "{BOLD}{line}{BOLD:#}")?;
    }
    for also in &verdict.also {
        for line in wrapped(&words::sentence(also, survey)) {
            writeln!(out, "{line}")?;
        }
    }
    for action in advice::of(verdict, look) {
        writeln!(out, "{ACTION}→{ACTION:#} {action}")?;
    }
    writeln!(out)?;
    write_rows(survey, out)?;
    for runtime in &survey.runtimes {
        writeln!(out)?;
        for line in wrapped(&format!("past malloc: {}", words::runtime(runtime))) {
            writeln!(out, "{line}")?;
        }
    }
    write_beside(survey, out)?;
    if survey.heaps.arenas.len() > 1 {
        write_arenas(survey, out)?;
    }
    write_broken(survey, out)?;
    if shown.classes {
        write_classes(survey, out)?;
    }
    write_sites(survey, out)?;
    if shown.holders {
        write_holders(holders::told(survey), shown.bytes, out)?;
    }
    for note in &survey.notes {
        writeln!(out)?;
        for (index, line) in wrapped(&format!("note: {note}")).iter().enumerate() {
            let indent = if index == 0 { "" } else { "      " };
            writeln!(out, "{DIM}{indent}{line}{DIM:#}")?;
        }
    }
    Ok(())
}

fn write_rows(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let mut rows = Vec::new();
    for row in ROWS {
        let figure = survey.account.tally[row];
        if figure > 0 {
            rows.push(vec![
                bytes(figure as u64),
                percent(figure as u64, survey.rss as u64),
                row.title().to_owned(),
                chunks_of(survey, row),
            ]);
        }
    }
    rows.push(vec![
        bytes(survey.rss as u64),
        String::new(),
        match survey.origin.source {
            Source::Process => "RSS, the sum to the byte".into(),
            Source::Core => "in the core file, the sum to the byte".into(),
        },
        String::new(),
    ]);
    let columns = [Column::Right(""), Column::Right(""), Column::Left(""), Column::Right("")];
    for line in table::lines(&columns, &rows).iter().skip(1) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn chunks_of(survey: &Survey, row: Row) -> String {
    let kind = match row {
        Row::LiveUser => Kind::Live,
        Row::FreeWholePages => Kind::Free,
        Row::ThreadCaches => Kind::Cached,
        Row::Fastbins => Kind::Fast,
        Row::MappedChunks => return words::chunks(survey.heaps.mapped.chunks),
        _ => return String::new(),
    };
    let all = survey.heaps.arenas.iter().map(|arena| arena.count(kind).chunks).sum();
    words::chunks(all)
}

fn write_beside(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    if survey.origin.source == Source::Core {
        // A core tells nothing of what the kernel counted.
        return Ok(());
    }
    let figures = &survey.figures;
    let mut parts = vec![
        format!("page tables {}", bytes(figures.page_tables as u64)),
        format!("swap {}", bytes(figures.swap as u64)),
    ];
    if figures.hugetlb > 0 {
        parts.push(format!("hugetlbfs {}", bytes(figures.hugetlb as u64)));
    }
    if figures.anon_huge > 0 {
        parts.push(format!("in transparent huge pages {}", bytes(figures.anon_huge as u64)));
    }
    if let Some(group) = &survey.cgroup {
        let limit = group.limit.map_or("no limit".into(), |limit| bytes(limit as u64));
        parts.push(format!("cgroup {} of {limit}", bytes(group.usage as u64)));
    }
    writeln!(out, "\n{DIM}beside it:{DIM:#} {}", parts.join(", "))?;
    let told = figures.rss_rollup.unwrap_or(figures.rss_statm);
    if told != survey.rss {
        let difference = told.abs_diff(survey.rss);
        writeln!(
            out,
            "{DIM}the kernel's own total, read right after, differs by {}{DIM:#}",
            bytes(difference as u64)
        )?;
    }
    if survey.flaws() > 0 {
        writeln!(out, "{DIM}inconsistencies met: {}{DIM:#}", count(survey.flaws() as u64))?;
    }
    Ok(())
}

fn write_arenas(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let mut arenas: Vec<_> = survey.heaps.arenas.iter().collect();
    arenas.sort_by_key(|arena| std::cmp::Reverse(arena.tally.sum()));
    let rows: Vec<Vec<String>> = arenas
        .iter()
        .take(ARENAS_LISTED)
        .map(|arena| {
            let live = arena.tally[Row::LiveUser] + arena.tally[Row::Headers];
            vec![
                arena.index.to_string(),
                arena.threads.len().to_string(),
                bytes(arena.system_bytes as u64),
                bytes(arena.tally.sum() as u64),
                bytes(live as u64),
                bytes(arena.trim_gain as u64),
            ]
        })
        .collect();
    let columns = [
        Column::Right("ARENA"),
        Column::Right("THREADS"),
        Column::Right("FROM SYSTEM"),
        Column::Right("RESIDENT"),
        Column::Right("LIVE"),
        Column::Right("TRIM GAIN"),
    ];
    writeln!(out)?;
    for line in table::lines(&columns, &rows) {
        writeln!(out, "  {line}")?;
    }
    if arenas.len() > ARENAS_LISTED {
        writeln!(out, "  … and {} smaller ones", arenas.len() - ARENAS_LISTED)?;
    }
    Ok(())
}

fn write_holders(holders: &[Holder], with_bytes: bool, out: &mut impl Write) -> io::Result<()> {
    if holders.is_empty() {
        return writeln!(out, "\nno chunk holds free pages up");
    }
    let rows: Vec<Vec<String>> = holders
        .iter()
        .map(|holder| {
            let pin = &holder.pin;
            vec![
                format!("{:#x}", holder.pointer()),
                bytes(pin.piece.bytes as u64),
                pin.piece.kind.name().to_owned(),
                holder.arena.to_string(),
                bytes(pin.held_bytes as u64),
                holder.age_ms.map(|ms| duration(ms.saturating_mul(1_000_000))).unwrap_or_default(),
                if pin.below_top { "right below the top" } else { "" }.to_owned(),
            ]
        })
        .collect();
    let columns = [
        Column::Right("HOLDER"),
        Column::Right("SIZE"),
        Column::Left("STATE"),
        Column::Right("ARENA"),
        Column::Right("HOLDS UP"),
        // Known where there is a profile.
        Column::Right(if holders.iter().any(|holder| holder.age_ms.is_some()) {
            "AGE"
        } else {
            ""
        }),
        Column::Left(""),
    ];
    writeln!(out)?;
    let lines = table::lines(&columns, &rows);
    let (heading, lines) = lines.split_first().expect("a heading is always there");
    writeln!(out, "  {heading}")?;
    for (holder, line) in holders.iter().zip(lines) {
        writeln!(out, "  {line}")?;
        if let Some(site) = &holder.site {
            writeln!(out, "      {DIM}from{DIM:#} {site}")?;
        }
        if with_bytes && !holder.first.is_empty() {
            writeln!(out, "      {DIM}{}{DIM:#}", dump(&holder.first))?;
        }
    }
    Ok(())
}

/// Live memory by allocation site, where a recording tells.
fn write_sites(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    if survey.sites.is_empty() {
        return Ok(());
    }
    let sum: usize = survey.sites.iter().map(|site| site.live.bytes).sum();
    let rows: Vec<Vec<String>> = survey
        .sites
        .iter()
        .take(SITES_LISTED)
        .map(|site| {
            vec![
                bytes(site.live.bytes as u64),
                percent(site.live.bytes as u64, sum as u64),
                count(site.live.chunks as u64),
                site.name.clone(),
            ]
        })
        .collect();
    let columns = [
        Column::Right("LIVE"),
        Column::Right(""),
        Column::Right("BLOCKS"),
        Column::Left("ALLOCATED AT, SINCE THE RECORDING BEGAN"),
    ];
    writeln!(out)?;
    for line in table::lines(&columns, &rows) {
        writeln!(out, "  {line}")?;
    }
    if survey.sites.len() > SITES_LISTED {
        writeln!(out, "  … and {} smaller ones", survey.sites.len() - SITES_LISTED)?;
    }
    Ok(())
}

/// Where walks stopped short: in a damaged heap that is where to look.
fn write_broken(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let broken = words::broken(survey);
    for (index, (arena, why)) in broken.iter().take(BROKEN_LISTED).enumerate() {
        if index == 0 {
            writeln!(out)?;
        }
        writeln!(out, "  arena {arena}: {why}")?;
    }
    if broken.len() > BROKEN_LISTED {
        writeln!(out, "  … and {} more", broken.len() - BROKEN_LISTED)?;
    }
    Ok(())
}

fn write_classes(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let all = survey.classes();
    let mapped = survey.heaps.mapped;
    let sum: usize = all.filled().map(|(_, held)| held.bytes).sum::<usize>() + mapped.bytes;
    let row = |name: String, held: Count| {
        vec![
            name,
            count(held.chunks as u64),
            bytes(held.bytes as u64),
            percent(held.bytes as u64, sum as u64),
        ]
    };
    let mut rows: Vec<_> =
        all.filled().map(|(class, held)| row(words::class(class), held)).collect();
    if mapped.chunks > 0 {
        rows.push(row("each its own mapping".into(), mapped));
    }
    let columns = [
        Column::Right("LIVE CHUNKS OF"),
        Column::Right("NUMBER"),
        Column::Right("BYTES"),
        Column::Right(""),
    ];
    writeln!(out)?;
    for line in table::lines(&columns, &rows) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// Words in lines.
pub fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
