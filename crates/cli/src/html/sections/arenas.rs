//! The arenas: whose they are, and what each keeps.

use heapwise_inspect::Survey;
use heapwise_inspect::heap::summary::ArenaSummary;
use maud::{Markup, html};

use super::Section;
use crate::html::document::Document;
use crate::html::parts::{bar, bytes, bytes_or_dash, of};
use crate::view::palette::Part;

/// So many are listed.
const LISTED: usize = 200;
/// So many threads of an arena are named.
const NAMED: usize = 3;

/// The section; none without arenas.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let seen = document.seen;
    let mut arenas: Vec<_> = seen.heaps.arenas.iter().collect();
    if arenas.is_empty() {
        return None;
    }
    arenas.sort_by_key(|arena| (std::cmp::Reverse(arena.tally.sum()), arena.index));
    let body = html! {
        p { (arenas.len()) @if arenas.len() == 1 { " arena" } @else { " arenas" }
            ", the largest first. Each keeps what its threads have freed." }
        div.scroll.tall { table {
            thead { tr {
                th.n scope="col" { "Arena" } th scope="col" { "Threads" }
                th.n.optional scope="col" { "From system" } th.n scope="col" { "Resident" }
                th.n.optional scope="col" { "Live" } th.n.optional scope="col" { "Pinned" }
                th.n.optional scope="col" { "Cached" } th.n.optional scope="col" { "Free" }
                th.n scope="col" { "A trim" } th scope="col" { "Parts" }
            } }
            tbody { @for arena in arenas.iter().take(LISTED) { (line(seen, arena)) } }
        } }
        @if arenas.len() > LISTED { p.small.soft { "and " (arenas.len() - LISTED) " smaller ones" } }
    };
    Some(Section { id: "arenas", title: "Arenas", body, data: None })
}

fn line(seen: &Survey, arena: &ArenaSummary) -> Markup {
    let name = |tid: &u32| {
        let thread = seen.threads.all.iter().find(|thread| thread.tid == *tid);
        thread.map_or(tid.to_string(), |thread| format!("{tid} {}", thread.name))
    };
    let names: Vec<String> = arena.threads.iter().take(NAMED).map(name).collect();
    html! {
        tr {
            td.n { (arena.index) }
            td { (names.join(", "))
                @if arena.threads.len() > NAMED { " and " (arena.threads.len() - NAMED) " more" }
                @if arena.threads.is_empty() { span.soft { "none" } }
                @if !arena.is_whole() { " (walked in part)" } }
            td.n.optional { (bytes(arena.system_bytes)) }
            td.n { (bytes(arena.tally.sum())) }
            @for part in [Part::Live, Part::Pinned, Part::Cached, Part::Free] {
                td.n.optional { (bytes_or_dash(of(part, &arena.tally))) }
            }
            td.n { (bytes_or_dash(arena.trim_gain)) }
            td.wide { (bar(&arena.tally, true)) }
        }
    }
}
