//! glibc's chunks with a mapping of their own.
//!
//! ```text
//! mapping │ 0 │ size │ M │ user data … │        size is the whole mapping (16 less from 2.43)
//! ```
//! No table leads to them, and neighbours can share one VMA with each other
//! and with anything else. So the first words of every resident page of
//! anonymous mappings are looked at; what follows a hit is skipped. The sum is
//! checked against `mp_`. (An aligned chunk's own header stands further in;
//! the one at the mapping's start stays behind, so that this finds it too.)

use super::version::Table;
use crate::process::maps::Mapping;
use crate::process::memory::Image;
use crate::span::Span;

/// Pages asked about at once, at first and at most.
const BATCH: (usize, usize) = (8, 1024);
const FLAGS: u64 = 7;
const MAPPED: u64 = 2;

/// Finds the mapped chunks outside of `taken` (in address order): their mappings.
#[must_use]
pub fn find(memory: &impl Image, table: &Table, maps: &[Mapping], taken: &[Span]) -> Vec<Span> {
    let page_bytes = memory.pages().page_bytes();
    let extra = table.mapped_extra;
    find_heads(memory, maps, taken, |at, (before, header), end| {
        let bytes = (header & !FLAGS) as usize;
        let total = bytes.checked_add(extra)?;
        let fits = before == 0
            && header & FLAGS == MAPPED
            && total >= page_bytes
            && total % page_bytes == 0
            && total <= end - at;
        fits.then(|| Span::new(at, at + total))
    })
}

/// Looks at the first two words of each resident page of anonymous data outside of `taken`;
/// `accept` says what stretch begins there, within a mapping that ends at the third argument.
pub fn find_heads(
    memory: &impl Image,
    maps: &[Mapping],
    taken: &[Span],
    accept: impl Fn(usize, (u64, u64), usize) -> Option<Span>,
) -> Vec<Span> {
    let mut found = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.is_plain_data()) {
        for gap in gaps(mapping.span, taken) {
            find_in(memory, gap, &accept, &mut found);
        }
    }
    found
}

fn find_in(
    memory: &impl Image,
    gap: Span,
    accept: &impl Fn(usize, (u64, u64), usize) -> Option<Span>,
    found: &mut Vec<Span>,
) {
    let page_bytes = memory.pages().page_bytes();
    let mut from = gap.start;
    let mut batch = BATCH.0;
    while from < gap.end {
        let pages: Vec<usize> = memory
            .pages()
            .runs_in(Span::new(from, gap.end))
            .filter(|run| !run.of_file)
            .flat_map(|run| {
                (run.span.start.next_multiple_of(page_bytes)..run.span.end).step_by(page_bytes)
            })
            .take(batch)
            .collect();
        let Some(&last) = pages.last() else { return };
        let hit = pages
            .iter()
            .zip(memory.heads(&pages))
            .find_map(|(&at, head)| accept(at, head?, gap.end));
        (from, batch) = match hit {
            Some(span) => {
                found.push(span);
                (span.end, BATCH.0)
            }
            None => (last + page_bytes, (batch * 2).min(BATCH.1)),
        };
    }
}

/// What of `span` lies in none of `taken`.
#[must_use]
pub fn gaps(span: Span, taken: &[Span]) -> Vec<Span> {
    let mut gaps = Vec::new();
    let mut from = span.start;
    let first = taken.partition_point(|other| other.end <= span.start);
    for other in taken[first..].iter().take_while(|other| other.start < span.end) {
        gaps.push(Span::new(from, other.start));
        from = from.max(other.end);
    }
    gaps.push(Span::new(from, span.end));
    gaps.retain(|gap| gap.bytes() > 0);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        let taken = [Span::new(10, 20), Span::new(30, 40), Span::new(50, 60)];
        assert_eq!(
            gaps(Span::new(0, 55), &taken),
            [Span::new(0, 10), Span::new(20, 30), Span::new(40, 50)]
        );
        assert_eq!(gaps(Span::new(12, 18), &taken), []);
        assert_eq!(gaps(Span::new(60, 70), &taken), [Span::new(60, 70)]);
    }
}
