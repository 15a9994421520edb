//! Where the simulated kernel puts mappings: the highest place that is free, as Linux does.

use std::collections::BTreeMap;

/// Mappings, by start: their ends. Neighbours are not merged; nothing depends on it.
#[derive(Debug)]
pub struct Space {
    start: usize,
    end: usize,
    areas: BTreeMap<usize, usize>,
}

impl Space {
    /// An empty space.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end, areas: BTreeMap::new() }
    }

    /// Maps `bytes`.
    pub fn place(&mut self, bytes: usize) -> Option<usize> {
        let mut end = self.end;
        for (&start, &area_end) in self.areas.iter().rev() {
            if end - area_end >= bytes {
                break;
            }
            end = start;
        }
        let lowest = self.areas.range(..end).next_back().map_or(self.start, |(_, &end)| end);
        let start = end.checked_sub(bytes).filter(|&start| start >= lowest)?;
        self.areas.insert(start, end);
        Some(start)
    }

    /// Removes a range, which may be a part of a mapping or of several.
    pub fn remove(&mut self, start: usize, end: usize) {
        let first = self.areas.range(..=start).next_back().map_or(start, |(&first, _)| first);
        let touched: Vec<(usize, usize)> =
            self.areas.range(first..end).map(|(&from, &to)| (from, to)).collect();
        for (from, to) in touched {
            if to <= start {
                continue;
            }
            self.areas.remove(&from);
            if from < start {
                self.areas.insert(from, start);
            }
            if end < to {
                self.areas.insert(end, to);
            }
        }
    }

    /// Lengthens or shortens the mapping at `start` in place; false if something is behind it.
    pub fn stretch(&mut self, start: usize, old_end: usize, end: usize) -> bool {
        let next = self.areas.range(old_end..).next().map_or(self.end, |(&next, _)| next);
        if end > next {
            return false;
        }
        self.areas.insert(start, end);
        true
    }

    /// All mappings.
    pub fn areas(&self) -> impl Iterator<Item = (usize, usize)> {
        self.areas.iter().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_stand_as_high_as_they_can() {
        let mut space = Space::new(0, 100);
        assert_eq!(space.place(30), Some(70));
        assert_eq!(space.place(30), Some(40));
        space.remove(70, 100);
        assert_eq!(space.place(20), Some(80));
        assert_eq!(space.place(40), Some(0));
        assert_eq!(space.place(10), Some(70));
        assert_eq!(space.place(1), None);
        space.remove(45, 85);
        assert_eq!(space.areas().collect::<Vec<_>>(), [(0, 40), (40, 45), (85, 100)]);
        assert!(space.stretch(40, 45, 85) && !space.stretch(40, 85, 86));
    }
}
