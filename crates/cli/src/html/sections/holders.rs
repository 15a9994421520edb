//! The chunks that hold up the break, or keep free pages from going back.

use maud::html;

use super::Section;
use crate::explain::holders::dump;
use crate::html::document::Document;
use crate::html::parts::{bytes, meter};
use crate::units::duration;
use crate::view::palette::Part;

/// The section; none where nothing is held up.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let holders = &document.seen.holders;
    let most = holders.iter().map(|holder| holder.pin.held_bytes).max()?;
    let aged = holders.iter().any(|holder| holder.age_ms.is_some());
    let sited = holders.iter().any(|holder| holder.site.is_some());
    let body = html! {
        p { "Each of these splits free memory: were it free too, a trim could return so much more." }
        div.scroll.tall { table {
            thead { tr {
                th scope="col" { "Address" } th.n scope="col" { "Chunk" } th scope="col" { "State" }
                th.n scope="col" { "Arena" } th.n scope="col" { "Holds up" } th.optional scope="col" { }
                @if aged { th.n scope="col" { "Age" } }
                @if sited { th scope="col" { "Allocated at" } }
                @if document.bytes { th scope="col" { "Begins with" } }
            } }
            tbody {
                @for holder in holders {
                    tr {
                        td { span.mono { (format!("{:#x}", holder.pointer())) }
                            @if holder.pin.below_top { " right below the top" } }
                        td.n { (bytes(holder.pin.piece.bytes)) }
                        td { (holder.pin.piece.kind.name()) }
                        td.n { (holder.arena) }
                        td.n { (bytes(holder.pin.held_bytes)) }
                        td.wide.optional { (meter(holder.pin.held_bytes, most, Part::Pinned)) }
                        @if aged {
                            td.n { (holder.age_ms.map_or(String::new(), |ms| duration(ms.saturating_mul(1_000_000)))) }
                        }
                        @if sited { td.words { (holder.site.as_deref().unwrap_or("")) } }
                        @if document.bytes { td.dump { span.mono { (dump(&holder.first)) } } }
                    }
                }
            }
        } }
    };
    Some(Section { id: "holders", title: "Top holders", body, data: None })
}
