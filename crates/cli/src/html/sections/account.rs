//! The account: a bar, and the rows that sum to the RSS.

use heapwise_inspect::heap::Kind;
use heapwise_inspect::{ROWS, Row, Survey};
use maud::html;

use super::Section;
use crate::explain::words;
use crate::html::document::Document;
use crate::html::parts::{bar, bytes, chip, count, meter, of, percent};
use crate::view::palette::{PARTS, Part};

/// The section.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let seen = document.seen;
    let tally = &seen.account.tally;
    let most = ROWS.iter().map(|row| tally[*row]).max().unwrap_or(0);
    let figures = &seen.figures;
    let whole = words::whole(seen);
    let body = html! {
        p { "Every byte, once: the rows sum to the " (whole) " to the byte." }
        (bar(tally, false))
        ul.legend {
            @for part in PARTS.into_iter().filter(|part| of(*part, tally) > 0) {
                li { (chip(part)) (part.name()) ": " span.soft { (part.meaning()) } }
            }
        }
        div.scroll { table {
            thead { tr {
                th scope="col" { "What" } th.n scope="col" { "Bytes" } th.n scope="col" { "Share" }
                th.n scope="col" { "Chunks" } th.optional scope="col" { }
            } }
            tbody {
                @for row in ROWS.into_iter().filter(|row| tally[*row] > 0) {
                    tr {
                        td { (chip(Part::of(row))) (row.title()) }
                        td.n { (bytes(tally[row])) }
                        td.n { (percent(tally[row], seen.rss)) }
                        td.n { (chunks(seen, row)) }
                        td.wide.optional { (meter(tally[row], most, Part::of(row))) }
                    }
                }
                tr.sum {
                    td { (whole) } td.n { (bytes(seen.rss)) } td.n { } td.n { } td.optional { }
                }
            }
        } }
        @for runtime in &seen.runtimes { p { "Past malloc: " (words::runtime(runtime)) "." } }
        h3 { "Beside it" }
        dl.facts {
            dt { "Page tables" } dd { (bytes(figures.page_tables)) }
            dt { "Swapped out" } dd { (bytes(figures.swap)) }
            @if figures.hugetlb > 0 { dt { "hugetlbfs" } dd { (bytes(figures.hugetlb)) } }
            @if figures.anon_huge > 0 {
                dt { "In transparent huge pages" } dd { (bytes(figures.anon_huge)) }
            }
            @if let Some(group) = &seen.cgroup {
                dt { "Control group" }
                dd { (bytes(group.usage)) " of "
                    @match group.limit {
                        Some(limit) => { (bytes(limit)) " (" (percent(group.usage, limit)) ")" }
                        None => "no limit"
                    }
                }
            }
        }
    };
    Some(Section { id: "account", title: "Account", body, data: None })
}

fn chunks(seen: &Survey, row: Row) -> String {
    let kind = match row {
        Row::LiveUser => Kind::Live,
        Row::FreeWholePages => Kind::Free,
        Row::ThreadCaches => Kind::Cached,
        Row::Fastbins => Kind::Fast,
        Row::MappedChunks => return count(seen.heaps.mapped.chunks),
        _ => return String::new(),
    };
    let all = seen.heaps.arenas.iter().map(|arena| arena.count(kind).chunks);
    count(all.fold(0, usize::saturating_add))
}
