//! What an experiment is, and the words for what it found.
//!
//! ```text
//! Experiment ── child(&mut Probe) ──► notes ──► Run ── judge(&Run) ──► Findings ──► Verdict
//!               in the child process            in the parent           rows, lines
//! ```
//! The same child and the same judge serve both sides. A judge states what is
//! claimed exactly and leaves open what is not: addresses, the order of
//! mappings, calls that the claim does not speak of.

use std::fmt;

use serde::Serialize;

use super::harness::Run;
use super::probe::Probe;
use super::tracer::Call;

/// The articles whose claims the lab tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Article {
    /// On the 132 KiB of `malloc(1)` and why both brk and mmap exist.
    WhyMallocPreAllocates,
    /// On what happens at the border between malloc and the kernel.
    SystemCallBoundary,
    /// The two ways to get memory, and glibc's policy over them.
    BrkVsMmap,
    /// Study notes on the break and mappings.
    StudyNotes,
    /// On chunks, bins, arenas, and programs to try.
    TheAllocator,
}

impl fmt::Display for Article {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WhyMallocPreAllocates => "Why malloc pre-allocates memory",
            Self::SystemCallBoundary => "malloc at the system call boundary",
            Self::BrkVsMmap => "brk vs mmap: two ways to get memory",
            Self::StudyNotes => "Linux memory allocation (study notes)",
            Self::TheAllocator => "The allocator: what malloc really does",
        })
    }
}

/// What to expect of glibc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGlibc {
    /// The claim describes glibc.
    Holds,
    /// We go beyond glibc here.
    Fails,
}

/// One experiment.
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line on what it shows.
    pub title: &'static str,
    /// Whose claim it is.
    pub article: Article,
    /// The claim, in our words.
    pub claim: &'static str,
    /// Environment of the child.
    pub env: &'static [(&'static str, &'static str)],
    /// What to expect of glibc.
    pub on_glibc: OnGlibc,
    /// Runs in the child, before anybody else has allocated.
    pub child: fn(&mut Probe),
    /// Runs in the parent.
    pub judge: fn(&Run) -> Result<Findings, Missing>,
}

/// Why a judge cannot judge: the child ended before it noted something.
#[derive(Debug)]
pub struct Missing(pub String);

/// One line of a side's table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub saw: String,
    /// Whether that is as claimed; `None` where nothing is claimed or it could not be seen.
    pub held: Option<bool>,
}

/// What one side showed.
#[derive(Debug, Default)]
pub struct Findings {
    pub rows: Vec<Row>,
    /// System calls, maps lines and messages worth seeing in full.
    pub lines: Vec<String>,
    /// The experiment is meant to end its process, and how it did is among the rows.
    pub ends_early: bool,
    /// The claim is about system calls, and they were not seen.
    pub unseen: bool,
}

impl Findings {
    pub fn new() -> Self {
        Self::default()
    }

    /// A row on which the verdict depends.
    pub fn check(&mut self, what: &str, saw: impl fmt::Display, held: bool) {
        self.push(what, saw, Some(held));
    }

    /// A row that is only shown.
    pub fn show(&mut self, what: &str, saw: impl fmt::Display) {
        self.push(what, saw, None);
    }

    /// The claim is about system calls: without the tracer there is no verdict.
    pub fn needs_calls(&mut self, run: &Run) {
        self.unseen = run.untraced.is_some();
    }

    /// A row judged by system calls; shown as unseen where tracing is forbidden.
    pub fn check_calls<'a>(
        &mut self,
        what: &str,
        calls: Option<Vec<&'a Call>>,
        judge: impl FnOnce(&[&'a Call]) -> bool,
    ) {
        match calls {
            Some(calls) => self.push(what, summary(&calls), Some(judge(&calls))),
            None => self.push(what, "not traced", None),
        }
    }

    /// A line shown in full.
    pub fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Calls shown in full, the middle of a long list left out.
    pub fn lines_of(&mut self, calls: Option<Vec<&Call>>) {
        const SHOWN: usize = 8;
        let calls = calls.unwrap_or_default();
        if calls.len() <= SHOWN {
            self.lines.extend(calls.iter().map(|call| call.text()));
        } else {
            self.lines.extend(calls[..SHOWN - 3].iter().map(|call| call.text()));
            self.lines.push(format!("… {} more calls …", calls.len() - (SHOWN - 1)));
            self.lines.extend(calls[calls.len() - 2..].iter().map(|call| call.text()));
        }
    }

    fn push(&mut self, what: &str, saw: impl fmt::Display, held: Option<bool>) {
        self.rows.push(Row { what: what.to_owned(), saw: saw.to_string(), held });
    }
}

/// What to say of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every checked row is as claimed.
    Holds,
    /// One is not, or the child did not get that far.
    Fails,
    /// The machine cannot run it: neither a pass nor a failure.
    Skipped,
}

/// "brk 2, mmap 1", in the order of first appearance; "none" for none.
pub fn summary(calls: &[&Call]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for call in calls {
        match counts.iter_mut().find(|(name, _)| *name == call.name) {
            Some((_, count)) => *count += 1,
            None => counts.push((call.name, 1)),
        }
    }
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(name, count)| format!("{count} × {name}")).collect::<Vec<_>>().join(", ")
}

/// A size as people write it: "132 KiB" where it is exactly that, else "10.2 MiB".
pub fn size(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = |power: usize| 1_usize << (10 * power);
    let power = (0..UNITS.len()).rev().find(|&power| bytes >= unit(power)).unwrap_or(0);
    if bytes.is_multiple_of(unit(power)) {
        format!("{} {}", bytes / unit(power), UNITS[power])
    } else if bytes < 10 * unit(power) && bytes.is_multiple_of(unit(power - 1)) {
        format!("{} {}", bytes / unit(power - 1), UNITS[power - 1])
    } else {
        format!("{:.1} {}", bytes as f64 / unit(power) as f64, UNITS[power])
    }
}

/// The difference of two sizes, with its sign.
pub fn change(before: usize, after: usize) -> String {
    if after >= before {
        format!("+{}", size(after - before))
    } else {
        format!("−{}", size(before - after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_where_they_can_be() {
        let shown = [
            0,
            1000,
            4096,
            135_168,
            1 << 20,
            1_052_672,
            135_072,
            10_700_000,
            1 << 30,
            45_810_000_000_000,
        ]
        .map(size);
        assert_eq!(
            shown,
            [
                "0 B",
                "1000 B",
                "4 KiB",
                "132 KiB",
                "1 MiB",
                "1028 KiB",
                "131.9 KiB",
                "10.2 MiB",
                "1 GiB",
                "41.7 TiB"
            ]
        );
        assert_eq!(change(4096, 0), "−4 KiB");
    }
}
