//! A picture of a heap: what is on each of its pages.

use serde::{Deserialize, Serialize};

use super::{Kind, Piece};
use crate::process::pages::Pages;
use crate::span::Span;

/// What a page of a heap is, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// Not resident.
    Untouched,
    /// Live chunks, and free bytes on less than half of it.
    Live,
    /// Free bytes on half of it or more, but something live too.
    Pinned,
    /// Nothing live, but chunks in thread caches.
    Cached,
    /// Nothing but free bytes.
    Free,
}

/// The pages of a heap in order, as runs of one state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picture {
    runs: Vec<(PageState, u32)>,
}

impl Picture {
    /// States and how many pages in a row have them.
    pub fn runs(&self) -> impl Iterator<Item = (PageState, usize)> + '_ {
        self.runs.iter().map(|&(state, pages)| (state, pages as usize))
    }

    /// How many pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs().map(|(_, pages)| pages).sum()
    }

    /// No page, or not painted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pages are in a state.
    #[must_use]
    pub fn count(&self, state: PageState) -> usize {
        self.runs().filter(|&(other, _)| other == state).map(|(_, pages)| pages).sum()
    }

    /// State after state.
    pub fn iter(&self) -> impl Iterator<Item = PageState> + '_ {
        self.runs().flat_map(|(state, pages)| std::iter::repeat_n(state, pages))
    }
}

impl FromIterator<PageState> for Picture {
    fn from_iter<I: IntoIterator<Item = PageState>>(states: I) -> Self {
        let mut runs: Vec<(PageState, u32)> = Vec::new();
        for state in states {
            match runs.last_mut() {
                Some((last, pages)) if *last == state && *pages < u32::MAX => *pages += 1,
                _ => runs.push((state, 1)),
            }
        }
        Self { runs }
    }
}

/// Bytes of each page by use; a page has at most 64 KiB.
#[derive(Clone, Debug)]
pub struct Painting {
    base: usize,
    page_bytes: usize,
    pages: Vec<Use>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    live: u32,
    cached: u32,
    free: u32,
}

/// A heap longer than this is not painted: 16 million pages.
const MAX_PAGES: usize = 1 << 24;

impl Painting {
    /// An empty picture of `span`.
    #[must_use]
    pub fn new(span: Span, page_bytes: usize) -> Self {
        let base = crate::span::page_down(span.start, page_bytes);
        let pages = span.end.saturating_sub(base).div_ceil(page_bytes).min(MAX_PAGES);
        Self { base, page_bytes, pages: vec![Use::default(); pages] }
    }

    /// Puts a chunk into the picture. O(its pages).
    pub fn add(&mut self, piece: Piece) {
        let mut at = piece.address;
        while at < piece.end() {
            let Some(index) = at.checked_sub(self.base).map(|offset| offset / self.page_bytes)
            else {
                return;
            };
            let Some(page) = self.pages.get_mut(index) else { return };
            let end = (self.base + (index + 1) * self.page_bytes).min(piece.end());
            let bytes = (end - at) as u32;
            match piece.kind {
                Kind::Live | Kind::Metadata | Kind::Fencepost => page.live += bytes,
                Kind::Cached => page.cached += bytes,
                Kind::Fast | Kind::Free | Kind::Top => page.free += bytes,
            }
            at = end;
        }
    }

    /// Adds a painting of another part of the same span, page by page.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.pages.iter_mut().zip(&other.pages) {
            own.live += more.live;
            own.cached += more.cached;
            own.free += more.free;
        }
    }

    /// The state of every page, in order.
    #[must_use]
    pub fn states(&self, resident: &Pages) -> Picture {
        let state = |(index, page): (usize, &Use)| {
            if !resident.is_resident(self.base + index * self.page_bytes) {
                PageState::Untouched
            } else if page.live == 0 && page.cached > 0 {
                PageState::Cached
            } else if page.live == 0 && page.free > 0 {
                PageState::Free
            } else if page.free >= self.page_bytes as u32 / 2 {
                PageState::Pinned
            } else {
                PageState::Live
            }
        };
        self.pages.iter().enumerate().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pages::Run;

    #[test]
    fn a_page_is_what_is_on_it() {
        let span = Span::new(0x1000, 0x6000);
        let resident = Span::new(0x1000, 0x5000);
        let run = Run { span: resident, of_file: false, huge: false };
        let pages = Pages::from_runs(4096, vec![run], true);
        let mut painting = Painting::new(span, 4096);
        let mut add = |address, bytes, kind| painting.add(Piece { address, bytes, kind });
        add(0x1000, 0x1000, Kind::Live);
        add(0x2000, 0x20, Kind::Live);
        add(0x2020, 0x1fe0, Kind::Free);
        add(0x4000, 0x100, Kind::Cached);
        add(0x4100, 0x1f00, Kind::Top);
        use PageState::*;
        let picture = painting.states(&pages);
        let states: Vec<PageState> = picture.iter().collect();
        assert_eq!(states, [Live, Pinned, Free, Cached, Untouched]);
        assert_eq!((picture.len(), picture.count(Free)), (5, 1));
    }
}
