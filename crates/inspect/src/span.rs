//! A stretch of addresses, `start..end`, and rounding to pages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Addresses from `start` up to, not including, `end`. Never backwards.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(usize, usize)", try_from = "(usize, usize)")]
pub struct Span {
    /// First address.
    pub start: usize,
    /// First address behind.
    pub end: usize,
}

impl Span {
    /// `start..end`; empty at `start` if `end` lies before it.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// Length.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.end - self.start
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub const fn contains(self, address: usize) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether all of `inner` lies inside.
    #[must_use]
    pub const fn covers(self, inner: Self) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }

    /// What both have in common.
    #[must_use]
    pub fn overlap(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Cut into pieces of so many bytes, the last one of what is left.
    pub fn pieces(self, bytes: usize) -> impl Iterator<Item = Self> {
        let cut = move |start: usize| Self::new(start, start.saturating_add(bytes).min(self.end));
        (self.start..self.end).step_by(bytes).map(cut)
    }

    /// The whole pages inside.
    #[must_use]
    pub fn whole_pages(self, page_bytes: usize) -> Self {
        Self::new(page_up(self.start, page_bytes), page_down(self.end, page_bytes))
    }
}

impl From<Span> for (usize, usize) {
    fn from(span: Span) -> Self {
        (span.start, span.end)
    }
}

impl TryFrom<(usize, usize)> for Span {
    type Error = &'static str;

    fn try_from((start, end): (usize, usize)) -> Result<Self, Self::Error> {
        if start <= end {
            Ok(Self { start, end })
        } else {
            Err("a stretch that ends before it begins")
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

/// `address` rounded down to a page.
#[must_use]
pub const fn page_down(address: usize, page_bytes: usize) -> usize {
    address & !(page_bytes - 1)
}

/// `address` rounded up to a page; stays at the top of the address space.
#[must_use]
pub const fn page_up(address: usize, page_bytes: usize) -> usize {
    page_down(address.saturating_add(page_bytes - 1), page_bytes)
}
