//! The search: single settings, pairs of what helped, then several runs of the best.

use heapwise_replay::{Figures, Script};

use super::candidates::{Candidate, singles};
use super::judge::Confirmed;
use super::{Goal, Whose};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::replay::session::{Session, Spread};
use crate::replay::subject::Subject;

/// Pairs are made of so many of the best.
const PAIRED: usize = 3;
/// So many are confirmed beside the defaults.
const CONFIRMED: usize = 5;
/// A single setting helps if a figure is so much of the defaults'.
const HELPS: f64 = 0.98;

/// A run of one candidate in the sweep.
#[derive(Clone, Debug)]
pub struct Swept {
    /// Which.
    pub candidate: Candidate,
    /// What it came to.
    pub figures: Figures,
}

/// What the search knows at its end, or when it was interrupted.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// All that were tried, once each.
    pub swept: Vec<Swept>,
    /// The best and the defaults, several runs each.
    pub confirmed: Vec<Confirmed>,
    /// Our allocator with its defaults under the same load, when glibc was tuned.
    pub ours: Option<Confirmed>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

/// Searches.
pub fn search(
    session: &Session<'_>,
    script: &Script,
    whose: Whose,
    runs: u32,
    goal: Goal,
    allow: f64,
) -> anyhow::Result<Found> {
    let interrupt = Interrupt::watch();
    let mut found = Found::default();
    let mut candidates = vec![Candidate::default()];
    candidates.extend(singles(whose, script.threads));
    let confirm_runs = (CONFIRMED + 2) as u64 * u64::from(runs);
    let total = candidates.len() as u64 + (PAIRED * (PAIRED - 1) / 2) as u64 + confirm_runs;
    let progress = Progress::new("trying", total);
    sweep(session, whose, candidates, &mut found, &progress, &interrupt)?;
    if !interrupt.seen() {
        let pairs = pairs(&found.swept, goal, allow);
        sweep(session, whose, pairs, &mut found, &progress, &interrupt)?;
    }
    if !interrupt.seen() {
        confirm(session, whose, runs, &mut found, (goal, allow), &progress, &interrupt)?;
    }
    progress.clear();
    found.interrupted = interrupt.seen();
    if found.interrupted {
        crate::complain("interrupted; this is what is known so far");
    }
    Ok(found)
}

fn sweep(
    session: &Session<'_>,
    whose: Whose,
    candidates: Vec<Candidate>,
    found: &mut Found,
    progress: &Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    for candidate in candidates {
        progress.set(found.swept.len() as u64);
        progress.say(&format!("trying {}", candidate.name()));
        let environment = candidate.environment(whose);
        let run = match whose {
            Whose::Glibc => session.run(&Subject::glibc(&environment)),
            Whose::Heapwise => session.simulate(&Subject::simulated(&environment)),
        };
        if interrupt.seen() {
            return Ok(());
        }
        found.swept.push(Swept { candidate, figures: run? });
    }
    Ok(())
}

/// How good a run is, the less the better: the figure that is the goal as a part of the
/// defaults', with a penalty for what the other costs beyond what is allowed. One run says
/// little of time, so that is judged mildly here.
fn score(figures: &Figures, defaults: &Figures, goal: Goal, allow: f64) -> f64 {
    let part = |own: u64, of: u64| own as f64 / (of as f64).max(1.0);
    let rss = part(figures.rss_mean_bytes, defaults.rss_mean_bytes);
    let cpu = part(figures.cpu_ns(), defaults.cpu_ns());
    let (figure, price) = match goal {
        Goal::Memory => (rss, cpu),
        Goal::Cpu => (cpu, rss),
    };
    figure + (price - 1.1 - allow / 100.0).max(0.0)
}

fn ranked(swept: &[Swept], goal: Goal, allow: f64) -> Vec<(f64, &Candidate)> {
    let Some(defaults) = swept.iter().find(|run| run.candidate.0.is_empty()) else {
        return Vec::new();
    };
    let mut ranked: Vec<(f64, &Candidate)> = swept
        .iter()
        .filter(|run| !run.candidate.0.is_empty())
        .map(|run| (score(&run.figures, &defaults.figures, goal, allow), &run.candidate))
        .collect();
    // In steps of a fiftieth: of what does equally well the earlier comes first.
    ranked.sort_by(|a, b| (a.0 * 50.0).round().total_cmp(&(b.0 * 50.0).round()));
    ranked
}

