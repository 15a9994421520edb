//! The figures of many looks, in bounded memory.
//!
//! When the line is full, of each two neighbours in its older half only the larger stays: the
//! whole session stays in sight, its peaks too, the older the coarser.

use std::time::Duration;

use heapwise_inspect::Survey;
use heapwise_inspect::tally::Tally;
use heapwise_inspect::{ROWS, Row};

use super::palette::{PARTS, Part};

/// What is kept of a look: some 200 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When, from the first look on.
    pub at: Duration,
    /// The rows.
    pub tally: Tally,
    /// What they sum to.
    pub rss: usize,
    /// What a trim would return.
    pub trim_gain: usize,
    /// Swapped out.
    pub swap: usize,
    /// Threads.
    pub threads: usize,
    /// Arenas.
    pub arenas: usize,
    /// Of a look; else the RSS alone was read, see [`Point::between`].
    pub is_look: bool,
}

impl Point {
    /// Of a look.
    pub fn of(seen: &Survey, at: Duration) -> Self {
        Self {
            at,
            tally: seen.account.tally,
            rss: seen.rss,
            trim_gain: seen.trim_gain(),
            swap: seen.figures.swap,
            threads: seen.figures.threads,
            arenas: seen.heaps.arenas.len(),
            is_look: true,
        }
    }

    /// A moment between looks, of which the RSS alone is known: what is more than at the last look
    /// is nobody's yet, what is less is missing in all rows alike.
    pub fn between(last: &Self, rss: usize, at: Duration) -> Self {
        let mut tally = last.tally;
        if rss >= last.rss {
            tally[Row::Unattributed] += rss - last.rss;
        } else {
            let share =
                |bytes: usize| (bytes as u128 * rss as u128 / last.rss.max(1) as u128) as usize;
            ROWS.into_iter().for_each(|row| tally[row] = share(tally[row]));
            tally[Row::Unattributed] += rss - tally.sum();
        }
        Self { at, tally, rss, is_look: false, ..*last }
    }

    /// Bytes of a part.
    pub fn part(&self, part: Part) -> usize {
        part.rows().map(|row| self.tally[row]).sum()
    }

    /// Bytes of all parts, from the bottom up.
    pub fn parts(&self) -> [usize; PARTS.len()] {
        PARTS.map(|part| self.part(part))
    }
}

/// Points in the order of time.
#[derive(Debug, Clone)]
pub struct Timeline {
    points: Vec<Point>,
    most: usize,
}

impl Timeline {
    /// So many points at most; at least 4.
    pub fn new(most: usize) -> Self {
        Self { points: Vec::new(), most: most.max(4) }
    }

    /// Adds a point. Amortised O(1).
    pub fn push(&mut self, point: Point) {
        if self.points.len() >= self.most {
            self.thin();
        }
        self.points.push(point);
    }

    fn thin(&mut self) {
        // The very first stays: growth is told from it.
        let half = self.points.len() / 2;
        let younger = self.points.split_off(half);
        let older = std::mem::take(&mut self.points);
        self.points.extend(older.first());
        self.points.extend(older[1..].chunks(2).map(|pair| {
            let larger = pair.iter().max_by_key(|point| point.rss);
            *larger.expect("a chunk is not empty")
        }));
        self.points.extend(younger);
    }

    /// All of them.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The largest RSS seen.
    pub fn peak(&self) -> usize {
        self.points.iter().map(|point| point.rss).max().unwrap_or(0)
    }

    /// The point to show for `from..to`: the largest inside, else the last one before.
    pub fn shown(&self, from: Duration, to: Duration) -> Option<&Point> {
        let first = self.points.partition_point(|point| point.at < from);
        let behind = self.points.partition_point(|point| point.at < to);
        let inside = self.points[first..behind.max(first)].iter().max_by_key(|point| point.rss);
        inside.or_else(|| self.points.get(first.checked_sub(1)?))
    }
}

/// A round number not below `bytes`: the end of an axis.
pub fn round_up(bytes: usize) -> usize {
    const STEPS: [usize; 4] = [4, 5, 6, 8];
    let bytes = bytes.max(4096);
    let quarter = 1 << (bytes.ilog2() - 2);
    STEPS.into_iter().map(|step| step * quarter).find(|&end| end >= bytes).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64, rss: usize) -> Point {
        Point {
            at: Duration::from_secs(second),
            tally: Tally::of(Row::LiveUser, rss),
            rss,
            trim_gain: 0,
            swap: 0,
            threads: 1,
            arenas: 1,
            is_look: true,
        }
    }

    #[test]
    fn a_long_session_stays_in_bounds_with_its_first_point_and_its_peak() {
        let mut line = Timeline::new(100);
        for second in 0..100_000 {
            line.push(point(second, if second == 777 { 9999 } else { 5 + second as usize % 3 }));
            assert!(line.points().len() <= 100);
        }
        assert_eq!(line.points()[0].at, Duration::ZERO);
        assert_eq!(line.points().last().unwrap().at, Duration::from_secs(99_999));
        assert_eq!(line.peak(), 9999);
        assert!(line.points().windows(2).all(|pair| pair[0].at < pair[1].at));
    }

    #[test]
    fn a_moment_between_looks_sums_to_its_rss() {
        let last = point(1, 1000);
        for rss in [0, 1, 333, 999, 1000, 1001, 5000] {
            let between = Point::between(&last, rss, Duration::from_secs(2));
            assert_eq!((between.rss, between.tally.sum()), (rss, rss));
        }
        let grown = Point::between(&last, 1500, Duration::from_secs(2));
        assert_eq!((grown.tally[Row::LiveUser], grown.tally[Row::Unattributed]), (1000, 500));
    }

    #[test]
    fn a_column_shows_its_largest_point_or_the_one_before() {
        let mut line = Timeline::new(100);
        [point(1, 10), point(2, 30), point(3, 20)].into_iter().for_each(|point| line.push(point));
        let shown = |from, to| {
            line.shown(Duration::from_secs(from), Duration::from_secs(to)).map(|point| point.rss)
        };
        assert_eq!(shown(0, 1), None);
        assert_eq!(shown(1, 4), Some(30));
        assert_eq!(shown(3, 4), Some(20));
        assert_eq!(shown(7, 9), Some(20));
    }

    #[test]
    fn axes_end_on_round_numbers() {
        const MIB: usize = 1 << 20;
        assert_eq!(
            [0, 4096, 5000, 33 * MIB, 100 * MIB, 128 * MIB].map(round_up),
            [4096, 4096, 5120, 40 * MIB, 128 * MIB, 128 * MIB]
        );
    }
}
