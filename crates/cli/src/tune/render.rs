//! What the search found: the table, the verdict with its reason, lines to paste, and
//! `heapwise.tune/1`.

use std::io::{self, Write};
use std::path::Path;

use heapwise_malloc::tunables::Setting;
use heapwise_replay::Script;
use serde_json::{Value, json};

use super::candidates::Candidate;
use super::judge::{Confirmed, Verdict, front};
use super::search::Found;
use super::{Goal, Whose};
use crate::replay::render::with_radius;
use crate::replay::session::Spread;
use crate::table::{self, Column};
use crate::units::{bytes, count, duration};

/// What was searched for.
pub struct Shown<'a> {
    /// The trace.
    pub file: &'a Path,
    /// Its script.
    pub script: &'a Script,
    /// Whose settings.
    pub whose: Whose,
    /// To what end.
    pub goal: Goal,
}

/// The text.
pub fn write(
    shown: &Shown<'_>,
    found: &Found,
    verdict: &Verdict,
    out: &mut impl Write,
) -> io::Result<()> {
    let malloc = malloc(shown.whose);
    writeln!(out, "heapwise tune: {}, settings of {malloc}", shown.file.display())?;
    writeln!(out, "  recorded     {}", shown.script.original.command.join(" "))?;
    writeln!(
        out,
        "  held         {} on average, {} at most, by {} thread{}",
        bytes(shown.script.live_mean_bytes),
        bytes(shown.script.live_peak_bytes),
        shown.script.threads,
        if shown.script.threads == 1 { "" } else { "s" },
    )?;
    writeln!(out, "  tried        {} settings once", count(found.swept.len() as u64))?;
    writeln!(out)?;
    if found.confirmed.is_empty() {
        write_swept(found, out)?;
    } else {
        write_confirmed(found, verdict, out)?;
    }
    writeln!(out)?;
    match verdict {
        Verdict::Unknown => writeln!(out, "Too little is known to recommend anything."),
        Verdict::Defaults => writeln!(
            out,
            "The defaults are best: nothing gave {} by more than the runs spread, or only for \
             too much {}.",
            wanted(shown.goal).0,
            wanted(shown.goal).1,
        ),
        Verdict::Take { index, rss_ratio, cpu_ratio } => {
            let candidate = &found.confirmed[*index].candidate;
            writeln!(
                out,
                "Recommended: {}. Mean RSS {}, processor time {}.",
                candidate.name(),
                change(*rss_ratio),
                change(*cpu_ratio)
            )?;
            for choice in &candidate.0 {
                writeln!(out, "  {}", why(choice.setting, shown.whose))?;
            }
            writeln!(out)?;
            for line in lines(candidate, shown.whose) {
                writeln!(out, "  {line}")?;
            }
            Ok(())
        }
    }?;
    if let (Some(ours), Some(defaults)) = (&found.ours, defaults(found)) {
        let part = |own: Spread, of: Spread| change(own.over(of));
        writeln!(
            out,
            "\nOn Heapwise with its defaults (heapwise run -- …): mean RSS {}, {}; processor time {}, \
             {}.",
            with_radius(ours.mean_rss, bytes),
            part(ours.mean_rss, defaults.mean_rss),
            with_radius(ours.cpu, duration),
            part(ours.cpu, defaults.cpu),
        )?;
    }
    Ok(())
}

fn defaults(found: &Found) -> Option<&Confirmed> {
    found.confirmed.iter().find(|confirmed| confirmed.candidate.0.is_empty())
}

fn write_confirmed(found: &Found, verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    let front = front(&found.confirmed);
    let mut order: Vec<usize> = (0..found.confirmed.len()).collect();
    order.sort_by(|&a, &b| {
        found.confirmed[a].mean_rss.median.total_cmp(&found.confirmed[b].mean_rss.median)
    });
    let rows: Vec<Vec<String>> = order
        .into_iter()
        .map(|index| {
            let confirmed = &found.confirmed[index];
            let is_taken = matches!(verdict, Verdict::Take { index: taken, .. } if *taken == index);
            let mark = match (is_taken, front.contains(&index)) {
                (true, _) => "=>",
                (false, true) => "*",
                (false, false) => "",
            };
            vec![
                mark.into(),
                confirmed.candidate.name(),
                with_radius(confirmed.mean_rss, bytes),
                with_radius(confirmed.peak_rss, bytes),
                with_radius(confirmed.cpu, duration),
                confirmed.runs.to_string(),
            ]
        })
        .collect();
    let columns = [
        Column::Left(""),
        Column::Left("SETTINGS"),
        Column::Right("MEAN RSS"),
        Column::Right("PEAK RSS"),
        Column::Right("CPU"),
        Column::Right("RUNS"),
    ];
    for line in table::lines(&columns, &rows) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "*  on the front: nothing is better in both mean RSS and CPU")
}

fn write_swept(found: &Found, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Vec<String>> = found
        .swept
        .iter()
        .map(|swept| {
            vec![
                swept.candidate.name(),
                bytes(swept.figures.rss_mean_bytes),
                bytes(swept.figures.rss_peak_bytes),
                duration(swept.figures.cpu_ns()),
            ]
        })
        .collect();
    let columns = [
        Column::Left("SETTINGS, ONE RUN"),
        Column::Right("MEAN RSS"),
        Column::Right("PEAK RSS"),
        Column::Right("CPU"),
    ];
    for line in table::lines(&columns, &rows) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn malloc(whose: Whose) -> &'static str {
    match whose {
        Whose::Glibc => "glibc",
        Whose::Heapwise => "heapwise",
    }
}

