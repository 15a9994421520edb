//! Each mapping, and what it is.

use std::collections::HashMap;

use heapwise_inspect::process::figures::MappingFigures;
use maud::html;

use super::Section;
use crate::html::document::Document;
use crate::html::parts::{bytes, bytes_or_dash};
use crate::maps::label::Labels;

/// So many are listed; beyond that those with most resident bytes are.
const LISTED: usize = 4000;

/// The section; none where they may not be read.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let seen = document.seen;
    if seen.maps.is_empty() {
        return None;
    }
    let labels = Labels::new(seen);
    let figures: HashMap<usize, &MappingFigures> =
        seen.mapping_figures.iter().map(|figures| (figures.start, figures)).collect();
    let resident = |index: &usize| seen.pages.resident(seen.maps[*index].span);
    let mut listed: Vec<usize> = (0..seen.maps.len()).collect();
    listed.sort_by_key(|index| std::cmp::Reverse(resident(index)));
    listed.truncate(LISTED);
    listed.sort_unstable();
    let body = html! {
        p { "The lines of " code { "/proc/" (seen.pid) "/maps" } ", and what each is. Resident is of the moment of "
            "the account, dirty of the kernel's smaps right after." }
        div.tools.js-only {
            input type="search" placeholder="Filter" aria-label="Filter the mappings" data-filter="mappings-table";
        }
        div.scroll.tall { table #mappings-table {
            thead { tr {
                th scope="col" { "Start" } th.n scope="col" { "Size" } th.optional scope="col" { "Rights" }
                th.n scope="col" { "Resident" } th.n.optional scope="col" { "Dirty" } th scope="col" { "What" }
            } }
            tbody {
                @for index in &listed {
                    @let mapping = &seen.maps[*index];
                    tr.minor[resident(index) == 0] {
                        td { span.mono { (format!("{:x}", mapping.span.start)) } }
                        td.n { (bytes(mapping.span.bytes())) }
                        td.optional { span.mono { (mapping.permissions()) } }
                        td.n { (bytes_or_dash(resident(index))) }
                        td.n.optional { (bytes_or_dash(figures.get(&mapping.span.start).map_or(0, |f| f.dirty))) }
                        td.words { (labels.of(mapping)) }
                    }
                }
            }
        } }
        @if listed.len() < seen.maps.len() {
            p.small.soft { "and " (seen.maps.len() - listed.len()) " with less resident" }
        }
    };
    Some(Section { id: "mappings", title: "Mappings", body, data: None })
}
