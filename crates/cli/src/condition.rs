//! `--fail-if`: a condition on the account, for scripts and CI.
//!
//! ```text
//! reclaimable > 20%        a row or total, a comparison, a share of the RSS or bytes
//! live_user >= 1.5G
//! ```

use std::str::FromStr;

use heapwise_inspect::diff::Diff;
use heapwise_inspect::{ROWS, Row, Survey};

/// A condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    figure: Figure,
    comparison: Comparison,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Rss,
    Reclaimable,
    Row(Row),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Bytes(f64),
    Percent(f64),
}

impl Condition {
    /// Whether it holds.
    pub fn holds(self, survey: &Survey) -> bool {
        let value = match self.figure {
            Figure::Rss => survey.rss,
            Figure::Reclaimable => survey.trim_gain(),
            Figure::Row(row) => survey.account.tally[row],
        };
        self.compares(value, survey.rss)
    }

    /// Whether the growth of its figure does; what has shrunk has grown by 0.
    pub fn holds_for_growth(self, diff: &Diff) -> bool {
        let change = match self.figure {
            Figure::Rss => diff.rss,
            Figure::Reclaimable => diff.trim_gain,
            Figure::Row(row) => diff.row(row),
        };
        self.compares(change.after.saturating_sub(change.before), diff.rss.before)
    }

    /// Whether it asks for what only a walk of the heap can tell.
    pub fn needs_heap(self) -> bool {
        match self.figure {
            Figure::Rss => false,
            Figure::Reclaimable => true,
            Figure::Row(row) => row.of_heap(),
        }
    }

    fn compares(self, value: usize, rss: usize) -> bool {
        let bound = match self.bound {
            Bound::Bytes(bytes) => bytes,
            Bound::Percent(percent) => rss as f64 * percent / 100.0,
        };
        let value = value as f64;
        match self.comparison {
            Comparison::Above => value > bound,
            Comparison::AtLeast => value >= bound,
            Comparison::Below => value < bound,
            Comparison::AtMost => value <= bound,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SIGNS: [(&str, Comparison); 4] = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
        ];
        let (name, comparison, bound) = SIGNS
            .into_iter()
            .find_map(|(sign, comparison)| {
                let (name, bound) = text.split_once(sign)?;
                Some((name.trim(), comparison, bound.trim()))
            })
            .ok_or("no comparison: write it as 'reclaimable>20%'")?;
        let figure = match name {
            "rss" => Figure::Rss,
            "reclaimable" => Figure::Reclaimable,
            _ => ROWS.into_iter().find(|row| row.name() == name).map(Figure::Row).ok_or_else(
                || {
                    let names: Vec<_> = ROWS.iter().map(|row| row.name()).collect();
                    format!("{name:?} is none of reclaimable, rss, {}", names.join(", "))
                },
            )?,
        };
        Ok(Self { figure, comparison, bound: parse_bound(bound)? })
    }
}

fn parse_bound(text: &str) -> Result<Bound, String> {
    let number = |digits: &str| {
        let value = digits.trim().parse::<f64>().ok();
        value
            .filter(|value| value.is_finite() && *value >= 0.0)
            .ok_or_else(|| format!("{text:?} is neither a share like 20% nor a size like 64M"))
    };
    if let Some(percent) = text.strip_suffix('%') {
        return number(percent).map(Bound::Percent);
    }
    const UNITS: [(char, f64); 3] = [('K', 1024.0), ('M', 1048576.0), ('G', 1073741824.0)];
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_suffix("IB").or(upper.strip_suffix('B')).unwrap_or(&upper);
    match UNITS.into_iter().find_map(|(unit, factor)| Some((plain.strip_suffix(unit)?, factor))) {
        Some((digits, factor)) => number(digits).map(|value| Bound::Bytes(value * factor)),
        None => number(plain).map(Bound::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, value: usize, rss: usize) -> bool {
        text.parse::<Condition>().unwrap().compares(value, rss)
    }

    #[test]
    fn shares_and_sizes_are_compared() {
        assert!(holds("reclaimable>20%", 21, 100) && !holds("reclaimable>20%", 20, 100));
        assert!(holds("live_user >= 1.5K", 1536, 0) && !holds("live_user >= 1.5KiB", 1535, 0));
        assert!(holds("rss<=10", 10, 10) && !holds("rss<10", 10, 10));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "reclaimable", "nonsense>1", "rss>x", "rss>-1", "rss>%", "rss>1T", "rss=5"]
        {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
