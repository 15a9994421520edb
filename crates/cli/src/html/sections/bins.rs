//! The free lists of every arena and thread.

use maud::{Markup, html};

use super::Section;
use crate::bins::{cache_rows, rows};
use crate::html::document::Document;

/// So many arenas, and as many caches, are listed.
const LISTED: usize = 64;

/// The section; none without arenas.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let heaps = &document.seen.heaps;
    if heaps.arenas.is_empty() {
        return None;
    }
    let body = html! {
        p { "What lies ready, list by list. A bin is sound if every link comes back, every chunk is of the "
            "bin's sizes, and its neighbour knows that it is free." }
        @for (number, arena) in heaps.arenas.iter().take(LISTED).enumerate() {
            (lists(&format!("Arena {}", arena.index), &rows(arena), number == 0))
        }
        @for cache in heaps.caches.iter().take(LISTED) {
            @let owner = cache.tid.map_or("a thread not known".into(), |tid| format!("thread {tid}"));
            (lists(&format!("Cache of {owner}"), &cache_rows(cache), false))
        }
        @if heaps.arenas.len() > LISTED || heaps.caches.len() > LISTED {
            p.small.soft { "The first " (LISTED) " arenas and caches are listed." }
        }
    };
    Some(Section { id: "bins", title: "Bins", body, data: None })
}

fn lists(title: &str, rows: &[Vec<String>], open: bool) -> Markup {
    html! {
        details open[open] {
            summary { (title) ", " (rows.len()) @if rows.len() == 1 { " list" } @else { " lists" } }
            div.scroll.tall { table {
                thead { tr {
                    th scope="col" { "List" } th.n scope="col" { "Chunks" }
                    th.n scope="col" { "Bytes" } th scope="col" { "State" }
                } }
                tbody { @for row in rows { tr {
                    @for (column, cell) in row.iter().enumerate() {
                        td.n[column == 1 || column == 2] { (cell) }
                    }
                } } }
            } }
        }
    }
}
