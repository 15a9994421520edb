//! Each heap by page: live, pinned, free, cached, untouched.

use std::io::{self, Write};

use anstyle::Style;
use heapwise_inspect::Survey;
use heapwise_inspect::heap::paint::Picture;
use heapwise_inspect::heap::summary::HeapSummary;
use serde_json::{Value, json};

use crate::units::{bytes, count};
use crate::view::heapmap::{self, STATES};

/// Signs a line.
const COLUMNS: usize = 64;
/// Lines a heap, at most: more pages share a sign.
const LINES: usize = 16;
/// So many heaps are drawn, the largest first.
const HEAPS: usize = 8;

/// Draws the heaps.
pub fn write(seen: &Survey, out: &mut impl Write) -> io::Result<()> {
    let heaps = heapmap::painted(seen);
    for (arena, heap) in heaps.iter().take(HEAPS) {
        let per_sign = heapmap::pages_per_cell(heap.states.len(), COLUMNS * LINES);
        let page_bytes = seen.pages.page_bytes();
        writeln!(out)?;
        writeln!(
            out,
            "arena {}, {:#x}, {} ({} a sign)",
            arena.index,
            heap.span.start,
            bytes(heap.span.bytes() as u64),
            bytes(per_sign.saturating_mul(page_bytes) as u64)
        )?;
        draw(&heap.states, per_sign, out)?;
        let parts: Vec<String> = STATES
            .iter()
            .map(|&state| (state, heap.states.count(state)))
            .filter(|&(_, pages)| pages > 0)
            .map(|(state, pages)| format!("{} {}", count(pages as u64), heapmap::name(state)))
            .collect();
        writeln!(out, "  pages: {}", parts.join(", "))?;
    }
    if heaps.len() > HEAPS {
        writeln!(out, "\n… and {} smaller heaps", heaps.len() - HEAPS)?;
    }
    Ok(())
}

fn draw(states: &Picture, per_sign: usize, out: &mut impl Write) -> io::Result<()> {
    let signs = heapmap::cells(states, per_sign);
    for line in signs.chunks(COLUMNS) {
        write!(out, "  │")?;
        for run in line.chunk_by(|a, b| a == b) {
            let part = heapmap::part(run[0]);
            let style = part.map_or(Style::new(), |part| part.ansi().on_default());
            let text: String = std::iter::repeat_n(heapmap::letter(run[0]), run.len()).collect();
            write!(out, "{style}{text}{style:#}")?;
        }
        writeln!(out, "{}│", " ".repeat(COLUMNS - line.len()))?;
    }
    Ok(())
}

/// The same for programs: pages of one state in a row, counted.
pub fn object(seen: &Survey) -> Vec<Value> {
    let runs = |heap: &HeapSummary| {
        let run = |(state, pages)| json!({ "state": heapmap::name(state), "pages": pages });
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
    fn a_heap_is_drawn_in_lines_of_signs() {
        use heapwise_inspect::heap::paint::PageState::*;
        let mut out = Vec::new();
        let picture = [Live, Free, Untouched].into_iter().collect();
        draw(&picture, 1, &mut anstream::StripStream::new(&mut out)).unwrap();
        let expected = format!("  │#.{}│\n", " ".repeat(COLUMNS - 2));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
