//! From the recording's ticks to nanoseconds: straight lines between readings of both clocks.

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The counter that records are timed with.
    pub ticks: u64,
    /// CLOCK_MONOTONIC.
    pub ns: u64,
}

/// Converts ticks.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    anchors: Vec<Anchor>,
}

impl Clock {
    /// Adds a reading; false if it is not later than the last on both clocks.
    pub fn add(&mut self, anchor: Anchor) -> bool {
        let later = self.anchors.last().is_none_or(|a| anchor.ticks > a.ticks && anchor.ns > a.ns);
        if later {
            self.anchors.push(anchor);
        }
        later
    }

    /// Nanoseconds since the first reading; 0 before it. One reading alone says that a tick
    /// is a nanosecond. Never falls when `ticks` grows.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> u64 {
        let Some(first) = self.anchors.first() else { return ticks };
        let behind = self.anchors.partition_point(|a| a.ticks <= ticks);
        if behind == 0 {
            return 0;
        }
        // The line through the readings around it, or the last two.
        let from = (behind - 1).min(self.anchors.len().saturating_sub(2));
        let a = self.anchors[from];
        let past = u128::from(ticks - a.ticks);
        let ns = match self.anchors.get(from + 1) {
            Some(b) => past * u128::from(b.ns - a.ns) / u128::from(b.ticks - a.ticks),
            None => past,
        };
        u64::try_from(u128::from(a.ns - first.ns) + ns).unwrap_or(u64::MAX)
    }

    /// The readings.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_between_readings() {
        let mut clock = Clock::default();
        assert_eq!(clock.ns(5), 5);
        assert!(clock.add(Anchor { ticks: 100, ns: 1000 }));
        assert_eq!((clock.ns(50), clock.ns(107)), (0, 7));
        assert!(clock.add(Anchor { ticks: 200, ns: 2000 }));
        assert!(clock.add(Anchor { ticks: 300, ns: 5000 }));
        assert!(!clock.add(Anchor { ticks: 300, ns: 6000 }));
        assert!(!clock.add(Anchor { ticks: 400, ns: 5000 }));
        let at = [99, 100, 150, 200, 250, 300, 400].map(|t| clock.ns(t));
        assert_eq!(at, [0, 0, 500, 1000, 2500, 4000, 7000]);
        assert_eq!(clock.ns(u64::MAX), u64::MAX);
    }
}
