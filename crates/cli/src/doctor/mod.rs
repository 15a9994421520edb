//! `heapwise doctor`: is this machine fit?

mod machine;
mod preload;

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use crate::table::{self, Column};

/// Say whether this machine is fit for Heapwise
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Works, but figures or speed may suffer.
    Warn,
    /// Heapwise will not work here.
    Fail,
}

/// One line of the diagnosis.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it came out.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do about it; none when all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, grade: Grade::Ok, found: found.into(), remedy: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, grade: Grade::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, grade: Grade::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// The JSON form, `heapwise.doctor/1`.
#[derive(Serialize)]
struct Diagnosis<'a> {
    schema: &'static str,
    fit: bool,
    findings: &'a [Finding],
}

/// Examines and prints; exit code 1 if anything failed.
pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = machine::examine();
    findings.extend(preload::examine());
    let fit = findings.iter().all(|finding| finding.grade != Grade::Fail);

    let mut out = anstream::stdout();
    if args.json {
        let diagnosis = Diagnosis { schema: "heapwise.doctor/1", fit, findings: &findings };
        writeln!(out, "{}", serde_json::to_string_pretty(&diagnosis)?)?;
    } else {
        print(&findings, &mut out)?;
    }
    Ok(if fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &[Finding], out: &mut impl Write) -> std::io::Result<()> {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| vec![finding.check.to_owned(), finding.found.clone()])
        .collect();
    let lines = table::lines(&[Column::Left(""), Column::Left("")], &rows);
    for (finding, line) in findings.iter().zip(lines.iter().skip(1)) {
        let (word, style) = match finding.grade {
            Grade::Ok => ("ok  ", AnsiColor::Green.on_default()),
            Grade::Warn => ("warn", AnsiColor::Yellow.on_default()),
            Grade::Fail => ("fail", AnsiColor::Red.on_default().bold()),
        };
        writeln!(out, "{style}{word}{style:#}  {line}")?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "      → {remedy}")?;
        }
    }
    let number = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    const BOLD: Style = Style::new().bold();
    let verdict = match (number(Grade::Fail), number(Grade::Warn)) {
        (0, 0) => "this machine is fit".to_owned(),
        (0, warnings) => format!("this machine is fit, with {warnings} to look at"),
        (failures, _) => format!("this machine is not fit: {failures} failed"),
    };
    writeln!(out, "{BOLD}{verdict}{BOLD:#}")
}
