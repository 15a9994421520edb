//! How a run stands to the goals of the race: the means, the envelope of all
//! peers, and each job in which somebody does better.

use crate::peers::{GLIBC, OURS};
use crate::results::{Figure, Results};
use crate::stats::geometric_mean;
use std::fmt::Write;

/// CPU time over the reference's, in the mean.
pub const CPU_GOAL: f64 = 0.85;
/// Peak resident memory over the reference's, in the mean.
pub const PEAK_GOAL: f64 = 0.62;
/// In no job may the best peer take less than ours over this, nor glibc hold less.
const NEARLY: f64 = 1.05;
/// After idling no more than the pages of live blocks, a tenth, …
const IDLE_PARTS: f64 = 1.10;
/// … and this.
const IDLE_MIB: f64 = 2.0;

/// The section of the report; nothing where we did not run beside others.
pub fn section(text: &mut String, results: &Results) {
    let others: Vec<&str> =
        results.peers.iter().map(String::as_str).filter(|peer| *peer != OURS).collect();
    if others.is_empty() || others.len() == results.peers.len() {
        return;
    }
    text.push_str("## The goals\n\n");
    mean(text, results, &others, Figure::Cpu, CPU_GOAL);
    behind(text, results, "The fastest peer is", &others, Figure::Cpu);
    mean(text, results, &others, Figure::Peak, PEAK_GOAL);
    if others.contains(&GLIBC) {
        behind(text, results, "glibc is", &[GLIBC], Figure::Peak);
    }
    idle(text, results);
    text.push('\n');
}

/// The least of the peers' ratios to the reference in one job.
fn least(results: &Results, job: &str, peers: &[&str], figure: Figure) -> Option<f64> {
    let ratio = |peer: &&str| results.ratio(job, peer, results.reference(), figure);
    peers.iter().filter_map(ratio).min_by(f64::total_cmp)
}

fn is_idle(results: &Results, job: &str) -> bool {
    let cell = results.cell(job, OURS);
    cell.is_some_and(|cell| cell.samples.iter().any(|sample| sample.idle.is_some()))
}

fn mean(text: &mut String, results: &Results, others: &[&str], figure: Figure, goal: f64) {
    let means = |job: &dyn Fn(&str) -> Option<f64>| {
        let jobs = || results.contests().map(|(name, _)| name.as_str());
        let awake = jobs().filter(|name| !is_idle(results, name));
        Some((geometric_mean(awake.filter_map(job))?, geometric_mean(jobs().filter_map(job))?))
    };
    let of = |peer: &str| means(&|job| results.ratio(job, peer, results.reference(), figure));
    let best = others
        .iter()
        .filter_map(|peer| Some((of(peer)?, *peer)))
        .min_by(|one, other| one.0.0.total_cmp(&other.0.0));
    let (Some((ours, all)), Some(((peer, _), name))) = (of(OURS), best) else { return };
    let (name_of, reference) = (figure.name(), results.reference());
    let _ = write!(
        text,
        "- {name_of} in the mean: {ours:.3} of {reference}'s (goal {goal}), the least peer {name} with {peer:.3}"
    );
    if let Some((envelope, _)) = means(&|job| least(results, job, others, figure)) {
        let _ = write!(text, ", the best peer of each job {envelope:.3}");
    }
    if all != ours {
        let _ = write!(text, "; with the idle cases {all:.3}");
    }
    text.push_str(".\n");
}

fn behind(text: &mut String, results: &Results, who: &str, peers: &[&str], figure: Figure) {
    let over = |job: &str| {
        let ours = results.ratio(job, OURS, results.reference(), figure)?;
        Some(ours / least(results, job, peers, figure)?)
    };
    let mut jobs: Vec<(f64, &str)> =
        results.contests().filter_map(|(job, _)| Some((over(job)?, job.as_str()))).collect();
    jobs.sort_by(|one, other| other.0.total_cmp(&one.0));
    let all = jobs.len();
    if all == 0 {
        return;
    }
    jobs.retain(|(over, _)| *over > NEARLY);
    let named: Vec<String> = jobs.iter().map(|(over, job)| format!("{job} {over:.2}")).collect();
    let what = match figure {
        Figure::Cpu => "faster",
        Figure::Peak => "smaller",
    };
    let _ = write!(text, "- {who} more than 5 % {what} in {} of {all} jobs", jobs.len());
    let _ = if named.is_empty() {
        writeln!(text, ".")
    } else {
        writeln!(text, " (ours over it): {}.", named.join(", "))
    };
}

