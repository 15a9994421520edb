//! A heap by page: signs and colours of its states, several pages a cell, runs, counts.

use heapwise_inspect::Survey;
use heapwise_inspect::heap::paint::{PageState, Picture};
use heapwise_inspect::heap::summary::{ArenaSummary, HeapSummary};

use super::palette::Part;

/// The states, from the one that holds memory most to the one that holds none.
pub const STATES: [PageState; 5] =
    [PageState::Live, PageState::Pinned, PageState::Cached, PageState::Free, PageState::Untouched];

/// A word for it.
pub const fn name(state: PageState) -> &'static str {
    match part(state) {
        Some(part) => part.name(),
        None => "untouched",
    }
}

/// A sentence for a legend.
pub const fn meaning(state: PageState) -> &'static str {
    match state {
        PageState::Live => "mostly live",
        PageState::Pinned => "half free or more, but something lives there",
        PageState::Cached => "nothing live, but chunks in thread caches",
        PageState::Free => "nothing but free bytes",
        PageState::Untouched => "not resident: never touched, or given back",
    }
}

/// The part of the account that most of such a page is in; none if it is not resident.
pub const fn part(state: PageState) -> Option<Part> {
    match state {
        PageState::Live => Some(Part::Live),
        PageState::Pinned => Some(Part::Pinned),
        PageState::Cached => Some(Part::Cached),
        PageState::Free => Some(Part::Free),
        PageState::Untouched => None,
    }
}

/// One ASCII character.
pub const fn letter(state: PageState) -> char {
    match part(state) {
        Some(part) => part.letter(),
        None => ' ',
    }
}

/// One character that is the darker the more it holds, for terminals with Unicode.
pub const fn shade(state: PageState) -> char {
    match state {
        PageState::Live => '█',
        PageState::Pinned => '▓',
        PageState::Cached => '▒',
        PageState::Free => '░',
        PageState::Untouched => ' ',
    }
}

/// Heaps with a picture, the largest first.
pub fn painted(seen: &Survey) -> Vec<(&ArenaSummary, &HeapSummary)> {
    let mut heaps: Vec<_> = seen
        .heaps
        .arenas
        .iter()
        .flat_map(|arena| arena.heaps.iter().map(move |heap| (arena, heap)))
        .filter(|(_, heap)| !heap.states.is_empty())
        .collect();
    heaps.sort_by_key(|(_, heap)| (std::cmp::Reverse(heap.states.len()), heap.span.start));
    heaps
}

/// So many pages share a cell if at most `cells` may be drawn.
pub fn pages_per_cell(pages: usize, cells: usize) -> usize {
    pages.div_ceil(cells.max(1)).max(1)
}

/// A state a cell. O(runs + cells): a picture may claim to have any length.
pub fn cells(picture: &Picture, per_cell: usize) -> Vec<PageState> {
    let mut cells = Vec::new();
    let mut counts = [0; STATES.len()];
    let per_cell = per_cell.max(1);
    let mut left = per_cell;
    for (state, mut pages) in picture.runs() {
        while pages > 0 {
            let taken = pages.min(left);
            counts[rank(state)] += taken;
            pages -= taken;
            left -= taken;
            if left == 0 {
                cells.push(prevailing(&counts));
                (counts, left) = ([0; STATES.len()], per_cell);
            }
        }
    }
    if left < per_cell {
        cells.push(prevailing(&counts));
    }
    cells
}

/// Pages by state, in the order of [`STATES`].
pub fn counts(picture: &Picture) -> [usize; STATES.len()] {
    STATES.map(|state| picture.count(state))
}

/// Place in [`STATES`].
const fn rank(state: PageState) -> usize {
    match state {
        PageState::Live => 0,
        PageState::Pinned => 1,
        PageState::Cached => 2,
        PageState::Free => 3,
        PageState::Untouched => 4,
    }
}

/// What most of the pages are; of equals the one that keeps memory.
fn prevailing(counts: &[usize; STATES.len()]) -> PageState {
    let most = counts.iter().max().unwrap_or(&0);
    let first = counts.iter().position(|count| count == most).unwrap_or(STATES.len() - 1);
    STATES[first]
}

#[cfg(test)]
mod tests {
    use super::PageState::*;
    use super::*;

    #[test]
    fn a_cell_is_what_most_of_its_pages_are() {
        let picture: Picture =
            [Free, Free, Live, Free, Live, Untouched, Untouched].into_iter().collect();
        assert_eq!(cells(&picture, 3), [Free, Live, Untouched]);
        assert_eq!(cells(&picture, 1).len(), 7);
        assert_eq!(cells(&picture, 7), [Free]);
        assert!(cells(&Picture::default(), 4).is_empty());
        assert_eq!(counts(&picture), [2, 0, 0, 3, 2]);
        for (index, state) in STATES.into_iter().enumerate() {
            assert_eq!(rank(state), index);
        }
    }

    #[test]
    fn all_pages_fit_into_the_cells_there_are() {
        for pages in [0_usize, 1, 7, 8, 9, 1000, 16_777_216] {
            for room in [0, 1, 7, 100] {
                assert!(pages.div_ceil(pages_per_cell(pages, room)) <= room.max(1));
            }
        }
    }
}
