//! Each heap by page: live, pinned, free, cached, untouched.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use heapwise_inspect::Survey;
use heapwise_inspect::heap::paint::{PageState, Picture};
use heapwise_inspect::heap::summary::HeapSummary;
use serde_json::{Value, json};

use crate::units::{bytes, count};

/// Signs a line.
const COLUMNS: usize = 64;
/// Lines a heap, at most: more pages share a sign.
const LINES: usize = 16;
/// So many heaps are drawn, the largest first.
const HEAPS: usize = 8;

const STATES: [PageState; 5] =
    [PageState::Live, PageState::Pinned, PageState::Cached, PageState::Free, PageState::Untouched];

fn sign(state: PageState) -> (char, Style) {
    match state {
        PageState::Live => ('#', AnsiColor::Red.on_default()),
        PageState::Pinned => ('o', AnsiColor::Yellow.on_default()),
        PageState::Cached => ('c', AnsiColor::Cyan.on_default()),
        PageState::Free => ('.', AnsiColor::Green.on_default()),
        PageState::Untouched => (' ', Style::new()),
    }
}

fn name(state: PageState) -> &'static str {
    match state {
        PageState::Live => "live",
        PageState::Pinned => "pinned",
        PageState::Cached => "cached",
        PageState::Free => "free",
        PageState::Untouched => "untouched",
    }
}

/// Draws the heaps.
pub fn write(seen: &Survey, out: &mut impl Write) -> io::Result<()> {
    let mut heaps: Vec<(usize, &HeapSummary)> = seen
        .heaps
        .arenas
        .iter()
        .flat_map(|arena| arena.heaps.iter().map(|heap| (arena.index, heap)))
        .filter(|(_, heap)| !heap.states.is_empty())
        .collect();
    heaps.sort_by_key(|(_, heap)| std::cmp::Reverse(heap.states.len()));
    for (arena, heap) in heaps.iter().take(HEAPS) {
        let per_sign = heap.states.len().div_ceil(COLUMNS * LINES).max(1);
        let page_bytes = seen.pages.page_bytes();
        writeln!(out)?;
        writeln!(
            out,
            "arena {arena}, {:#x}, {} ({} a sign)",
            heap.span.start,
            bytes(heap.span.bytes() as u64),
            bytes(per_sign.saturating_mul(page_bytes) as u64)
        )?;
        draw(&heap.states, per_sign, out)?;
        let parts: Vec<String> = STATES
            .iter()
            .map(|&state| (state, heap.states.count(state)))
            .filter(|&(_, pages)| pages > 0)
            .map(|(state, pages)| format!("{} {}", count(pages as u64), name(state)))
            .collect();
        writeln!(out, "  pages: {}", parts.join(", "))?;
    }
    if heaps.len() > HEAPS {
        writeln!(out, "\n… and {} smaller heaps", heaps.len() - HEAPS)?;
    }
    Ok(())
}

fn draw(states: &Picture, per_sign: usize, out: &mut impl Write) -> io::Result<()> {
    let signs = signs(states, per_sign);
    for line in signs.chunks(COLUMNS) {
        write!(out, "  │")?;
        for run in line.chunk_by(|a, b| a == b) {
            let (letter, style) = sign(run[0]);
            let text: String = std::iter::repeat_n(letter, run.len()).collect();
            write!(out, "{style}{text}{style:#}")?;
        }
        writeln!(out, "{}│", " ".repeat(COLUMNS - line.len()))?;
    }
    Ok(())
}

/// A sign for so many pages each. O(runs + signs): a picture may claim to have any length.
fn signs(picture: &Picture, per_sign: usize) -> Vec<PageState> {
    let mut signs = Vec::new();
    let mut counts = [0; STATES.len()];
    let mut left = per_sign;
    for (state, mut pages) in picture.runs() {
        while pages > 0 {
            let taken = pages.min(left);
            let known = STATES.iter().position(|&other| other == state);
            counts[known.unwrap_or(0)] += taken;
            pages -= taken;
            left -= taken;
            if left == 0 {
                signs.push(prevailing(&counts));
                (counts, left) = ([0; STATES.len()], per_sign);
            }
        }
    }
    if left < per_sign {
        signs.push(prevailing(&counts));
    }
    signs
}

/// What most of the pages are; of equals the one that keeps memory, the first in [`STATES`].
fn prevailing(counts: &[usize; STATES.len()]) -> PageState {
    let mut best = 0;
    for (index, &pages) in counts.iter().enumerate() {
        if pages > counts[best] {
            best = index;
        }
    }
    STATES[best]
}

/// The same for programs: a letter a page, runs counted.
pub fn object(seen: &Survey) -> Vec<Value> {
    let runs = |heap: &HeapSummary| {
        let run = |(state, pages)| json!({ "state": name(state), "pages": pages });
        heap.states.runs().map(run).collect::<Vec<_>>()
    };
    seen.heaps
        .arenas
        .iter()
        .flat_map(|arena| {
            arena.heaps.iter().map(|heap| {
                json!({
                    "arena": arena.index,
                    "start": format!("{:#x}", heap.span.start),
                    "bytes": heap.span.bytes(),
                    "whole": heap.broken.is_none(),
                    "pages": runs(heap),
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_what_most_of_its_pages_are() {
        use PageState::*;
        let picture: Picture =
            [Free, Free, Live, Free, Live, Untouched, Untouched].into_iter().collect();
        assert_eq!(signs(&picture, 3), [Free, Live, Untouched]);
        assert_eq!(signs(&picture, 1).len(), 7);
        assert_eq!(signs(&picture, 7), [Live]);
        assert!(signs(&Picture::default(), 4).is_empty());
    }
}
