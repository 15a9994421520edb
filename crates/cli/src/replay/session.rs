//! Runs of several subjects, interleaved, and what they come to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use heapwise_replay::launch::Launcher;
use heapwise_replay::streams::Playing;
use heapwise_replay::{Figures, Script, original, sim};

use super::PLAYER;
use super::subject::{Ground, Subject};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// How much is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs of each subject.
    pub runs: u32,
    /// Whether one more counts its kernel calls.
    pub count_calls: bool,
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of some values; zero of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self { median, least, most }
    }

    /// As a part of another: the least that it may be, and the most.
    pub fn over(&self, other: Self) -> Self {
        Self {
            median: self.median / other.median.max(1.0),
            least: self.least / other.most.max(1.0),
            most: self.most / other.least.max(1.0),
        }
    }

    /// The largest distance from the middle.
    pub fn radius(&self) -> f64 {
        (self.most - self.median).max(self.median - self.least)
    }
}

/// What a subject came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub subject: Subject,
    /// Its runs; one if it is simulated.
    pub runs: Vec<Figures>,
    /// The counted run, where it could be counted.
    pub counted: Option<Figures>,
}

impl Outcome {
    /// A figure over the runs.
    pub fn spread(&self, figure: impl Fn(&Figures) -> u64) -> Spread {
        Spread::of(self.runs.iter().map(|run| figure(run) as f64))
    }
}

/// A script that is played again and again.
pub struct Session<'a> {
    script: &'a Script,
    playing: Playing,
    launcher: Launcher,
}

impl<'a> Session<'a> {
    /// Writes the steps where temporary files go.
    pub fn new(script: &'a Script, playing: Playing) -> anyhow::Result<Self> {
        // Also where the file was replaced since we began.
        let program = PathBuf::from("/proc/self/exe");
        let directory = std::env::temp_dir();
        let launcher =
            Launcher::new(program, vec![OsString::from(PLAYER)], script, playing, &directory)
                .with_context(|| format!("cannot write the steps to {}", directory.display()))?;
        Ok(Self { script, playing, launcher })
    }

    /// Runs all, round by round, so that what else the machine does hits all alike. After
    /// Ctrl-C, what is known so far: subjects without a run are left out.
    pub fn play(&self, subjects: &[Subject], plan: Plan) -> anyhow::Result<Vec<Outcome>> {
        let interrupt = Interrupt::watch();
        let rounds = plan.runs + u32::from(plan.count_calls);
        let progress = Progress::new("replaying", u64::from(rounds) * subjects.len() as u64);
        let mut outcomes: Vec<Outcome> = subjects
            .iter()
            .map(|subject| Outcome { subject: subject.clone(), runs: Vec::new(), counted: None })
            .collect();
        let mut done = 0;
        'rounds: for round in 0..rounds {
            for outcome in &mut outcomes {
                progress.set(done);
                progress.say(&format!("replaying on {}", outcome.subject.name));
                if interrupt.seen() {
                    break 'rounds;
                }
                if let Err(error) = self.round(outcome, round >= plan.runs, round) {
                    progress.clear();
                    if interrupt.seen() {
                        break 'rounds;
                    }
                    return Err(error.context(format!("the replay on {}", outcome.subject.name)));
                }
                done += 1;
            }
        }
        progress.clear();
        if interrupt.seen() {
            crate::complain("interrupted; this is what is known so far");
        }
        outcomes.retain(|outcome| !outcome.runs.is_empty());
        Ok(outcomes)
    }

    fn round(&self, outcome: &mut Outcome, counts: bool, round: u32) -> anyhow::Result<()> {
        let Some(target) = outcome.subject.target() else {
            // Simulated, one run is as good as many; the program itself may not be one to run
            // again. Both count by themselves.
            if round == 0 {
                let figures = self.run(&outcome.subject)?;
                outcome.counted = Some(figures.clone());
                outcome.runs.push(figures);
            }
            return Ok(());
        };
        if !counts {
            outcome.runs.push(self.launcher.run(&target, false)?);
            return Ok(());
        }
        match self.launcher.run(&target, true) {
            Ok(figures) => outcome.counted = Some(figures),
            Err(error) => crate::complain(&format!(
                "kernel calls of {} are not counted: {error}",
                outcome.subject.name
            )),
        }
        Ok(())
    }

    /// One run for real.
    pub fn run(&self, subject: &Subject) -> anyhow::Result<Figures> {
        match (&subject.ground, subject.target()) {
            (_, Some(target)) => Ok(self.launcher.run(&target, false)?),
            (Ground::Original(command), _) => {
                let mut program = Command::new(&command[0]);
                program.args(&command[1..]);
                Ok(original::run(program, &subject.environment)?)
            }
            _ => self.simulate(subject),
        }
    }

    /// On the simulated kernel.
    pub fn simulate(&self, subject: &Subject) -> anyhow::Result<Figures> {
        let options = sim::Options {
            settings: subject.settings()?,
            touch: self.playing.touch,
            paced: self.playing.paced,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            ..sim::Options::default()
        };
        Ok(sim::play(self.script, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_how_far_the_others_are() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 10.0));
        assert_eq!(spread.radius(), 7.5);
        assert_eq!(Spread::of([]), Spread::default());
        let half = Spread::of([2.0, 5.0]).over(Spread::of([4.0, 10.0]));
        assert_eq!((half.median, half.least, half.most), (0.5, 0.2, 1.25));
    }
}
