//! Live memory by allocation site.

use maud::html;

use super::Section;
use crate::html::document::Document;
use crate::html::parts::{bytes, count, meter, percent};
use crate::view::palette::Part;

/// So many have a line of their own.
const LISTED: usize = 50;

/// The section; none where no recording told.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let sites = &document.seen.sites;
    let most = sites.iter().map(|site| site.live.bytes).max()?;
    let sum: usize = sites.iter().map(|site| site.live.bytes).sum();
    let body = html! {
        p { "What lives of the memory allocated since the recording began, by the functions that wanted it; "
            "of a sampled recording an estimate." }
        div.scroll.tall { table {
            thead { tr {
                th scope="col" { "Allocated at" } th.n scope="col" { "Blocks" } th.n scope="col" { "Bytes" }
                th.n scope="col" { "Share" } th.optional scope="col" { }
            } }
            tbody {
                @for site in sites.iter().take(LISTED) {
                    tr {
                        td.words { (site.name) } td.n { (count(site.live.chunks)) }
                        td.n { (bytes(site.live.bytes)) } td.n { (percent(site.live.bytes, sum)) }
                        td.wide.optional { (meter(site.live.bytes, most, Part::Live)) }
                    }
                }
                @if sites.len() > LISTED {
                    tr { td { "… and " (count(sites.len() - LISTED)) " smaller ones" } td { } td { } td { }
                        td.optional { } }
                }
            }
        } }
    };
    Some(Section { id: "sites", title: "Allocation sites", body, data: None })
}
