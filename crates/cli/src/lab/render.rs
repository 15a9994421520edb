//! The lab as text: for 100 columns, and plain without colour.
//!
//! ```text
//! NAME: title
//!   the claim
//!   [whose it is]
//!
//!                            glibc                                Heapwise
//!   what was looked at       ok what was seen                     ok what was seen
//!   verdict                  holds                                holds
//!
//!   glibc
//!     system calls, maps, messages in full
//!   Heapwise
//!     the same
//! ```

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::Report;
use super::experiment::{Experiment, OnGlibc, Row, Verdict};
use super::outcome::Outcome;

const WIDTH: usize = 100;
/// Columns of the table: indent 2, then these, two blanks between.
const WHAT: usize = 26;
const SIDE: usize = 34;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = AnsiColor::Yellow.on_default();
const TITLE: Style = Style::new().bold();

/// One line an experiment.
pub fn list(out: &mut impl Write, experiments: &[&Experiment]) -> io::Result<()> {
    for experiment in experiments {
        writeln!(out, "{:<20} {}", experiment.name, experiment.title)?;
    }
    Ok(())
}

/// One experiment, both sides.
pub fn report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let experiment = report.experiment;
    writeln!(out, "{TITLE}{}{TITLE:#}: {}", experiment.name, experiment.title)?;
    for line in wrap(experiment.claim, WIDTH - 2) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  [{}]", experiment.article)?;
    writeln!(out)?;
    writeln!(out, "  {:WHAT$}  {:SIDE$}  Heapwise", "", "glibc")?;
    for (what, glibc, heapwise) in
        paired(&report.glibc.findings.rows, &report.heapwise.findings.rows)
    {
        row(out, what, glibc, heapwise)?;
    }
    verdicts(out, report)?;
    for (name, outcome) in [("glibc", &report.glibc), ("Heapwise", &report.heapwise)] {
        lines(out, name, outcome)?;
    }
    writeln!(out)
}

/// The last line.
pub fn summary(out: &mut impl Write, reports: &[Report]) -> io::Result<()> {
    let ours = |verdict| reports.iter().filter(|report| report.heapwise.verdict == verdict).count();
    let theirs = |verdict| reports.iter().filter(|report| report.glibc.verdict == verdict).count();
    let plural = if reports.len() == 1 { "" } else { "s" };
    write!(
        out,
        "{} experiment{plural}: {} hold on Heapwise, {} on glibc",
        reports.len(),
        ours(Verdict::Holds),
        theirs(Verdict::Holds)
    )?;
    let skipped = ours(Verdict::Skipped);
    if skipped > 0 {
        write!(out, "; {skipped} skipped here")?;
    }
    let failed: Vec<&str> = reports
        .iter()
        .filter(|r| r.heapwise.verdict == Verdict::Fails)
        .map(|r| r.experiment.name)
        .collect();
    if !failed.is_empty() {
        write!(out, "; {BAD}failed on Heapwise: {}{BAD:#}", failed.join(", "))?;
    }
    writeln!(out)
}

fn row(
    out: &mut impl Write,
    what: &str,
    glibc: Option<&Row>,
    heapwise: Option<&Row>,
) -> io::Result<()> {
    let cell = |row: Option<&Row>| row.map_or_else(Vec::new, |row| wrap(&row.saw, SIDE - 3));
    let held = |row: Option<&Row>| row.and_then(|row| row.held);
    let (whats, left, right) = (wrap(what, WHAT), cell(glibc), cell(heapwise));
    for index in 0..whats.len().max(left.len()).max(right.len()) {
        let text = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        let (mark_left, style_left) = mark(held(glibc), index);
        let (mark_right, style_right) = mark(held(heapwise), index);
        let line = format!(
            "  {:WHAT$}  {style_left}{mark_left}{style_left:#}{:rest$}  {style_right}{mark_right}{style_right:#}{}",
            text(&whats),
            text(&left),
            text(&right),
            rest = SIDE - 3
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn mark(held: Option<bool>, line: usize) -> (&'static str, Style) {
    match held {
        Some(true) if line == 0 => ("ok ", GOOD),
        Some(false) if line == 0 => ("NO ", BAD),
        _ => ("   ", Style::new()),
    }
}

fn verdicts(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let word = |verdict: Verdict, beyond: bool| match verdict {
        Verdict::Holds => ("holds", GOOD),
        Verdict::Fails if beyond => ("does not hold, as expected", FAINT),
        Verdict::Fails => ("DOES NOT HOLD", BAD),
        Verdict::Skipped => ("skipped", FAINT),
    };
    let (left, left_style) =
        word(report.glibc.verdict, report.experiment.on_glibc == OnGlibc::Fails);
    let (right, right_style) = word(report.heapwise.verdict, false);
    writeln!(
        out,
        "  {:WHAT$}  {left_style}{left:SIDE$}{left_style:#}  {right_style}{right}{right_style:#}",
        "verdict"
    )
}

fn lines(out: &mut impl Write, name: &str, outcome: &Outcome) -> io::Result<()> {
    let untraced = outcome.untraced.as_ref().map(|why| format!("system calls not seen: {why}"));
    let all = outcome.why.iter().chain(&untraced).chain(&outcome.findings.lines);
    for (index, line) in all.flat_map(|line| wrap(line, WIDTH - 4)).enumerate() {
        if index == 0 {
            writeln!(out, "\n  {name}")?;
        }
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

/// Rows of both sides by what they look at; a side that lacks a row leaves a gap.
fn paired<'a>(
    left: &'a [Row],
    right: &'a [Row],
) -> Vec<(&'a str, Option<&'a Row>, Option<&'a Row>)> {
    let mut pairs: Vec<(&str, Option<&Row>, Option<&Row>)> =
        left.iter().map(|row| (row.what.as_str(), Some(row), None)).collect();
    let mut from = 0;
    for row in right {
        match (from..pairs.len())
            .find(|&index| pairs[index].0 == row.what && pairs[index].2.is_none())
        {
            Some(index) => {
                pairs[index].2 = Some(row);
                from = index + 1;
            }
            None => {
                pairs.insert(from, (&row.what, None, Some(row)));
                from += 1;
            }
        }
    }
    pairs
}

/// Breaks at blanks; a word longer than a line is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        let mut word: &str = word;
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let used = line.chars().count();
            let needed = word.chars().count() + usize::from(used > 0);
            if used + needed <= width {
                if used > 0 {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if used == 0 {
                let cut = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..cut]);
                word = &word[cut..];
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_blanks_and_cuts_what_is_too_long() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn rows_of_both_sides_meet() {
        let row = |what: &str| Row { what: what.to_owned(), saw: String::new(), held: None };
        let (left, right) = ([row("a"), row("b"), row("b")], [row("b"), row("x"), row("b")]);
        let seen: Vec<(&str, bool, bool)> = paired(&left, &right)
            .into_iter()
            .map(|(what, l, r)| (what, l.is_some(), r.is_some()))
            .collect();
        assert_eq!(
            seen,
            [("a", true, false), ("b", true, true), ("x", false, true), ("b", true, true)]
        );
    }
}
