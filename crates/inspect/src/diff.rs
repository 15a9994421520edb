//! What has changed between two looks, and what grows.
//!
//! The rows' changes sum to the change of the RSS. What the program holds is
//! compared by the sizes of its live chunks, resident or not: memory that is
//! allocated and not yet touched counts, pages that were swapped out do too.

use std::collections::BTreeMap;

use crate::heap::Kind;
use crate::heap::classes::Class;
use crate::heap::scan::Count;
use crate::heap::summary::ArenaSummary;
use crate::survey::{Depth, Survey};
use crate::tally::{ROWS, Row, Tally};

/// A figure before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<T = usize> {
    /// In the first look.
    pub before: T,
    /// In the second.
    pub after: T,
}

impl Change {
    /// How much more there is; negative if less.
    #[must_use]
    pub fn grown(self) -> i64 {
        self.after as i64 - self.before as i64
    }
}

impl Change<Count> {
    /// The sizes.
    #[must_use]
    pub fn bytes(self) -> Change {
        Change { before: self.before.bytes, after: self.after.bytes }
    }

    /// The numbers.
    #[must_use]
    pub fn chunks(self) -> Change {
        Change { before: self.before.chunks, after: self.after.chunks }
    }

    fn is_none(self) -> bool {
        self.before == self.after
    }
}

/// An arena in both looks; in one of them it may be missing (all zeros).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaChange {
    /// Its number in the second look, else in the first.
    pub index: usize,
    /// Resident bytes.
    pub resident: Change,
    /// Live chunks.
    pub live: Change<Count>,
    /// Resident bytes that a trim would return.
    pub trim_gain: Change,
}

/// What a group of live chunks has in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Their size.
    Class(Class),
    /// Each has a mapping of its own.
    Mapped,
}

/// All changes.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Time between the looks; `None` if the second one was not later.
    pub elapsed_ms: Option<u64>,
    /// Whether both are of one process.
    pub same_process: bool,
    /// The sum of the rows.
    pub rss: Change,
    /// Row by row.
    pub rows: [Change; ROWS.len()],
    /// Resident bytes that a trim would return.
    pub trim_gain: Change,
    /// All live chunks, those with mappings of their own too.
    pub live: Change<Count>,
    /// Free and kept: whole pages, tops, caches, and what shares pages with live chunks.
    pub kept: Change,
    /// The arenas that changed, by number.
    pub arenas: Vec<ArenaChange>,
    /// Groups of live chunks that changed, by size.
    pub classes: Vec<(Group, Change<Count>)>,
    /// Allocation sites that changed, where both looks have a profile.
    pub sites: Vec<(String, Change<Count>)>,
}

/// What two looks say that one cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// The program holds more.
    LiveGrows {
        /// Bytes in live chunks more than before.
        bytes: usize,
        /// Chunks more, or less.
        chunks: i64,
    },
    /// The allocator keeps more free memory; the program holds no more than before.
    KeptGrows {
        /// Resident bytes more.
        bytes: usize,
    },
    /// Something that is not malloc's grows.
    OtherGrows {
        /// The row that grew most.
        row: Row,
        /// Its bytes more.
        bytes: usize,
    },
    /// The RSS has fallen.
    Shrinks {
        /// Bytes less.
        bytes: usize,
    },
    /// Less than 64 KiB or 0.1 % either way.
    Steady,
}

/// Less is no growth.
const MIN_BYTES: usize = 64 << 10;
/// Nor is less than one part in so many of the RSS.
const MIN_PART: usize = 1000;
/// Rows of free memory.
const KEPT: [Row; 6] = [
    Row::FreeWholePages,
    Row::FreePinned,
    Row::ThreadCaches,
    Row::Fastbins,
    Row::Top,
    Row::HugeExcess,
];

impl Trend {
    /// The name that programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveGrows { .. } => "live_grows",
            Self::KeptGrows { .. } => "kept_grows",
            Self::OtherGrows { .. } => "other_grows",
            Self::Shrinks { .. } => "shrinks",
            Self::Steady => "steady",
        }
    }
}

impl Diff {
    /// Compares.
    #[must_use]
    pub fn of(before: &Survey, after: &Survey) -> Self {
        let (first, second) = (&before.account.tally, &after.account.tally);
        let rows = ROWS.map(|row| Change { before: first[row], after: second[row] });
        let kept = |tally: &Tally| KEPT.iter().map(|&row| tally[row]).sum();
        let same_process = is_same_process(before, after);
        let elapsed = after.origin.taken_unix_ms.checked_sub(before.origin.taken_unix_ms);
        Self {
            elapsed_ms: elapsed.filter(|&ms| ms > 0),
            same_process,
            rss: Change { before: before.rss, after: after.rss },
            rows,
            trim_gain: Change { before: before.trim_gain(), after: after.trim_gain() },
            live: Change { before: live(before), after: live(after) },
            kept: Change { before: kept(first), after: kept(second) },
            arenas: arenas(before, after, same_process),
            classes: classes(before, after),
            sites: sites(before, after),
        }
    }

    /// How a row changed.
    #[must_use]
    pub fn row(&self, row: Row) -> Change {
        self.rows[row as usize]
    }

