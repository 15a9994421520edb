//! A job: one line of the tables, a workload with a thread count or a real program.

use crate::launch::{self, Usage};
use crate::peers::Peer;
use crate::places::target_folder;
use crate::programs::{self, Program};
use crate::workloads::{self, Idle, Threads, Workload};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a workload tells about itself when it ends, one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// The library whose malloc served it.
    pub library: String,
    /// The most resident memory, without what exec carried over.
    pub peak_bytes: u64,
    /// For the idle workloads.
    pub idle: Option<Idle>,
}

/// One run's figures.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Time, memory and faults.
    #[serde(flatten)]
    pub usage: Usage,
    /// For the idle workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// What to run.
pub enum Task {
    /// This executable again, with a workload.
    Synthetic {
        /// Which.
        workload: &'static Workload,
        /// Threads at once.
        threads: usize,
        /// 1 is full size.
        scale: f64,
    },
    /// A program of the machine.
    Real(Program),
}

/// A line of the tables.
pub struct Job {
    /// Its name there.
    pub name: String,
    /// What to run.
    pub task: Task,
}

/// The jobs of the synthetic workloads that `wanted` names (all if it is empty).
pub fn synthetic(wanted: impl Fn(&Workload) -> bool, threads: &[usize], scale: f64) -> Vec<Job> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut jobs = Vec::new();
    for workload in workloads::all().iter().filter(|workload| wanted(workload)) {
        let counts = match threads {
            [] => workload.threads.counts(cores),
            _ => threads.iter().copied().filter(|&n| workload.threads.allows(n)).collect(),
        };
        for &count in &counts {
            let name = if workload.threads == Threads::One {
                workload.name.to_owned()
            } else {
                format!("{}/{count}", workload.name)
            };
            jobs.push(Job { name, task: Task::Synthetic { workload, threads: count, scale } });
        }
    }
    jobs
}

impl Job {
    /// In a few words.
    pub fn about(&self) -> &'static str {
        match &self.task {
            Task::Synthetic { workload, .. } => workload.about,
            Task::Real(program) => program.about,
        }
    }

    /// Runs it once under `peer`.
    pub fn run(&self, peer: &Peer) -> Result<Sample> {
        let output = output_file(&self.name, &peer.name)?;
        match &self.task {
            Task::Synthetic { .. } => self.run_synthetic(peer, &output),
            Task::Real(program) => {
                Ok(Sample { usage: programs::run(program, peer, &output)?, idle: None })
            }
        }
    }

    /// The command that a tool like strace can be put in front of; none for servers.
    pub fn command(&self, peer: &Peer) -> Result<Option<Command>> {
        let mut command = self.bare_command()?;
        if let Some(command) = &mut command {
            preload(command, peer);
        }
        Ok(command)
    }

    /// As [`Job::command`], under whatever allocator it has of its own.
    pub fn bare_command(&self) -> Result<Option<Command>> {
        match &self.task {
            Task::Synthetic { workload, threads, scale } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["workload", workload.name]);
                command.args([
                    "--threads".into(),
                    threads.to_string(),
                    "--scale".into(),
                    scale.to_string(),
                ]);
                Ok(Some(command))
            }
            Task::Real(program) => programs::command(program),
        }
    }

    fn run_synthetic(&self, peer: &Peer, output: &Path) -> Result<Sample> {
        let mut command = self.command(peer)?.context("a workload has a command")?;
        // It says itself who serves it; a look from outside may come too late.
        let mut usage = launch::run(&mut command, None, output)?;
        let told: Told = serde_json::from_str(&std::fs::read_to_string(output)?)?;
        if !told.library.ends_with(&*peer.serving().to_string_lossy()) {
            bail!("malloc came from {}", told.library);
        }
        usage.peak_bytes = told.peak_bytes;
        Ok(Sample { usage, idle: told.idle })
    }
}

/// Has the loader put the peer's library first.
pub fn preload(command: &mut Command, peer: &Peer) {
    match &peer.library {
        Some(library) => command.env("LD_PRELOAD", library),
        None => command.env_remove("LD_PRELOAD"),
    };
}

fn output_file(job: &str, peer: &str) -> Result<PathBuf> {
    Ok(target_folder("bench-data")?.join(format!("out-{}-{peer}.txt", job.replace('/', "-"))))
}
