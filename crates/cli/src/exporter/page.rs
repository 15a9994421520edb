//! A page of metrics: samples by family, before it is known in which format they are wanted.

use std::borrow::Cow;

/// What a family is, in the words of OpenMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Always 1, the labels are what it tells; its samples end in `_info`.
    Info,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Info => "info",
        }
    }
}

/// Samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Without the suffix of a counter or an info.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels beside `pid` and `name`.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

impl Family {
    /// As its samples are called.
    pub fn sample_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        format!("{}{suffix}", self.name)
    }

    /// The unit that the name ends in.
    pub fn unit(&self) -> Option<&'static str> {
        ["bytes", "seconds"].into_iter().find(|unit| self.name.ends_with(unit))
    }
}

/// A label.
pub type Label = (&'static str, Cow<'static, str>);

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is of.
    pub family: &'static Family,
    /// Which one of the family.
    pub labels: Vec<Label>,
    /// How much.
    pub value: f64,
}

/// All lines, in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The lines.
    pub samples: Vec<Sample>,
}

impl Page {
    /// Adds a line.
    pub fn push(&mut self, family: &'static Family, labels: Vec<Label>, value: f64) {
        self.samples.push(Sample { family, labels, value });
    }
}
