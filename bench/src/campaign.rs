//! A campaign: all jobs under all peers, interleaved (A B C A B C), with a
//! progress bar on a terminal. What fails is noted and not tried again.

use crate::job::{Job, Sample};
use crate::peers::Peer;
use crate::stats::Spread;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// One job under one peer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The job's name.
    pub job: String,
    /// The peer's name.
    pub peer: String,
    /// Its runs, in order.
    pub samples: Vec<Sample>,
    /// Why it did not run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Calls of brk, mmap, munmap, mremap and madvise, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_calls: Option<crate::syscalls::Calls>,
}

impl Cell {
    /// CPU seconds.
    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|sample| sample.usage.cpu_seconds))
    }

    /// Peak resident bytes.
    pub fn peak(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|sample| sample.usage.peak_bytes as f64))
    }

    /// Any other figure of a sample.
    pub fn figure(&self, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().map(of))
    }
}

/// Runs everything `reps` times.
pub fn run(jobs: &[Job], peers: &[Peer], reps: usize, syscalls: bool) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let passes = reps + usize::from(syscalls);
    let bar = ProgressBar::new((jobs.len() * peers.len() * passes) as u64);
    let style = "{bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    for job in jobs {
        let first = cells.len();
        for peer in peers {
            let (job, peer) = (job.name.clone(), peer.name.clone());
            cells.push(Cell { job, peer, samples: Vec::new(), error: None, kernel_calls: None });
        }
        for pass in 0..passes {
            for (cell, peer) in cells[first..].iter_mut().zip(peers) {
                bar.set_message(format!("{} {}", job.name, peer.name));
                if cell.error.is_none() {
                    let result = if pass < reps {
                        job.run(peer).map(|sample| cell.samples.push(sample))
                    } else {
                        crate::syscalls::count(job, peer).map(|calls| cell.kernel_calls = calls)
                    };
                    cell.error = result.err().map(|why| format!("{why:#}"));
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    cells
}
