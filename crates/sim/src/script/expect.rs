//! What a script expects, so that a lab can fail.

use super::parse::{number, parse_size, word};

/// An expectation.
#[derive(Clone, PartialEq, Debug)]
pub enum Expectation {
    /// How the last statement ended.
    Ended(String),
    /// A figure against a value.
    Figure(Figure, Comparison, u64),
}

/// What can be compared.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "as in HELP")]
pub enum Figure {
    Rss(String),
    Anon(String),
    Size(String),
    Faults(String),
    Alive(String),
    Free,
    Committed,
    Kills,
    Blocks(u8),
    Used(String),
    Contiguous(String),
    Objects(String),
    Time,
}

/// How.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the signs say it")]
pub enum Comparison {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Comparison {
    /// Whether it holds.
    #[must_use]
    pub const fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// How a statement can end.
const ENDINGS: [&str; 15] = [
    "ok",
    "EAGAIN",
    "EOPNOTSUPP",
    "EPERM",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "EEXIST",
    "EINVAL",
    "EOVERFLOW",
    "SIGSEGV",
    "SIGBUS",
    "killed",
    "deadlock",
    "missing",
];

pub(super) fn parse_expectation(
    words: &mut std::str::SplitWhitespace<'_>,
) -> Result<Expectation, String> {
    let first = word(words, "what to expect")?;
    if ENDINGS.contains(&first.as_str()) {
        return Ok(Expectation::Ended(first));
    }
    let mut name = || word(words, "whose");
    let figure = match first.as_str() {
        "rss" => Figure::Rss(name()?),
        "anon" => Figure::Anon(name()?),
        "size" => Figure::Size(name()?),
        "faults" => Figure::Faults(name()?),
        "alive" => Figure::Alive(name()?),
        "used" => Figure::Used(name()?),
        "contiguous" => Figure::Contiguous(name()?),
        "objects" => Figure::Objects(name()?),
        "free" => Figure::Free,
        "committed" => Figure::Committed,
        "kills" => Figure::Kills,
        "time" => Figure::Time,
        "blocks" => Figure::Blocks(number(words, "an order")?.min(10) as u8),
        other => return Err(format!("`{other}` is neither a figure nor an ending")),
    };
    let sign = word(words, "=, <, <=, > or >=")?;
    let comparison = match sign.as_str() {
        "=" => Comparison::Equal,
        "<" => Comparison::Below,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Above,
        ">=" => Comparison::AtLeast,
        _ => return Err(format!("`{sign}` is none of =, <, <=, >, >=")),
    };
    let value = parse_size(&word(words, "a value")?, "a value")?;
    Ok(Expectation::Figure(figure, comparison, value))
}
