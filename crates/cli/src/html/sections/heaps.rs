//! The heaps by page: a map to zoom, and for each heap a strip and its figures.

use heapwise_inspect::Survey;
use heapwise_inspect::heap::paint::{PageState, Picture};
use heapwise_inspect::heap::summary::{ArenaSummary, HeapSummary};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Section;
use crate::html::document::Document;
use crate::html::parts::{bytes, chip, count};
use crate::view::heapmap::{self, STATES};

/// So many heaps are shown, the largest first.
const HEAPS: usize = 64;
/// So many runs of pages a heap, at most: a picture with more is condensed.
const RUNS: usize = 40_000;
/// Cells of a strip.
const STRIP: usize = 400;

/// The section; none where no heap is read.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let seen = document.seen;
    let all = heapmap::painted(seen);
    if all.is_empty() {
        return None;
    }
    let heaps = &all[..all.len().min(HEAPS)];
    let body = html! {
        p { "Each page of each heap in the order of addresses. A heap gives back only pages without "
            "anything live: what pins the others can be seen here." }
        ul.legend {
            @for state in STATES {
                li { (state_chip(state)) (heapmap::name(state)) ": " span.soft { (heapmap::meaning(state)) } }
            }
        }
        div.tools.js-only {
            label for="map-heap" { "Heap" }
            select #map-heap {
                @for (index, (arena, heap)) in heaps.iter().enumerate() {
                    option value=(index) {
                        "arena " (arena.index) ", " (format!("{:#x}", heap.span.start)) ", "
                        (bytes(heap.span.bytes()))
                    }
                }
            }
            button.push #map-in type="button" { "Zoom in" }
            button #map-out type="button" { "Zoom out" }
            button #map-all type="button" { "All" }
        }
        div.map.js-only {
            canvas #map-canvas role="img"
                aria-label="Map of a heap by page. Plus and minus zoom, arrow keys move, 0 shows all." {}
            p.where #map-where aria-live="polite" {}
            p.small.soft { "Double click or Ctrl and the wheel zoom in, drag to move; or the keys + − 0 and arrows." }
        }
        div.scroll { table {
            caption { "The heaps, the largest first" }
            thead { tr {
                th.n scope="col" { "Arena" } th scope="col" { "Start" } th.n scope="col" { "Size" }
                @for state in STATES { th.n.optional scope="col" { (state_chip(state)) (heapmap::name(state)) } }
                th scope="col" { "Pages" }
            } }
            tbody {
                @for (index, (arena, heap)) in heaps.iter().enumerate() {
                    tr {
                        td.n { (arena.index) }
                        td { a.mono href="#heaps" data-heap=(index) { (format!("{:#x}", heap.span.start)) }
                            @if heap.broken.is_some() { " (walked in part)" } }
                        td.n { (bytes(heap.span.bytes())) }
                        @for pages in heapmap::counts(&heap.states) { td.n.optional { (count(pages)) } }
                        td.wide { (strip(&heap.states)) }
                    }
                }
            }
        } }
        @if all.len() > heaps.len() { p.small.soft { "and " (all.len() - heaps.len()) " smaller heaps" } }
    };
    Some(Section { id: "heaps", title: "Heap map", body, data: Some(("map", data(seen, heaps))) })
}

fn state_chip(state: PageState) -> Markup {
    match heapmap::part(state) {
        Some(part) => chip(part),
        None => html! { i.chip.none {} },
    }
}

fn strip(picture: &Picture) -> Markup {
    let cells = heapmap::cells(picture, heapmap::pages_per_cell(picture.len(), STRIP));
    let runs: Picture = cells.iter().copied().collect();
    let mut at = 0;
    html! {
        svg.strip viewBox={ "0 0 " (cells.len()) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            @for (state, length) in runs.runs() {
                @if let Some(part) = heapmap::part(state) {
                    rect x=(at) y="0" width=(length) height="1" style={ "fill:var(--" (part.name()) ")" } {}
                }
                @let () = at += length;
            }
        }
    }
}

fn data(seen: &Survey, heaps: &[(&ArenaSummary, &HeapSummary)]) -> Value {
    let letters = |of: &dyn Fn(PageState) -> &'static str| -> Map<String, Value> {
        STATES.into_iter().map(|state| (letter(state).to_string(), of(state).into())).collect()
    };
    json!({
        "states": letters(&heapmap::name),
        "names": letters(&heapmap::name),
        "heaps": heaps.iter().map(|(arena, heap)| {
            let (picture, per_cell) = condensed(&heap.states);
            json!({
                "arena": arena.index,
                "start": format!("{:#x}", heap.span.start),
                "cell_bytes": per_cell * seen.pages.page_bytes(),
                "cells": encoded(&picture),
            })
        }).collect::<Vec<_>>(),
    })
}

/// As it is, or so many pages a cell that the runs are few enough.
fn condensed(picture: &Picture) -> (Picture, usize) {
    let mut per_cell = 1;
    let mut shown = picture.clone();
    while shown.runs().count() > RUNS {
        per_cell *= 2;
        shown = heapmap::cells(picture, per_cell).into_iter().collect();
    }
    (shown, per_cell)
}

/// `L12F3U`: a letter a run, its length in base 36, left out if 1.
fn encoded(picture: &Picture) -> String {
    let mut text = String::new();
    for (state, length) in picture.runs() {
        text.push(letter(state));
        if length > 1 {
            text.push_str(&base_36(length));
        }
    }
    text
}

const fn letter(state: PageState) -> char {
    match state {
        PageState::Live => 'L',
        PageState::Pinned => 'P',
        PageState::Cached => 'C',
        PageState::Free => 'F',
        PageState::Untouched => 'U',
    }
}

fn base_36(mut number: usize) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageState::*;

    #[test]
    fn runs_are_written_short() {
        let picture: Picture = std::iter::repeat_n(Live, 40).chain([Free, Untouched]).collect();
        assert_eq!(encoded(&picture), "L14FU");
        assert_eq!(base_36(1_679_615), "zzzz");
    }

    #[test]
    fn a_picture_of_too_many_runs_is_condensed() {
        let picture: Picture =
            (0..RUNS * 4).map(|page| if page % 2 == 0 { Live } else { Free }).collect();
        let (shown, per_cell) = condensed(&picture);
        assert!(per_cell > 1 && shown.runs().count() <= RUNS);
        assert_eq!(condensed(&[Live, Free].into_iter().collect()).1, 1);
    }
}
