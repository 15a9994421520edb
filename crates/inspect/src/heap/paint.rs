//! A picture of a heap: what is on each of its pages.

use super::{Kind, Piece};
use crate::process::pages::Pages;
use crate::span::Span;

/// What a page of a heap is, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The state of every page, in order.
    #[must_use]
    pub fn states(&self, resident: &Pages) -> Vec<PageState> {
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
        assert_eq!(painting.states(&pages), [Live, Pinned, Free, Cached, Untouched]);
    }
}
