//! A campaign: all jobs under all peers, in rounds that each begin with another
//! peer (A B C, B C A, C A B), with a progress bar on a terminal. What fails is
//! noted and not tried again.
//!
//! Each job is rehearsed once, so that files are cached and its size is known;
//! before every run the machine is brought to have that much memory at hand.
//! So nobody pays for coming first.

use crate::job::{Job, Sample};
use crate::peers::{Peer, REFERENCE};
use crate::stats::Spread;
use crate::warm::warm;
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
    /// Calls of brk, mmap, munmap, mremap, mprotect and madvise, where they were counted.
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

/// The peers of one round of `rounds`, by number: each round begins further on.
fn order(round: usize, rounds: usize, peers: usize) -> impl Iterator<Item = usize> {
    let step = (peers / rounds.max(1)).max(1);
    (0..peers).map(move |place| (place + round * step) % peers)
}

/// Runs everything `reps` times, the peers named in `once` in the first round only.
pub fn run(
    jobs: &[Job],
    peers: &[Peer],
    reps: usize,
    once: &[String],
    syscalls: bool,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let passes = reps + usize::from(syscalls);
    let first_out = peers.iter().find(|peer| peer.name == REFERENCE).or(peers.first());
    let bar = ProgressBar::new((jobs.len() * peers.len() * passes) as u64);
    let style = "{bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    for job in jobs {
        let first = cells.len();
        for peer in peers {
            let (job, peer) = (job.name.clone(), peer.name.clone());
            cells.push(Cell { job, peer, samples: Vec::new(), error: None, kernel_calls: None });
        }
        bar.set_message(format!("{} rehearsal", job.name));
        // What goes wrong here will again where it is noted.
        let rehearsed = first_out.and_then(|peer| job.run(peer).ok());
        let mut peak_bytes = rehearsed.map_or(0, |sample| sample.usage.peak_bytes);
        for pass in 0..passes {
            for number in order(pass, reps, peers.len()) {
                let (cell, peer) = (&mut cells[first + number], &peers[number]);
                bar.set_message(format!("{} {}", job.name, peer.name));
                let rests = (1..reps).contains(&pass) && once.contains(&peer.name);
                if cell.error.is_none() && !rests {
                    let result = if pass < reps {
                        warm(peak_bytes);
                        job.run(peer).map(|sample| {
                            peak_bytes = peak_bytes.max(sample.usage.peak_bytes);
                            cell.samples.push(sample);
                        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_begins_with_another_peer_and_has_all() {
        for (rounds, peers) in [(1, 1), (3, 3), (3, 10), (5, 2), (2, 9)] {
            let all: Vec<Vec<usize>> =
                (0..rounds).map(|round| order(round, rounds, peers).collect()).collect();
            for (round, order) in all.iter().enumerate() {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..peers).collect::<Vec<_>>());
                let earlier = all[..round].iter().filter(|other| other[0] == order[0]).count();
                assert!(earlier == 0 || round >= peers);
            }
        }
    }
}
