//! What profiling and recording cost: each program plain, profiled, recorded and under heaptrack,
//! in turns; and whether a profile's totals agree with the exact record.

use crate::job::{self, Job, Task};
use crate::launch::{self, Usage};
use crate::places::{profile_folder, target_folder, workspace};
use crate::programs;
use crate::stats::Spread;
use crate::table;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs of the comparison, and a multi-threaded one in Rust.
const PROGRAMS: [&str; 4] = ["redis", "python", "gcc", "sqlite3"];
const WORKLOAD: &str = "collections";

/// A way to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// On our heap, nothing else.
    Plain,
    /// Sampled, a sample each 512 KiB on average.
    Profile,
    /// Every call.
    Record,
    /// On the malloc that it comes with, nothing else: what heaptrack builds on.
    Own,
    /// Every call and its stack, by heaptrack.
    Heaptrack,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Profile => "profile",
            Self::Record => "record",
            Self::Own => "own",
            Self::Heaptrack => "heaptrack",
        }
    }

    /// What it is compared with.
    fn base(self) -> Self {
        if self == Self::Heaptrack { Self::Own } else { Self::Plain }
    }
}

/// One program in all modes.
#[derive(Debug, Serialize)]
pub struct Row {
    program: String,
    /// Runs by mode, round by round.
    runs: Vec<(Mode, Vec<Usage>)>,
    totals: Option<Totals>,
    error: Option<String>,
}

/// A profile against the exact record of another run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Totals {
    exact_bytes: f64,
    exact_blocks: f64,
    estimated_bytes: f64,
    samples: f64,
    trace_bytes: f64,
    events: f64,
}

impl Totals {
    /// Standard error of the estimate, as a part of it: samples are a Poisson process.
    fn error(&self) -> f64 {
        1.0 / self.samples.max(1.0).sqrt()
    }

    /// How many standard errors the estimate is off.
    fn deviation(&self) -> f64 {
        (self.estimated_bytes / self.exact_bytes - 1.0) / self.error()
    }
}

/// Runs all and prints the tables; false if something failed, or a total was far off.
pub fn run(only: &[String], rounds: usize, smoke: bool, md: Option<&Path>) -> Result<bool> {
    let heapwise = build_command()?;
    let heaptrack = Path::new("/usr/bin/heaptrack");
    let mut modes = vec![Mode::Plain, Mode::Profile, Mode::Record];
    if heaptrack.exists() {
        modes.extend([Mode::Own, Mode::Heaptrack]);
    }
    let scale = if smoke { 0.01 } else { 1.0 };
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut jobs = Vec::new();
    for name in PROGRAMS.into_iter().filter(|name| !smoke && wanted(name)) {
        let program = programs::all().iter().find(|program| program.name == name);
        let program = program.with_context(|| format!("no program {name}"))?;
        match programs::prepare(program) {
            Ok(()) => jobs.push(Job { name: name.to_owned(), task: Task::Real(*program) }),
            Err(why) => eprintln!("{name}: left out: {why:#}"),
        }
    }
    if wanted(WORKLOAD) {
        jobs.extend(job::synthetic(|w| w.name == WORKLOAD, &[], scale));
    }
    let rounds = if smoke { 1 } else { rounds };
    let mut rows = Vec::new();
    for job in &jobs {
        rows.push(measure(job, &modes, rounds, &heapwise));
        // A long run that is broken off leaves what it has.
        if let Some(file) = md {
            std::fs::write(file, report(&rows, &modes, rounds, heaptrack.exists()))?;
        }
    }
    println!("{}", report(&rows, &modes, rounds, heaptrack.exists()));
    let sound = |row: &Row| {
        row.error.is_none() && row.totals.is_some_and(|totals| totals.deviation().abs() < 5.0)
    };
    Ok(rows.iter().all(sound))
}

/// Builds the command beside this program; its path.
fn build_command() -> Result<PathBuf> {
    let profile = profile_folder()?;
    let target = profile.parent().context("target/release has a parent")?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "heapwise-cli", "--target-dir"])
        .arg(target)
        .current_dir(workspace())
        .status()?;
    if !built.success() {
        bail!("the command does not build");
    }
    Ok(target.join("release/heapwise"))
}

fn measure(job: &Job, modes: &[Mode], rounds: usize, heapwise: &Path) -> Row {
    let mut row = Row {
        program: job.name.clone(),
        runs: modes.iter().map(|&mode| (mode, Vec::new())).collect(),
        totals: None,
        error: None,
    };
    let mut work = || -> Result<()> {
        for round in 0..rounds {
            for (mode, runs) in &mut row.runs {
                eprintln!("{} {} {}/{rounds}", job.name, mode.name(), round + 1);
                runs.push(run_once(job, *mode, heapwise)?);
            }
        }
        row.totals = Some(totals(heapwise)?);
        Ok(())
    };
    row.error = work().err().map(|why| format!("{why:#}"));
    row
}

/// The file that a mode writes.
fn trace(mode: Mode) -> Result<PathBuf> {
    Ok(target_folder("bench-data")?.join(format!("overhead-{}.hwt", mode.name())))
}

fn run_once(job: &Job, mode: Mode, heapwise: &Path) -> Result<Usage> {
    let file = trace(mode)?;
    let mut front: Vec<OsString> = Vec::new();
    let mut ours = |words: &[&str]| {
        front.push(heapwise.into());
        front.extend(words.iter().map(Into::into));
    };
    match mode {
        Mode::Plain => ours(&["run"]),
        Mode::Profile => ours(&["run", "--profile", "-o"]),
        Mode::Record => ours(&["record", "-o"]),
        Mode::Own => {}
        Mode::Heaptrack => front.extend(["/usr/bin/heaptrack".into(), "-o".into()]),
    }
    if !matches!(mode, Mode::Plain | Mode::Own) {
        front.push(file.into());
    }
    if !matches!(mode, Mode::Own | Mode::Heaptrack) {
        front.push("--".into());
    }
    let output = target_folder("bench-data")?.join("overhead.txt");
    match &job.task {
        Task::Real(program) if program.is_server() => {
            programs::serve(|server| behind(&front, &server), &output)
        }
        _ => {
            let command = job.bare_command()?.context("not a server")?;
            launch::run(&mut behind(&front, &command), None, &output)
        }
    }
}

