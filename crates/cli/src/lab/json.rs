//! The lab as one JSON document, schema `heapwise.lab/1`.
//!
//! ```text
//! schema, library, page_bytes, cores, kernel
//! experiments[]   name, title, article, claim, expected_on_glibc ("holds" | "fails"),
//!                 glibc, heapwise: verdict ("holds" | "fails" | "skipped"), why, traced,
//!                                  rows[] what, saw, held (true | false | null), lines[]
//! summary         experiments, glibc, heapwise: holds, fails, skipped
//! ```
//! Texts in `what`, `saw` and `lines` are for people and may change within the schema.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::Report;
use super::experiment::{OnGlibc, Row, Verdict};
use super::outcome::Outcome;
use super::probe::page_bytes;
use super::process::online_cores;

const SCHEMA: &str = "heapwise.lab/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    library: String,
    kernel: String,
    page_bytes: usize,
    cores: usize,
    experiments: Vec<Entry<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    title: &'a str,
    article: String,
    claim: &'a str,
    expected_on_glibc: Verdict,
    glibc: SideEntry<'a>,
    heapwise: SideEntry<'a>,
}

#[derive(Serialize)]
struct SideEntry<'a> {
    verdict: Verdict,
    why: Option<&'a str>,
    traced: bool,
    rows: &'a [Row],
    lines: &'a [String],
}

#[derive(Serialize)]
struct Summary {
    experiments: usize,
    glibc: Counts,
    heapwise: Counts,
}

#[derive(Serialize, Default)]
struct Counts {
    holds: usize,
    fails: usize,
    skipped: usize,
}

/// Writes the document.
pub fn document(out: &mut impl Write, library: &Path, reports: &[Report]) -> io::Result<()> {
    let document = Document {
        schema: SCHEMA,
        library: library.to_string_lossy().into_owned(),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        page_bytes: page_bytes(),
        cores: online_cores(),
        experiments: reports.iter().map(entry).collect(),
        summary: Summary {
            experiments: reports.len(),
            glibc: counts(reports.iter().map(|report| &report.glibc)),
            heapwise: counts(reports.iter().map(|report| &report.heapwise)),
        },
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn entry(report: &Report) -> Entry<'_> {
    let experiment = report.experiment;
    Entry {
        name: experiment.name,
        title: experiment.title,
        article: experiment.article.to_string(),
        claim: experiment.claim,
        expected_on_glibc: match experiment.on_glibc {
            OnGlibc::Holds => Verdict::Holds,
            OnGlibc::Fails => Verdict::Fails,
        },
        glibc: side(&report.glibc),
        heapwise: side(&report.heapwise),
    }
}

fn side(outcome: &Outcome) -> SideEntry<'_> {
    SideEntry {
        verdict: outcome.verdict,
        why: outcome.why.as_deref(),
        traced: outcome.untraced.is_none(),
        rows: &outcome.findings.rows,
        lines: &outcome.findings.lines,
    }
}

fn counts<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Counts {
    let mut counts = Counts::default();
    for outcome in outcomes {
        match outcome.verdict {
            Verdict::Holds => counts.holds += 1,
            Verdict::Fails => counts.fails += 1,
            Verdict::Skipped => counts.skipped += 1,
        }
    }
    counts
}
