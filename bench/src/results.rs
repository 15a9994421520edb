//! The results of a run as one document: schema "heapwise.bench/1".

use crate::campaign::Cell;
use crate::peers::{Missing, Peer, REFERENCE};
use crate::stats::geometric_mean;
use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What the document is.
pub const SCHEMA: &str = "heapwise.bench/1";

/// Everything a run found out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The processor, the kernel, the number of cores.
    pub machine: String,
    /// The command line that made it.
    pub command: String,
    /// The allocators that ran.
    pub peers: Vec<String>,
    /// The peers and programs that could not, and why.
    pub missing: Vec<Missing>,
    /// The jobs, in order, with what they are.
    pub jobs: Vec<(String, String)>,
    /// All figures.
    pub cells: Vec<Cell>,
}

/// Which figure a ratio is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// CPU time.
    Cpu,
    /// Peak resident memory.
    Peak,
}

impl Figure {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Cpu => "CPU time",
            Figure::Peak => "peak RSS",
        }
    }
}

/// Several stored runs as one. Of a job that is in several of them the last counts.
pub fn join(files: &[std::path::PathBuf]) -> anyhow::Result<Results> {
    let mut all: Option<Results> = None;
    for file in files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let next: Results = serde_json::from_str(&text)
            .with_context(|| format!("{} is no stored run", file.display()))?;
        let Some(all) = &mut all else {
            all = Some(next);
            continue;
        };
        all.cells.retain(|cell| next.jobs.iter().all(|(name, _)| *name != cell.job));
        all.jobs.retain(|job| next.jobs.iter().all(|(name, _)| *name != job.0));
        let new = |peer: &String| !all.peers.contains(peer);
        let peers: Vec<String> = next.peers.into_iter().filter(new).collect();
        all.peers.extend(peers);
        let missing: Vec<Missing> =
            next.missing.into_iter().filter(|entry| !all.missing.contains(entry)).collect();
        all.missing.extend(missing);
        all.jobs.extend(next.jobs);
        all.cells.extend(next.cells);
    }
    all.context("no stored run")
}

impl Results {
    /// Assembles the document.
    pub fn new(
        peers: &[Peer],
        missing: Vec<Missing>,
        jobs: &[crate::job::Job],
        cells: Vec<Cell>,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            machine: machine(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            peers: peers.iter().map(|peer| peer.name.clone()).collect(),
            missing,
            jobs: jobs.iter().map(|job| (job.name.clone(), job.about().to_owned())).collect(),
            cells,
        }
    }

    /// One job under one peer, if it ran to its end.
    pub fn cell(&self, job: &str, peer: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.job == job && cell.peer == peer && cell.error.is_none())
    }

    /// A median.
    pub fn median(&self, job: &str, peer: &str, figure: Figure) -> Option<f64> {
        let cell = self.cell(job, peer)?;
        let spread = match figure {
            Figure::Cpu => cell.cpu(),
            Figure::Peak => cell.peak(),
        };
        spread.map(|spread| spread.median).filter(|median| *median > 0.0)
    }

    /// A median over another peer's.
    pub fn ratio(&self, job: &str, peer: &str, to: &str, figure: Figure) -> Option<f64> {
        Some(self.median(job, peer, figure)? / self.median(job, to, figure)?)
    }

    /// What ratios refer to: the reference, or the first peer where it did not run.
    pub fn reference(&self) -> &str {
        if self.peers.iter().any(|peer| peer == REFERENCE) { REFERENCE } else { &self.peers[0] }
    }

    /// The geometric mean of a peer's ratios to the reference.
    pub fn mean(&self, peer: &str, figure: Figure) -> Option<f64> {
        let ratio = |(job, _): &(String, String)| self.ratio(job, peer, self.reference(), figure);
        geometric_mean(self.jobs.iter().filter_map(ratio))
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