/// `command` with other words in front of it; the same without any.
fn behind(front: &[OsString], command: &Command) -> Command {
    let mut words = front
        .iter()
        .map(OsString::as_os_str)
        .chain([command.get_program()])
        .chain(command.get_args());
    let mut whole = Command::new(words.next().unwrap_or_default());
    whole.args(words).env_remove("LD_PRELOAD");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        whole.current_dir(folder);
    }
    whole
}

/// What the last profile and the last record say.
fn totals(heapwise: &Path) -> Result<Totals> {
    let sites = |mode: Mode| -> Result<serde_json::Value> {
        let mut command = Command::new(heapwise);
        let told = command.args(["profile", "--format", "json"]).arg(trace(mode)?).output()?;
        Ok(serde_json::from_slice(&told.stdout)?)
    };
    let (exact, estimated) = (sites(Mode::Record)?, sites(Mode::Profile)?);
    let number = |json: &serde_json::Value, name: &str| {
        json[name].as_f64().with_context(|| format!("no {name} in a profile"))
    };
    let record = trace(Mode::Record)?;
    let mut timeline = Command::new(heapwise);
    let told = timeline.args(["timeline", "--json", "--limit", "0"]).arg(&record).output()?;
    let timeline: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    Ok(Totals {
        exact_bytes: number(&exact, "allocated_bytes")?,
        exact_blocks: number(&exact, "allocated_blocks")?,
        estimated_bytes: number(&estimated, "allocated_bytes")?,
        samples: number(&estimated, "samples")?,
        trace_bytes: std::fs::metadata(&record)?.len() as f64,
        events: number(&timeline, "allocations")? + number(&timeline, "frees")?,
    })
}

fn report(rows: &[Row], modes: &[Mode], rounds: usize, heaptrack: bool) -> String {
    let mut text = format!("{}; `bench overhead`, {rounds} rounds\n", crate::results::machine());
    type Of = fn(&Usage) -> f64;
    let figures: [(&str, Of); 2] = [
        ("CPU time, the recorder's included", |usage| usage.cpu_seconds),
        ("Wall time", |usage| usage.wall_seconds),
    ];
    for (what, of) in figures {
        let _ = writeln!(
            text,
            "\n## {what}: ratio of medians, in brackets the least and the largest of a round\n"
        );
        let shown = modes.iter().filter(|mode| !matches!(mode, Mode::Plain | Mode::Own));
        let names = shown.clone().map(|mode| format!("{} / {}", mode.name(), mode.base().name()));
        let head: Vec<String> =
            ["program".to_owned(), "plain".to_owned()].into_iter().chain(names).collect();
        let cells = rows.iter().map(|row| {
            let plain = row.spread(Mode::Plain, of).map(|s| format!("{:.2} s", s.median));
            [row.program.clone(), plain.unwrap_or("–".into())]
                .into_iter()
                .chain(shown.clone().map(|&mode| row.ratio(mode, of).unwrap_or("–".into())))
                .collect()
        });
        table::table(&mut text, &head, &cells.collect::<Vec<_>>());
    }
    text.push_str("## A profile's total against the exact record of another run\n\n");
    let head = [
        "program",
        "allocated",
        "blocks",
        "estimated",
        "off by",
        "samples",
        "standard error",
        "events",
        "bytes an event",
    ];
    let cells = rows.iter().filter_map(|row| {
        let totals = row.totals?;
        Some(vec![
            row.program.clone(),
            format!("{:.0} MiB", totals.exact_bytes / 1048576.0),
            format!("{:.0}", totals.exact_blocks),
            format!("{:.0} MiB", totals.estimated_bytes / 1048576.0),
            format!("{:+.1} %", 100.0 * (totals.estimated_bytes / totals.exact_bytes - 1.0)),
            format!("{:.0}", totals.samples),
            format!("{:.1} %", 100.0 * totals.error()),
            format!("{:.1} M", totals.events / 1e6),
            format!("{:.1}", totals.trace_bytes / totals.events),
        ])
    });
    table::table(&mut text, &head.map(str::to_owned), &cells.collect::<Vec<_>>());
    if !heaptrack {
        text.push_str("- heaptrack: left out: /usr/bin/heaptrack is missing\n");
    }
    for row in rows {
        if let Some(why) = &row.error {
            let _ = writeln!(text, "- {}: {why}", row.program);
        }
    }
    text
}

impl Row {
    fn of(&self, mode: Mode) -> &[Usage] {
        self.runs.iter().find(|(m, _)| *m == mode).map_or(&[], |(_, runs)| runs)
    }

    fn spread(&self, mode: Mode, of: fn(&Usage) -> f64) -> Option<Spread> {
        Spread::of(self.of(mode).iter().map(of))
    }

    fn ratio(&self, mode: Mode, of: fn(&Usage) -> f64) -> Option<String> {
        let base = mode.base();
        let ratio = self.spread(mode, of)?.median / self.spread(base, of)?.median;
        let rounds = self.of(mode).iter().zip(self.of(base));
        let spread = Spread::of(rounds.map(|(run, base)| of(run) / of(base)))?;
        Some(format!("{ratio:.2} ({:.2}–{:.2})", spread.min, spread.max))
    }
}
