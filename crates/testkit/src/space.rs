//! Which mapping is where: the simulated kernel's areas, and what may be done to them.
//!
//! ```text
//! span.start ├─ free ─┤ area 3, reserved ├ area 3, usable ┤ free ├ area 7, usable ┤ span.end
//! ```
//! Strict: a call may only touch one mapping of the caller's, whole pages of
//! it; the kernel itself would not mind a range over two, but it is a mistake.

use heapwise_malloc::os::Span;
use std::collections::BTreeMap;

/// A range of one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its end.
    pub end: usize,
    /// Which mapping it is of.
    pub id: u32,
    /// Whether there is memory behind it.
    pub usable: bool,
    /// The caller gave it up, the kernel refused to take it.
    pub abandoned: bool,
}

/// The areas, by start.
#[derive(Debug)]
pub struct Space {
    span: Span,
    page_bytes: usize,
    areas: BTreeMap<usize, Area>,
    next_id: u32,
}

impl Space {
    /// An empty space.
    #[must_use]
    pub const fn new(span: Span, page_bytes: usize) -> Self {
        Self { span, page_bytes, areas: BTreeMap::new(), next_id: 1 }
    }

    /// All areas.
    pub fn areas(&self) -> impl Iterator<Item = (Span, Area)> {
        self.areas.iter().map(|(&start, &area)| (Span::new(start, area.end), area))
    }

    /// Maps `bytes` at the highest place that is free, as Linux does.
    pub fn place(&mut self, bytes: usize, usable: bool) -> Option<usize> {
        assert!(bytes > 0 && bytes.is_multiple_of(self.page_bytes), "a mapping of {bytes} bytes");
        let mut end = self.span.end;
        let mut found = None;
        for (&start, area) in self.areas.iter().rev() {
            if end - area.end >= bytes {
                found = Some(end - bytes);
                break;
            }
            end = start;
        }
        let start = found.or_else(|| (end - self.span.start >= bytes).then(|| end - bytes))?;
        let area = Area { end: start + bytes, id: self.next_id, usable, abandoned: false };
        self.next_id += 1;
        self.areas.insert(start, area);
        Some(start)
    }

    /// Asserts that `span` is whole pages of one mapping of the caller's.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_owned(&self, span: Span, what: &str) {
        let pages =
            span.start.is_multiple_of(self.page_bytes) && span.end.is_multiple_of(self.page_bytes);
        assert!(span.bytes() > 0 && pages, "{what} of {span:x?}: not whole pages");
        let mut at = span.start;
        let mut id = None;
        while at < span.end {
            let area = self.areas.range(..=at).next_back().map(|(_, area)| *area);
            match area.filter(|a| a.end > at && !a.abandoned) {
                Some(area) if id.is_none_or(|id| id == area.id) => {
                    id = Some(area.id);
                    at = area.end;
                }
                Some(_) => panic!("{what} of {span:x?}: two mappings, the second from {at:x}"),
                None => panic!("{what} of {span:x?}: not the caller's from {at:x}"),
            }
        }
    }

    /// Asserts that all of `span` has memory behind it (or none of it has).
    ///
    /// # Panics
    /// If that is not so.
    pub fn assert_usable(&self, span: Span, usable: bool, what: &str) {
        let first = self.areas.range(..=span.start).next_back().map_or(span.start, |(&s, _)| s);
        let mixed = self.areas.range(first..span.end).any(|(_, area)| area.usable != usable);
        assert!(!mixed, "{what} of {span:x?}: usable there is not {usable} everywhere");
    }

    /// Asserts that `span` is exactly one mapping.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_whole(&self, span: Span, what: &str) {
        self.assert_owned(span, what);
        let area = self.areas[&self.start_of(span.start)];
        let siblings = self.areas.values().filter(|a| a.id == area.id && !a.abandoned).count();
        let whole = self.areas.get(&span.start).is_some_and(|a| a.end == span.end);
        assert!(whole && siblings == 1, "{what} of {span:x?}: not a whole mapping");
    }

    fn start_of(&self, address: usize) -> usize {
        self.areas.range(..=address).next_back().map_or(address, |(&start, _)| start)
    }

    /// Cuts the area around `address` there.
    fn split(&mut self, address: usize) {
        let start = self.start_of(address);
        let Some(area) = self.areas.get_mut(&start) else { return };
        if start < address && address < area.end {
            let upper = *area;
            area.end = address;
            self.areas.insert(address, upper);
        }
    }

    fn edit(&mut self, span: Span, change: impl Fn(&mut Area)) {
        self.split(span.start);
        self.split(span.end);
        self.areas.range_mut(span.start..span.end).for_each(|(_, area)| change(area));
    }

    /// Notes that there is memory behind `span` now.
    pub fn set_usable(&mut self, span: Span) {
        self.edit(span, |area| area.usable = true);
    }

    /// Notes that the caller wanted to be rid of `span`, in vain.
    pub fn abandon(&mut self, span: Span) {
        self.edit(span, |area| area.abandoned = true);
    }

    /// Forgets `span`.
    pub fn remove(&mut self, span: Span) {
        self.split(span.start);
        self.split(span.end);
        let starts: Vec<usize> = self.areas.range(span.start..span.end).map(|(&s, _)| s).collect();
        for start in starts {
            self.areas.remove(&start);
        }
    }

    /// Lengthens or shortens a whole mapping in place; false if something is behind it.
    pub fn stretch(&mut self, span: Span, bytes: usize) -> bool {
        let end = span.start + bytes;
        let next = self.areas.range(span.end..).next().map_or(self.span.end, |(&start, _)| start);
        if end > next {
            return false;
        }
        if let Some(area) = self.areas.get_mut(&span.start) {
            area.end = end;
        }
        true
    }
}
