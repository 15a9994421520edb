//! How often to look: as often as asked, but never so often that looking takes more than
//! a few per cent of a processor.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Looking takes one part in so many of the time, at most.
const MOST_ONE_IN: u32 = 33;
/// Nobody sees more.
pub const SHORTEST: Duration = Duration::from_millis(50);

/// What one look took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// Of a processor.
    pub cpu: Duration,
}

impl Cost {
    /// Does something on this thread, and says what it took.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (wall, cpu) = (Instant::now(), thread_time());
        let done = work();
        (done, Self { wall: wall.elapsed(), cpu: thread_time().saturating_sub(cpu) })
    }
}

/// Processor time of this thread; without such a clock 0.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The interval between the beginnings of two looks.
#[derive(Debug, Clone)]
pub struct Pace {
    asked: Duration,
    /// Of the processor, a moving mean of the last few looks.
    mean: Duration,
}

impl Pace {
    /// As often as asked.
    pub fn new(asked: Duration) -> Self {
        Self { asked: asked.max(SHORTEST), mean: Duration::ZERO }
    }

    /// Takes a look into account.
    pub fn learn(&mut self, cost: Cost) {
        // The first one reads files that are not cached yet: it counts once, not for ever.
        self.mean = if self.mean.is_zero() { cost.cpu } else { (self.mean * 3 + cost.cpu) / 4 };
    }

    /// Changes what is asked for.
    pub fn ask(&mut self, interval: Duration) {
        self.asked = interval.max(SHORTEST);
    }

    /// What was asked for.
    pub fn asked(&self) -> Duration {
        self.asked
    }

    /// What it is: what was asked for, or longer.
    pub fn interval(&self) -> Duration {
        self.asked.max(self.mean.saturating_mul(MOST_ONE_IN))
    }

    /// Whether looks are so rare that the RSS alone is worth reading between them, as often as
    /// looks were asked for.
    pub fn is_slow(&self) -> bool {
        self.interval() >= self.asked * 2
    }

    /// Looking, in parts of a processor.
    pub fn load(&self) -> f64 {
        self.mean.as_secs_f64() / self.interval().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(ms: u64) -> Cost {
        Cost { wall: Duration::from_millis(ms * 2), cpu: Duration::from_millis(ms) }
    }

    #[test]
    fn dear_looks_are_few() {
        let mut pace = Pace::new(Duration::from_secs(1));
        pace.learn(cost(3));
        assert_eq!(pace.interval(), Duration::from_secs(1));
        for _ in 0..40 {
            pace.learn(cost(200));
        }
        assert!(pace.interval() > Duration::from_secs(6), "{pace:?}");
        assert!(pace.load() <= 1.0 / f64::from(MOST_ONE_IN) + 1e-9);
        for _ in 0..40 {
            pace.learn(cost(1));
        }
        assert_eq!(pace.interval(), Duration::from_secs(1));
        assert_eq!(Pace::new(Duration::ZERO).interval(), SHORTEST);
    }

    #[test]
    fn work_costs_processor_time() {
        let (sum, cost) = Cost::of(|| (0..3_000_000_u64).map(std::hint::black_box).sum::<u64>());
        assert!(sum > 0 && cost.cpu > Duration::ZERO && cost.wall > Duration::ZERO);
    }
}
