//! Live chunks by size class.

use maud::html;

use super::Section;
use crate::explain::words;
use crate::html::document::Document;
use crate::html::parts::{bytes, count, meter, percent};
use crate::view::palette::Part;

/// The section; none where no chunk was seen.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let classes = document.seen.classes();
    let all: Vec<_> = classes.filled().collect();
    let mapped = document.seen.heaps.mapped;
    if all.is_empty() && mapped.chunks == 0 {
        return None;
    }
    let chunks: usize = all.iter().map(|(_, held)| held.chunks).sum();
    let sum = all.iter().map(|(_, held)| held.bytes).sum::<usize>() + mapped.bytes;
    let most = all.iter().map(|(_, held)| held.bytes).chain([mapped.bytes]).max().unwrap_or(0);
    let body = html! {
        p { "What the program holds, by the size of its chunks (a request and 8 bytes, rounded up to 16), "
            "resident or not." }
        div.scroll.tall { table {
            thead { tr {
                th scope="col" { "Chunk size" } th.n scope="col" { "Chunks" } th.n scope="col" { "Bytes" }
                th.n scope="col" { "Share" } th.optional scope="col" { }
            } }
            tbody {
                @for (class, held) in &all {
                    tr {
                        td { (words::class(*class)) } td.n { (count(held.chunks)) } td.n { (bytes(held.bytes)) }
                        td.n { (percent(held.bytes, sum)) }
                        td.wide.optional { (meter(held.bytes, most, Part::Live)) }
                    }
                }
                @if mapped.chunks > 0 {
                    tr {
                        td { "each its own mapping" } td.n { (count(mapped.chunks)) }
                        td.n { (bytes(mapped.bytes)) } td.n { (percent(mapped.bytes, sum)) }
                        td.wide.optional { (meter(mapped.bytes, most, Part::Mapped)) }
                    }
                }
                tr.sum {
                    td { "all" } td.n { (count(chunks + mapped.chunks)) } td.n { (bytes(sum)) }
                    td.n { } td.optional { }
                }
            }
        } }
    };
    Some(Section { id: "sizes", title: "Sizes", body, data: None })
}