/// Pairs of the best of different settings.
fn pairs(swept: &[Swept], goal: Goal, allow: f64) -> Vec<Candidate> {
    let mut best: Vec<&Candidate> = Vec::new();
    for (score, candidate) in ranked(swept, goal, allow) {
        let is_new = best.iter().all(|other| other.0[0].setting != candidate.0[0].setting);
        if score < HELPS && is_new && best.len() < PAIRED {
            best.push(candidate);
        }
    }
    let pair = |first: usize, second: usize| best[first].with(best[second]);
    let all = (0..best.len()).flat_map(|first| (first + 1..best.len()).map(move |s| (first, s)));
    all.filter_map(|(first, second)| pair(first, second)).collect()
}

fn confirm(
    session: &Session<'_>,
    whose: Whose,
    runs: u32,
    found: &mut Found,
    (goal, allow): (Goal, f64),
    progress: &Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let mut chosen = vec![Candidate::default()];
    let best = ranked(&found.swept, goal, allow);
    chosen.extend(best.iter().take(CONFIRMED).map(|(_, candidate)| (*candidate).clone()));
    // In the order of their trying again, for the judge.
    let tried =
        |candidate: &Candidate| found.swept.iter().position(|run| run.candidate == *candidate);
    chosen.sort_by_key(tried);
    let mut subjects = Vec::new();
    for candidate in &chosen {
        let environment = candidate.environment(whose);
        subjects.push(match whose {
            Whose::Glibc => Subject::glibc(&environment),
            Whose::Heapwise => Subject::heapwise(&environment)?,
        });
    }
    // Beside glibc's settings: the other remedy. Without our library there is none.
    let ours = if whose == Whose::Glibc { Subject::heapwise(&[]).ok() } else { None };
    let has_ours = ours.is_some();
    subjects.extend(ours);
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); subjects.len()];
    let before = found.swept.len();
    let mut done = 0;
    'rounds: for _ in 0..runs {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            progress.set((before + done) as u64);
            progress.say("confirming the best");
            let run = session.run(subject);
            if interrupt.seen() {
                break 'rounds;
            }
            figures.push(run?);
            done += 1;
        }
    }
    let ours = if has_ours { figures.pop() } else { None };
    found.ours = ours.and_then(|runs| confirmed(&Candidate::default(), &runs));
    let all = chosen.iter().zip(&figures);
    found.confirmed = all.filter_map(|(candidate, runs)| confirmed(candidate, runs)).collect();
    Ok(())
}

fn confirmed(candidate: &Candidate, runs: &[Figures]) -> Option<Confirmed> {
    let spread =
        |figure: fn(&Figures) -> u64| Spread::of(runs.iter().map(|run| figure(run) as f64));
    (!runs.is_empty()).then(|| Confirmed {
        candidate: candidate.clone(),
        cpu: spread(Figures::cpu_ns),
        mean_rss: spread(|run| run.rss_mean_bytes),
        peak_rss: spread(|run| run.rss_peak_bytes),
        runs: runs.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::candidates::Choice;
    use super::*;
    use heapwise_malloc::tunables::Setting;

    fn swept(choice: Option<(Setting, usize)>, rss: u64, cpu: u64) -> Swept {
        let choices = choice.map(|(setting, value)| Choice { setting, value });
        let figures = Figures { rss_mean_bytes: rss, user_ns: cpu, ..Figures::default() };
        Swept { candidate: Candidate(choices.into_iter().collect()), figures }
    }

    #[test]
    fn pairs_are_of_different_settings_that_helped() {
        let all = [
            swept(None, 100, 100),
            swept(Some((Setting::ArenaMax, 1)), 50, 100),
            swept(Some((Setting::ArenaMax, 2)), 60, 100),
            swept(Some((Setting::TopPad, 0)), 90, 100),
            swept(Some((Setting::MmapThreshold, 1)), 40, 300),
            swept(Some((Setting::TrimThreshold, 1)), 100, 100),
        ];
        let pairs: Vec<String> =
            pairs(&all, Goal::Memory, 5.0).iter().map(Candidate::name).collect();
        assert_eq!(pairs, ["arena_max=1 top_pad=0"]);
        let best = ranked(&all, Goal::Memory, 5.0);
        assert_eq!(best[0].1.name(), "arena_max=1");
        assert_eq!(ranked(&all[1..], Goal::Memory, 5.0).len(), 0);
    }
}