/// What is wanted, and what is paid with.
fn wanted(goal: Goal) -> (&'static str, &'static str) {
    match goal {
        Goal::Memory => ("less memory", "processor time"),
        Goal::Cpu => ("less processor time", "memory"),
    }
}

/// "−34 % (−36 to −31)": the middle, and between which bounds the runs lie.
fn change(ratio: Spread) -> String {
    let percent = |ratio: f64| match ((ratio - 1.0) * 100.0).round() {
        0.0 => "0".into(),
        percent => format!("{percent:+.0}").replace('-', "−"),
    };
    let [middle, least, most] = [ratio.median, ratio.least, ratio.most].map(percent);
    if least == most { format!("{middle} %") } else { format!("{middle} % ({least} to {most})") }
}

/// Why a setting can help.
fn why(setting: Setting, whose: Whose) -> &'static str {
    match (setting, whose) {
        (Setting::ArenaMax, _) => {
            "arena_max: each arena keeps what its threads once needed; fewer arenas share it, and \
             threads wait for each other instead"
        }
        (Setting::MmapThreshold, Whose::Glibc) => {
            "mmap_threshold: blocks of this size on get mappings of their own and go back at free; set \
             by hand it stays, by itself it drifts up to the largest block freed, up to 32 MiB"
        }
        (Setting::MmapThreshold, Whose::Heapwise) => {
            "mmap_threshold: blocks of this size on get mappings of their own and go back at free"
        }
        (Setting::TrimThreshold, Whose::Glibc) => {
            "trim_threshold: the top goes back from this size on; set by hand it and the mmap \
             threshold stay where they are"
        }
        (Setting::TrimThreshold, Whose::Heapwise) => {
            "trim_threshold: the top goes back from this size on"
        }
        (Setting::TopPad, _) => {
            "top_pad: asked for beyond the need at each growth: calls against memory"
        }
        (Setting::CacheCount, _) => "cache_count: chunks that a thread keeps of each size",
        (Setting::CacheBytes, _) => {
            "cache_bytes: what a thread may keep ready: locks against memory"
        }
        (Setting::MxFast, _) => "mxfast: chunks in fastbins are not merged with their neighbours",
        (Setting::PurgeHelper, _) => {
            "purge_helper: who gives back what has been free for half a second"
        }
        (Setting::Purge | Setting::PurgeBudget, _) => {
            "purge: free pages in the middle of heaps go back, and cost a fault when they come again"
        }
        _ => "",
    }
}

/// Ready to paste.
fn lines(candidate: &Candidate, whose: Whose) -> Vec<String> {
    let joined = |variables: Vec<(String, String)>| {
        let all = variables.into_iter().map(|(name, value)| format!("{name}={value}"));
        all.collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    if whose == Whose::Glibc {
        lines.extend(candidate.tunables().map(|(name, value)| format!("{name}={value}")));
        lines.extend(candidate.malloc_variables().map(joined));
    } else {
        lines.push(joined(candidate.variables()));
    }
    lines.extend(candidate.mallopt().map(|calls| format!("{calls}  /* #include <malloc.h> */")));
    lines
}

/// The object.
pub fn object(shown: &Shown<'_>, found: &Found, verdict: &Verdict) -> Value {
    let front = front(&found.confirmed);
    let confirmed: Vec<Value> = found
        .confirmed
        .iter()
        .enumerate()
        .map(|(index, one)| with_front(confirmed_object(one), front.contains(&index)))
        .collect();
    let recommended = match verdict {
        Verdict::Take { index, rss_ratio, cpu_ratio } => {
            let candidate = &found.confirmed[*index].candidate;
            json!({
                "settings": candidate.name(),
                "rss_ratio": rss_ratio.median,
                "rss_ratio_range": [rss_ratio.least, rss_ratio.most],
                "cpu_ratio": cpu_ratio.median,
                "cpu_ratio_range": [cpu_ratio.least, cpu_ratio.most],
                "why": candidate.0.iter().map(|c| why(c.setting, shown.whose)).collect::<Vec<_>>(),
                "lines": lines(candidate, shown.whose),
            })
        }
        _ => Value::Null,
    };
    json!({
        "schema": "heapwise.tune/1",
        "file": shown.file.display().to_string(),
        "command": shown.script.original.command,
        "malloc": malloc(shown.whose),
        "verdict": match verdict {
            Verdict::Take { .. } => "take",
            Verdict::Defaults => "defaults",
            Verdict::Unknown => "unknown",
        },
        "recommended": recommended,
        "interrupted": found.interrupted,
        "confirmed": confirmed,
        "heapwise": found.ours.as_ref().map(confirmed_object),
        "swept": found.swept.iter().map(|swept| json!({
            "settings": swept.candidate.name(),
            "rss_mean_bytes": swept.figures.rss_mean_bytes,
            "rss_peak_bytes": swept.figures.rss_peak_bytes,
            "cpu_ns": swept.figures.cpu_ns(),
        })).collect::<Vec<_>>(),
    })
}

fn with_front(mut object: Value, on_front: bool) -> Value {
    object["on_front"] = json!(on_front);
    object
}

fn confirmed_object(confirmed: &Confirmed) -> Value {
    let spread = |spread: Spread| json!({ "median": spread.median, "min": spread.least, "max": spread.most });
    json!({
        "settings": confirmed.candidate.name(),
        "runs": confirmed.runs,
        "rss_mean_bytes": spread(confirmed.mean_rss),
        "rss_peak_bytes": spread(confirmed.peak_rss),
        "cpu_ns": spread(confirmed.cpu),
    })
}
