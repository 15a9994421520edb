//! The results of a run as one document: schema "heapwise.bench/1".

use crate::campaign::Cell;
use crate::peers::{Missing, Peer, REFERENCE};
use crate::stats::geometric_mean;
use crate::workloads::control;
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

/// Several stored runs as one.
pub fn join(files: &[std::path::PathBuf]) -> anyhow::Result<Results> {
    let mut all: Option<Results> = None;
    for file in files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let next: Results = serde_json::from_str(&text)
            .with_context(|| format!("{} is no stored run", file.display()))?;
        match &mut all {
            Some(all) => all.add(next),
            None => all = Some(next),
        }
    }
    all.context("no stored run")
}

impl Results {
    /// Adds a run. Of a job that is in both, the new one counts; calls of the kernel that
    /// were counted only in the old one stay.
    fn add(&mut self, mut next: Self) {
        for cell in next.cells.iter_mut().filter(|cell| cell.kernel_calls.is_none()) {
            let old = self.cells.iter().find(|old| old.job == cell.job && old.peer == cell.peer);
            cell.kernel_calls = old.and_then(|old| old.kernel_calls);
        }
        self.cells.retain(|cell| next.jobs.iter().all(|(name, _)| *name != cell.job));
        self.jobs.retain(|job| next.jobs.iter().all(|(name, _)| *name != job.0));
        let new = |peer: &String| !self.peers.contains(peer);
        let peers: Vec<String> = next.peers.into_iter().filter(new).collect();
        self.peers.extend(peers);
        let missing: Vec<Missing> =
            next.missing.into_iter().filter(|entry| !self.missing.contains(entry)).collect();
        self.missing.extend(missing);
        self.jobs.extend(next.jobs);
        self.cells.extend(next.cells);
    }

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
        geometric_mean(self.contests().filter_map(ratio))
    }

    /// The jobs that compare allocators: all but the control.
    pub fn contests(&self) -> impl Iterator<Item = &(String, String)> {
        self.jobs.iter().filter(|(job, _)| job.split('/').next() != Some(control::NAME))
    }
}

pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::Calls;

    fn run(jobs: &[&str], calls: Option<Calls>) -> Results {
        let cell = |job: &&str| Cell {
            job: (*job).to_owned(),
            peer: "p".into(),
            samples: Vec::new(),
            error: None,
            kernel_calls: calls,
        };
        Results {
            schema: SCHEMA.into(),
            machine: String::new(),
            command: String::new(),
            peers: vec!["p".into()],
            missing: Vec::new(),
            jobs: jobs.iter().map(|job| ((*job).to_owned(), String::new())).collect(),
            cells: jobs.iter().map(cell).collect(),
        }
    }

    #[test]
    fn the_control_is_in_no_mean() {
        let all = run(&["control/1", "control/2", "pairs/1"], None);
        let names: Vec<&str> = all.contests().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["pairs/1"]);
    }

    #[test]
    fn of_two_runs_the_last_counts_but_calls_stay() {
        let calls = Calls { brk: 3, ..Calls::default() };
        let mut all = run(&["a", "b"], Some(calls));
        all.add(run(&["b", "c"], None));
        let names: Vec<&str> = all.jobs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(all.cells.len(), 3);
        assert_eq!(all.peers, ["p"]);
        let of = |job| all.cell(job, "p").and_then(|cell| cell.kernel_calls);
        assert_eq!((of("b"), of("c")), (Some(calls), None));
    }
}