fn idle(text: &mut String, results: &Results) {
    for (job, _) in results.jobs.iter().filter(|(job, _)| is_idle(results, job)) {
        let Some(cell) = results.cell(job, OURS) else { continue };
        let mib = 1048576.0;
        let of = |of: fn(&crate::workloads::Idle) -> u64| {
            cell.figure(|sample| sample.idle.as_ref().map_or(f64::NAN, |idle| of(idle) as f64))
                .map(|spread| spread.median)
        };
        if let (Some(live), Some(held)) = (of(|idle| idle.live_bytes), of(|idle| idle.idle_bytes)) {
            let most = live * IDLE_PARTS + IDLE_MIB * mib;
            let _ = writeln!(
                text,
                "- {job}: {:.1} MiB held after idling, {} the goal of {:.1}.",
                held / mib,
                if held <= most { "within" } else { "over" },
                most / mib
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Cell;
    use crate::job::Sample;
    use crate::launch::Usage;
    use crate::peers::REFERENCE;
    use crate::workloads::Idle;

    fn cell(job: &str, peer: &str, seconds: f64, idle: Option<Idle>) -> Cell {
        let usage = Usage { cpu_seconds: seconds, peak_bytes: 1 << 20, ..Usage::default() };
        let samples = vec![Sample { usage, idle }];
        Cell { job: job.into(), peer: peer.into(), samples, error: None, kernel_calls: None }
    }

    fn results(peers: &[&str], cells: Vec<Cell>) -> Results {
        let mut jobs: Vec<(String, String)> = Vec::new();
        for cell in &cells {
            if !jobs.iter().any(|(job, _)| *job == cell.job) {
                jobs.push((cell.job.clone(), String::new()));
            }
        }
        Results {
            schema: crate::results::SCHEMA.into(),
            machine: String::new(),
            command: String::new(),
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            missing: Vec::new(),
            jobs,
            cells,
        }
    }

    #[test]
    fn means_the_envelope_and_those_ahead() {
        let peers = [OURS, REFERENCE, GLIBC];
        let seconds = [("a", [1.0, 1.0, 0.5]), ("b", [1.0, 4.0, 8.0])];
        let cells = seconds
            .iter()
            .flat_map(|(job, all)| peers.iter().zip(all).map(|(peer, s)| cell(job, peer, *s, None)))
            .collect();
        let mut text = String::new();
        section(&mut text, &results(&peers, cells));
        // √(1 · ¼), √(½ · 2) of glibc and √(½ · 1) of the best each.
        for part in [
            "CPU time in the mean: 0.500 of mimalloc2's (goal 0.85)",
            "the best peer of each job 0.707",
            "The fastest peer is more than 5 % faster in 1 of 2 jobs (ours over it): a 2.00.",
            "peak RSS in the mean: 1.000",
            "glibc is more than 5 % smaller in 0 of 2 jobs.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("idle"), "{text}");
    }

    #[test]
    fn idle_cases_are_told_apart() {
        let idle = |mib: u64| {
            Some(Idle { live_bytes: 100 << 20, burst_bytes: 500 << 20, idle_bytes: mib << 20 })
        };
        let cells = vec![
            cell("a", OURS, 1.0, None),
            cell("a", REFERENCE, 1.0, None),
            cell("near", OURS, 4.0, idle(112)),
            cell("near", REFERENCE, 1.0, idle(500)),
            cell("far", OURS, 4.0, idle(113)),
            cell("far", REFERENCE, 1.0, idle(500)),
        ];
        let mut text = String::new();
        section(&mut text, &results(&[OURS, REFERENCE], cells));
        for part in [
            "1.000 of mimalloc2's",
            "with the idle cases 2.520",
            "near: 112.0 MiB held after idling, within the goal of 112.0.",
            "far: 113.0 MiB held after idling, over the goal of 112.0.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn alone_there_is_nothing_to_say() {
        for peers in [&[OURS][..], &[GLIBC, REFERENCE][..]] {
            let cells = peers.iter().map(|peer| cell("a", peer, 1.0, None)).collect();
            let mut text = String::new();
            section(&mut text, &results(peers, cells));
            assert_eq!(text, "");
        }
    }
}