    /// What grows, most of all.
    #[must_use]
    pub fn trend(&self) -> Trend {
        let least = MIN_BYTES.max(self.rss.before / MIN_PART) as i64;
        let grown = |change: Change| usize::try_from(change.grown()).unwrap_or(0);
        let largest = |rows: &mut dyn Iterator<Item = Row>| {
            rows.map(|row| (row, grown(self.row(row)))).max_by_key(|&(_, bytes)| bytes)
        };
        let other = largest(&mut ROWS.into_iter().filter(|row| !row.of_heap()));
        let (row, bytes) = other.unwrap_or((Row::Unattributed, 0));
        let (live, kept) = (grown(self.live.bytes()), grown(self.kept));
        let most = live.max(kept).max(bytes);
        if (most as i64) < least || self.rss.grown() <= -least && live < kept.max(bytes) {
            let fallen = usize::try_from(-self.rss.grown()).unwrap_or(0);
            return if fallen as i64 >= least {
                Trend::Shrinks { bytes: fallen }
            } else {
                Trend::Steady
            };
        }
        if live == most {
            Trend::LiveGrows { bytes: live, chunks: self.live.chunks().grown() }
        } else if kept == most {
            Trend::KeptGrows { bytes: kept }
        } else {
            Trend::OtherGrows { row, bytes }
        }
    }
}

/// Whether the heaps of both were read: else only the rows of mappings mean something.
#[must_use]
pub fn are_read(before: &Survey, after: &Survey) -> bool {
    let is_read = |seen: &Survey| matches!(seen.depth, Depth::Whole | Depth::Partial);
    is_read(before) && is_read(after)
}

fn is_same_process(before: &Survey, after: &Survey) -> bool {
    let (first, second) = (&before.origin, &after.origin);
    before.pid == after.pid
        && first.start_ticks == second.start_ticks
        && first.host.name == second.host.name
        && first.executable == second.executable
}

fn live(seen: &Survey) -> Count {
    let mut sum = seen.heaps.mapped;
    for arena in &seen.heaps.arenas {
        sum += arena.count(Kind::Live);
    }
    sum
}

/// Of one process arenas are known by their address, of two by their number.
fn arenas(before: &Survey, after: &Survey, same_process: bool) -> Vec<ArenaChange> {
    let key = |arena: &ArenaSummary| {
        if same_process && arena.index > 0 { arena.address } else { arena.index }
    };
    let mut all: BTreeMap<usize, ArenaChange> = BTreeMap::new();
    for arena in &before.heaps.arenas {
        let change = all.entry(key(arena)).or_default();
        change.index = arena.index;
        change.resident.before = arena.tally.sum();
        change.live.before = arena.count(Kind::Live);
        change.trim_gain.before = arena.trim_gain;
    }
    for arena in &after.heaps.arenas {
        let change = all.entry(key(arena)).or_default();
        change.index = arena.index;
        change.resident.after = arena.tally.sum();
        change.live.after = arena.count(Kind::Live);
        change.trim_gain.after = arena.trim_gain;
    }
    let is_changed = |change: &ArenaChange| {
        change.resident.grown() != 0 || !change.live.is_none() || change.trim_gain.grown() != 0
    };
    let mut changed: Vec<ArenaChange> = all.into_values().filter(is_changed).collect();
    changed.sort_by_key(|change| change.index);
    changed
}

fn classes(before: &Survey, after: &Survey) -> Vec<(Group, Change<Count>)> {
    let mut all: BTreeMap<Group, Change<Count>> = BTreeMap::new();
    for (class, count) in before.classes().filled() {
        all.entry(Group::Class(class)).or_default().before = count;
    }
    for (class, count) in after.classes().filled() {
        all.entry(Group::Class(class)).or_default().after = count;
    }
    let mapped = Change { before: before.heaps.mapped, after: after.heaps.mapped };
    all.insert(Group::Mapped, mapped);
    all.into_iter().filter(|(_, change)| !change.is_none()).collect()
}

fn sites(before: &Survey, after: &Survey) -> Vec<(String, Change<Count>)> {
    if before.sites.is_empty() || after.sites.is_empty() {
        return Vec::new();
    }
    let mut all: BTreeMap<&str, Change<Count>> = BTreeMap::new();
    for site in &before.sites {
        all.entry(&site.name).or_default().before = site.live;
    }
    for site in &after.sites {
        all.entry(&site.name).or_default().after = site.live;
    }
    let changed = all.into_iter().filter(|(_, change)| !change.is_none());
    changed.map(|(name, change)| (name.to_owned(), change)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(rss: (usize, usize), live: (usize, usize), kept: (usize, usize)) -> Diff {
        let change = |(before, after)| Change { before, after };
        let count = |bytes| Count { chunks: bytes / 32, bytes };
        Diff {
            rss: change(rss),
            live: Change { before: count(live.0), after: count(live.1) },
            kept: change(kept),
            ..Diff::default()
        }
    }

    #[test]
    fn what_grows_is_told_from_the_figures() {
        const M: usize = 1 << 20;
        let name = |rss, live, kept| diff(rss, live, kept).trend().name();
        assert_eq!(name((10 * M, 14 * M), (8 * M, 12 * M), (M, M)), "live_grows");
        assert_eq!(name((10 * M, 14 * M), (8 * M, 4 * M), (M, 9 * M)), "kept_grows");
        assert_eq!(name((10 * M, 10 * M), (8 * M, 8 * M + 100), (M, M)), "steady");
        assert_eq!(name((10 * M, 5 * M), (8 * M, 3 * M), (M, M)), "shrinks");
        assert_eq!(name((10 * M, 5 * M), (8 * M, 2 * M), (M, 2 * M)), "shrinks");
        // 100 KiB more are growth for 10 MiB, not for 1 GiB.
        let more = |m: usize| name((m * M, m * M), (M, M + (100 << 10)), (M, M));
        assert_eq!((more(10), more(1024)), ("live_grows", "steady"));
        let mut other = diff((10 * M, 14 * M), (M, M), (M, M));
        other.rows[Row::Files as usize] = Change { before: M, after: 5 * M };
        assert_eq!(other.trend(), Trend::OtherGrows { row: Row::Files, bytes: 4 * M });
    }
}
