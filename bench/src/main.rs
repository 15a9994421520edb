//! `bench`: Heapwise against its peers, in one run, interleaved.
//!
//! ```text
//! main ── cli        jobs = workloads × threads + real programs      peers: a preloaded .so each
//!   │                  └─ campaign: round by round, A B C, B C A … ── warm ── launch: one run, checked, measured
//!   ├─ setup         gets and builds the peers
//!   ├─ guard         ratios of this run against bench/baseline.json
//!   ├─ overhead      profile and record against plain runs and heaptrack
//!   └─ results ──── table (Markdown) · JSON · svg
//! ```
//! A workload runs in this same executable, started again as `bench workload
//! NAME`: it calls malloc by name, so that the preloaded library serves it.

mod campaign;
mod cli;
mod goals;
mod guard;
mod heap;
mod job;
mod launch;
mod overhead;
mod peers;
mod places;
mod process;
mod programs;
mod random;
mod results;
mod setup;
mod stats;
mod svg;
mod syscalls;
mod table;
mod trace;
mod warm;
mod workloads;

use anyhow::{Context, Result, bail};
use clap::Parser;
use cli::{Cli, Command, Options};
use job::{Job, Task, Told};
use results::Results;
use std::process::ExitCode;

/// 1: a contestant failed, or something got worse; 2: the run itself could not be made.
fn main() -> ExitCode {
    run().unwrap_or_else(|why| {
        eprintln!("bench: {why:#}");
        ExitCode::from(2)
    })
}

fn run() -> Result<ExitCode> {
    let Cli { command, options } = Cli::parse();
    match command {
        Some(Command::Workload { name, threads, scale }) => workload(&name, threads, scale)?,
        Some(Command::Setup) => setup::run_setup()?,
        Some(Command::List) => list(),
        Some(Command::Record { name, command }) => trace::record(&name, &command)?,
        Some(Command::Report { files }) => report(&results::join(&files)?, &options)?,
        Some(Command::Overhead) => {
            let Options { only, reps, smoke, md, .. } = &options;
            let sound = overhead::run(only, (*reps).max(1), *smoke, md.as_deref())?;
            return Ok(ExitCode::from(u8::from(!sound)));
        }
        Some(Command::Guard { save }) => return run_guard(options, save),
        None => {
            let results = race(&options, |_| true, |_| true)?;
            report(&results, &options)?;
            let failed =
                results.cells.iter().any(|cell| cell.error.is_some() && cell.peer == peers::OURS);
            return Ok(ExitCode::from(u8::from(failed)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs in the child: does the work and tells about it.
fn workload(name: &str, threads: usize, scale: f64) -> Result<()> {
    let workload = workloads::find(name).with_context(|| format!("no workload {name}"))?;
    let idle = (workload.run)(&workloads::Load { threads, scale });
    let told = Told { library: heap::serving_library(), peak_bytes: process::peak_bytes(), idle };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

fn list() {
    for workload in workloads::all() {
        println!("{:<20} {}", workload.name, workload.about);
    }
    for program in programs::all() {
        println!("{:<20} {}", program.name, program.about);
    }
    for (name, _) in peers::KNOWN {
        println!("peer {name}");
    }
    println!("peer {} (where it is named)", peers::FLOOR);
}

/// Builds the library under test beside this program.
fn build_library() -> Result<()> {
    let profile = places::profile_folder()?;
    let target = profile.parent().context("target/release has a parent")?;
    let built = std::process::Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "libheapwise", "--target-dir"])
        .arg(target)
        .current_dir(places::workspace())
        .status()?;
    if !built.success() {
        bail!("libheapwise does not build");
    }
    Ok(())
}

/// Runs all jobs that the options and the filters leave.
fn race(
    options: &Options,
    synthetic: impl Fn(&workloads::Workload) -> bool,
    real: impl Fn(&programs::Program) -> bool,
) -> Result<Results> {
    if options.peers.is_empty() || options.peers.iter().any(|peer| peer == peers::OURS) {
        build_library()?;
    }
    let (chosen, mut missing) = peers::choose(&options.peers)?;
    for once in &options.once {
        let named = |(name, _): &peers::Missing| name == once;
        if !chosen.iter().any(|peer| peer.name == *once) && !missing.iter().any(named) {
            bail!("--once {once}: that peer is not to run");
        }
    }
    let scale = if options.smoke { 0.002 } else { options.scale };
    let reps = if options.smoke { 1 } else { options.reps.max(1) };
    let wanted = |name: &str, kind: &str| {
        options.only.is_empty() || options.only.iter().any(|only| only == name || only == kind)
    };
    for only in &options.only {
        let known = workloads::find(only).is_some()
            || programs::all().iter().any(|program| program.name == only);
        if !known && only != "synthetic" && only != "programs" {
            bail!("no workload or program {only}: see `bench list`");
        }
    }
    let mut jobs =
        job::synthetic(|w| synthetic(w) && wanted(w.name, "synthetic"), &options.threads, scale);
    for job in &jobs {
        // Unpacked here, not by the first peer.
        if let Some(name) = job.name.strip_prefix("trace-") {
            trace::unpacked_file(name)?;
        }
    }
    // Programs have one size; a smoke run keeps to a quick one.
    let quick = "lua";
    let programs = programs::all().iter().filter(|p| real(p) && wanted(p.name, "programs"));
    for program in programs.filter(|p| !options.smoke || p.name == quick) {
        match programs::prepare(program) {
            Ok(()) => jobs.push(Job { name: program.name.to_owned(), task: Task::Real(*program) }),
            Err(why) => missing.push((program.name.to_owned(), format!("{why:#}"))),
        }
    }
    if jobs.is_empty() && missing.is_empty() {
        bail!("nothing to run: no workload that was chosen can have these thread counts");
    }
    let cells = campaign::run(&jobs, &chosen, reps, &options.once, options.syscalls);
    Ok(Results::new(&chosen, missing, &jobs, cells))
}

fn report(results: &Results, options: &Options) -> Result<()> {
    let text = table::markdown(results);
    println!("{text}");
    if let Some(file) = &options.md {
        std::fs::write(file, &text)?;
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(results)?)?;
    }
    if let Some(folder) = &options.svg {
        svg::write(results, folder)?;
    }
    Ok(())
}

fn run_guard(mut options: Options, save: bool) -> Result<ExitCode> {
    options.peers = guard::peers();
    options.scale *= guard::SCALE;
    let results = race(&options, |workload| workload.guard, |program| program.guard)?;
    report(&results, &options)?;
    if save {
        guard::save(&results)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(u8::from(guard::compare(&results)? > 0)))
}
