//! `bench guard`: did anything get worse? Our ratios to glibc and to mimalloc in
//! this run against those of the stored baseline. Ratios, since both ran on the
//! same machine at the same time; worse only if by more than the noise measured.

use crate::peers::{GLIBC, OURS, REFERENCE};
use crate::results::{Figure, Results};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Less than this is never called worse.
const LEAST: f64 = 0.03;

/// Of the workloads' full size: the subset takes some minutes so.
pub const SCALE: f64 = 0.25;

/// One ratio and how far it may be off, relatively.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mark {
    job: String,
    peer: String,
    figure: String,
    ratio: f64,
    noise: f64,
}

/// Where the baseline lies.
pub fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
}

/// The peers that the guard compares with.
pub fn peers() -> Vec<String> {
    [OURS, GLIBC, REFERENCE].map(str::to_owned).to_vec()
}

/// Half the range of our figure and of the peer's, each over its median.
fn noise(results: &Results, job: &str, peer: &str, figure: Figure) -> Option<f64> {
    let half = |peer| {
        let cell = results.cell(job, peer)?;
        let spread = match figure {
            Figure::Cpu => cell.cpu(),
            Figure::Peak => cell.peak(),
        };
        Some(spread?.noise() / 2.0)
    };
    Some(half(OURS)? + half(peer)?)
}

fn marks(results: &Results) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (job, _) in &results.jobs {
        for peer in [GLIBC, REFERENCE] {
            for figure in [Figure::Cpu, Figure::Peak] {
                let ratio = results.ratio(job, OURS, peer, figure);
                if let (Some(ratio), Some(noise)) = (ratio, noise(results, job, peer, figure)) {
                    let (job, peer, figure) =
                        (job.clone(), peer.to_owned(), figure.name().to_owned());
                    marks.push(Mark { job, peer, figure, ratio, noise });
                }
            }
        }
    }
    marks
}

/// Stores this run as the baseline.
pub fn save(results: &Results) -> Result<()> {
    let text = serde_json::to_string_pretty(&marks(results))?;
    std::fs::write(baseline_file(), text + "\n").context("writing the baseline")
}

/// Prints what got worse; the number of jobs that did, by both peers' measure.
pub fn compare(results: &Results) -> Result<usize> {
    let file = baseline_file();
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("reading {}: store one with --save", file.display()))?;
    let worse = worse(&serde_json::from_str::<Vec<Mark>>(&text)?, &marks(results));
    for (old, new) in &worse {
        println!(
            "worse: {:<20} {} over {}: {:.3} before, {:.3} now, noise {:.1} %",
            new.job,
            new.figure,
            new.peer,
            old.ratio,
            new.ratio,
            100.0 * (old.noise + new.noise)
        );
    }
    let failed =
        results.cells.iter().filter(|cell| cell.error.is_some() && cell.peer == OURS).count();
    if worse.is_empty() && failed == 0 {
        println!("nothing got worse");
    }
    Ok(worse.len() + failed)
}

/// The marks that rose beyond their noise against both peers: against one alone
/// it was that peer's run that went well.
fn worse(old: &[Mark], new: &[Mark]) -> Vec<(Mark, Mark)> {
    let rose = |new: &&Mark| {
        let old = old
            .iter()
            .find(|old| (&old.job, &old.peer, &old.figure) == (&new.job, &new.peer, &new.figure))?;
        let allowed = LEAST.max(old.noise + new.noise);
        (new.ratio > old.ratio * (1.0 + allowed)).then(|| (old.clone(), (*new).clone()))
    };
    let risen: Vec<(Mark, Mark)> = new.iter().filter_map(|mark| rose(&mark)).collect();
    let both = |mark: &Mark| {
        risen
            .iter()
            .filter(|(_, other)| (&other.job, &other.figure) == (&mark.job, &mark.figure))
            .count()
    };
    risen.iter().filter(|(_, mark)| both(mark) == 2).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(peer: &str, ratio: f64, noise: f64) -> Mark {
        Mark { job: "j".into(), peer: peer.into(), figure: "CPU time".into(), ratio, noise }
    }

    #[test]
    fn worse_only_beyond_the_noise_and_against_both() {
        let old = [mark(GLIBC, 1.0, 0.02), mark(REFERENCE, 1.0, 0.02)];
        assert!(worse(&old, &[mark(GLIBC, 1.05, 0.04), mark(REFERENCE, 1.05, 0.04)]).is_empty());
        assert!(worse(&old, &[mark(GLIBC, 1.2, 0.04), mark(REFERENCE, 1.0, 0.04)]).is_empty());
        assert_eq!(worse(&old, &[mark(GLIBC, 1.2, 0.04), mark(REFERENCE, 1.2, 0.04)]).len(), 2);
    }
}
