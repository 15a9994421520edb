//! The verdict in words, what to do, and the four figures that one asks for first.

use heapwise_inspect::{Allocator, Depth};
use maud::html;

use super::Section;
use crate::explain::{advice, words};
use crate::html::document::Document;
use crate::html::parts::{bytes, of, percent};
use crate::view::palette::Part;

/// The section.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let (seen, verdict) = (document.seen, document.verdict);
    let tally = &seen.account.tally;
    let live = of(Part::Live, tally) + of(Part::Mapped, tally);
    let kept = of(Part::Free, tally) + of(Part::Cached, tally) + of(Part::Pinned, tally);
    let peak = document.timeline.peak();
    let body = html! {
        div.verdict {
            p.main { (words::sentence(&verdict.main, seen)) }
            @for also in &verdict.also { p { (words::sentence(also, seen)) } }
        }
        ul.actions {
            @for action in advice::of(verdict, document.look) { li { (action) } }
        }
        @if let Some(why) = limits(document) { p.warning role="note" { (why) } }
        dl.tiles {
            div.tile {
                dt { "Resident (" (words::whole(seen)) ")" }
                dd { (bytes(seen.rss))
                    @if document.timeline.points().len() > 1 { small { "peak " (bytes(peak)) } }
                }
            }
            div.tile { dt { "Held by the program" } dd { (bytes(live)) small { (percent(live, seen.rss)) } } }
            div.tile { dt { "Free, but resident" } dd { (bytes(kept)) small { (percent(kept, seen.rss)) } } }
            div.tile {
                dt { "A trim would return" }
                dd { (bytes(seen.trim_gain())) small { (percent(seen.trim_gain(), seen.rss)) } }
            }
            @if seen.figures.swap > 0 {
                div.tile { dt { "Swapped out" } dd { (bytes(seen.figures.swap)) } }
            }
        }
    };
    Some(Section { id: "summary", title: "Summary", body, data: None })
}

/// What this look cannot tell.
fn limits(document: &Document<'_>) -> Option<String> {
    match (&document.seen.allocator, document.seen.depth) {
        (Allocator::Hidden(why), _) => Some(format!("{why}. The account is that of the mappings.")),
        (Allocator::Other(what), _) => {
            Some(format!("The heap is not read: {what}. The account is that of the mappings."))
        }
        (_, Depth::Partial) => Some(
            "A heap changed under the walk, or is damaged: what was not walked stands as unattributed."
                .into(),
        ),
        _ => None,
    }
}
