//! Runs on the simulated kernel as text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use heapwise_sim::script::Line;

use super::{Afterwards, Told};
use crate::units::{count, duration};

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// One script.
pub fn run(out: &mut impl Write, told: &Told) -> io::Result<()> {
    write!(out, "{TITLE}{}{TITLE:#}", told.name)?;
    match told.title {
        Some(title) => writeln!(out, ": {title}")?,
        None => writeln!(out)?,
    }
    for line in &told.run.lines {
        match line {
            Line::Said(words) => writeln!(out, "\n  {words}")?,
            Line::Did { text, ended, events, .. } => {
                writeln!(out, "    {text:<44} {ended}")?;
                for event in events {
                    writeln!(out, "{FAINT}      {event}{FAINT:#}")?;
                }
            }
            Line::Shown { title, text } => {
                writeln!(out, "    {FAINT}{title}{FAINT:#}")?;
                for line in text.lines() {
                    writeln!(out, "      {}", line.trim_end())?;
                }
            }
            Line::Checked { text, found, holds, .. } => {
                let (style, mark) = if *holds { (GOOD, "ok") } else { (BAD, "NO") };
                writeln!(out, "    {style}{mark}{style:#} {text:<41} {found}")?;
            }
        }
    }
    writeln!(out)
}

/// The last line.
pub fn summary(out: &mut impl Write, all: &[Told]) -> io::Result<()> {
    let checked: usize = all.iter().map(|told| told.run.checked()).sum();
    let failed: usize = all.iter().map(|told| told.run.failed()).sum();
    let steps: u64 = all.iter().map(|told| told.run.steps).sum();
    let time: u64 = all.iter().map(|told| told.run.time_ns).sum();
    let holds = checked - failed;
    write!(out, "{holds} of {checked} expectations hold; {} steps, ", count(steps))?;
    writeln!(out, "{} of simulated time", duration(time))
}

/// What a workload left.
pub fn workload(out: &mut impl Write, kind: &str, after: &Afterwards) -> io::Result<()> {
    for event in &after.events {
        writeln!(out, "{event}")?;
    }
    for (title, text) in &after.sections {
        writeln!(out, "{TITLE}{title}{TITLE:#}")?;
        for line in text.lines() {
            writeln!(out, "  {}", line.trim_end())?;
        }
        writeln!(out)?;
    }
    let rate = (after.steps as f64 / after.took_s.max(1e-9)) as u64;
    writeln!(
        out,
        "{kind}: {} steps, {} of simulated time, {} steps a second of this processor",
        count(after.steps),
        duration(after.time_ns),
        count(rate)
    )
}
