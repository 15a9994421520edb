//! The Pareto front of what was confirmed, and what is recommended.

use super::Goal;
use super::candidates::Candidate;
use crate::replay::session::Spread;

/// Less than this is no gain worth a setting, in parts of the defaults' figure.
const MIN_GAIN: f64 = 0.03;

/// A candidate with what its runs came to.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// Which; the defaults are among them.
    pub candidate: Candidate,
    /// Processor time, ns.
    pub cpu: Spread,
    /// Mean RSS, bytes.
    pub mean_rss: Spread,
    /// Peak RSS, bytes.
    pub peak_rss: Spread,
    /// How many runs.
    pub runs: usize,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing is better by enough.
    Defaults,
    /// This one is.
    Take {
        /// Its place among the confirmed.
        index: usize,
        /// Mean RSS as a part of the defaults'.
        rss_ratio: Spread,
        /// Processor time as a part of the defaults'.
        cpu_ratio: Spread,
    },
    /// The defaults themselves were not confirmed: it was interrupted too early.
    Unknown,
}

/// Places of those that no other beats in both figures, the cheapest in CPU first.
pub fn front(confirmed: &[Confirmed]) -> Vec<usize> {
    let figures = |index: usize| (confirmed[index].cpu.median, confirmed[index].mean_rss.median);
    let beaten = |index: usize| {
        let (cpu, rss) = figures(index);
        (0..confirmed.len()).any(|other| {
            let (other_cpu, other_rss) = figures(other);
            other_cpu <= cpu && other_rss <= rss && (other_cpu < cpu || other_rss < rss)
        })
    };
    let mut front: Vec<usize> = (0..confirmed.len()).filter(|&index| !beaten(index)).collect();
    front.sort_by(|&a, &b| figures(a).0.total_cmp(&figures(b).0));
    front
}

/// The best for the goal that is better than the defaults by more than both spread and by
/// [`MIN_GAIN`], and costs no more of the other figure than allowed. Of those that come within
/// a fiftieth of it, the one with the fewest settings; then the earliest.
pub fn judge(confirmed: &[Confirmed], goal: Goal, allow_percent: f64) -> Verdict {
    let Some(defaults) = confirmed.iter().find(|c| c.candidate.0.is_empty()) else {
        return Verdict::Unknown;
    };
    let pick = |c: &Confirmed| match goal {
        Goal::Memory => (c.mean_rss, c.cpu),
        Goal::Cpu => (c.cpu, c.mean_rss),
    };
    let (own, own_price) = pick(defaults);
    // What else the machine does only adds to a run: the best of both must be near enough, and
    // the middle one not beyond the worst of the defaults.
    let limit = 1.0 + allow_percent / 100.0;
    let allowed = |price: Spread| {
        price.least <= own_price.least * limit && price.median <= own_price.most * limit
    };
    let gains = |figure: Spread| {
        let apart = match goal {
            Goal::Memory => figure.most < own.least,
            Goal::Cpu => figure.median + figure.median - figure.least < own.median,
        };
        apart && figure.median <= own.median * (1.0 - MIN_GAIN)
    };
    let fit: Vec<usize> = (0..confirmed.len())
        .filter(|&index| {
            let (figure, price) = pick(&confirmed[index]);
            !confirmed[index].candidate.0.is_empty() && gains(figure) && allowed(price)
        })
        .collect();
    let value = |index: usize| pick(&confirmed[index]).0.median;
    let Some(best) = fit.iter().map(|&index| value(index)).min_by(f64::total_cmp) else {
        return Verdict::Defaults;
    };
    let near = fit.into_iter().filter(|&index| value(index) <= best * 1.02);
    let chosen = near.min_by_key(|&index| confirmed[index].candidate.0.len());
    chosen.map_or(Verdict::Defaults, |index| Verdict::Take {
        index,
        rss_ratio: confirmed[index].mean_rss.over(defaults.mean_rss),
        cpu_ratio: confirmed[index].cpu.over(defaults.cpu),
    })
}

#[cfg(test)]
mod tests {
    use super::super::candidates::Choice;
    use super::*;
    use heapwise_malloc::tunables::Setting;

    fn confirmed(settings: usize, cpu: [f64; 3], rss: [f64; 3]) -> Confirmed {
        let choice = Choice { setting: Setting::TopPad, value: settings };
        Confirmed {
            candidate: Candidate(vec![choice; settings]),
            cpu: Spread::of(cpu),
            mean_rss: Spread::of(rss),
            peak_rss: Spread::default(),
            runs: 3,
        }
    }

    #[test]
    fn the_front_is_what_nobody_beats() {
        let all = [
            confirmed(0, [10.0; 3], [100.0; 3]),
            confirmed(1, [12.0; 3], [50.0; 3]),
            confirmed(1, [12.0; 3], [60.0; 3]),
            confirmed(2, [9.0; 3], [120.0; 3]),
        ];
        assert_eq!(front(&all), [3, 0, 1]);
    }

    #[test]
    fn a_gain_must_be_beyond_the_spread_and_within_its_price() {
        let defaults = confirmed(0, [10.0, 10.5, 11.0], [98.0, 100.0, 102.0]);
        let index = |others: &[Confirmed], allow| {
            let all = [std::slice::from_ref(&defaults), others].concat();
            match judge(&all, Goal::Memory, allow) {
                Verdict::Take { index, .. } => index,
                Verdict::Defaults => 0,
                Verdict::Unknown => unreachable!("the defaults are there"),
            }
        };
        let within_spread = confirmed(1, [10.0; 3], [90.0, 95.0, 99.0]);
        let clear = confirmed(1, [10.4; 3], [70.0, 71.0, 72.0]);
        let dear = confirmed(1, [20.0; 3], [10.0; 3]);
        let two = confirmed(2, [10.4; 3], [70.0; 3]);
        assert_eq!(index(std::slice::from_ref(&within_spread), 5.0), 0);
        assert_eq!(index(&[within_spread, dear.clone(), two, clear], 5.0), 4);
        assert_eq!(index(&[dear], 100.0), 1);
        assert_eq!(judge(&[], Goal::Memory, 5.0), Verdict::Unknown);
    }
}
