//! How it was measured: when, where, with what, how long, and what is in doubt.

use std::ffi::OsStr;

use heapwise_inspect::Survey;
use heapwise_inspect::origin::Source;
use maud::html;

use super::Section;
use crate::explain::{json, words};
use crate::html::document::Document;
use crate::html::parts::{bytes, count, percent};
use crate::target::quoted;
use crate::units::{duration, moment};

/// A command line longer than this is cut.
const COMMAND: usize = 400;

/// The section.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let seen = document.seen;
    let origin = &seen.origin;
    let told = seen.figures.rss_rollup.unwrap_or(seen.figures.rss_statm);
    let unattributed = seen.account.tally[heapwise_inspect::Row::Unattributed];
    let looks = document.timeline.points().iter().filter(|point| point.is_look).count();
    let body = html! {
        p {
            @match origin.source {
                Source::Process if origin.pause_ns.is_some() => {
                    "All figures are of one moment: " (words::pause(origin).unwrap_or_default()) "."
                }
                Source::Process => {
                    "The process was neither stopped nor changed: the state of its pages was read first, then memory "
                    "of present pages only. The account is of the moment of the page walk."
                }
                Source::Core => "The account is of the pages that the core file holds."
            }
        }
        dl.facts {
            dt { "Taken" } dd { (moment(origin.taken_unix_ms)) }
            dt { "The look took" } dd { (duration(origin.took_ns)) }
            @if looks > 1 {
                dt { "Looks" }
                dd { (count(looks))
                    @if let Some(pace) = document.pace {
                        ", one every " (duration(pace.interval().as_nanos() as u64)) ": "
                        (format!("{:.1}", pace.load() * 100.0)) " % of a processor"
                    }
                }
            }
            dt { "Tool" } dd { "heapwise " (env!("CARGO_PKG_VERSION")) }
            dt { "Allocator" } dd { (words::allocator(seen)) ", looked at: " (words::depth(seen.depth)) }
            @if !origin.executable.is_empty() { dt { "Program" } dd { code { (origin.executable) } } }
            @if !origin.command.is_empty() { dt { "Command" } dd { code { (command(seen)) } } }
            @if !origin.host.kernel.is_empty() {
                dt { "Machine" }
                dd { (origin.host.name) ", Linux " (origin.host.kernel) ", " (bytes(origin.host.memory_bytes))
                    " of memory" }
            }
            dt { "Threads" } dd { (count(seen.figures.threads)) }
            dt { "The kernel's own total" }
            dd {
                (bytes(told))
                @if told == seen.rss { ", the same to the byte" }
                @else { ", read right after: " (bytes(told.abs_diff(seen.rss))) " off" }
            }
            dt { "Unattributed" } dd { (bytes(unattributed)) ", " (percent(unattributed, seen.rss)) }
            dt { "Inconsistencies met" } dd { (count(seen.flaws())) }
        }
        @if !seen.notes.is_empty() {
            h3 { "Notes" }
            ul { @for note in &seen.notes { li { (note) } } }
        }
        p.js-only {
            button #download type="button" data-name={ "heapwise-" (seen.pid) ".json" } {
                "The figures as JSON (heapwise.explain/1)"
            }
        }
    };
    let figures = json::object(document.look, document.verdict, document.shown());
    Some(Section {
        id: "measured",
        title: "How it was measured",
        body,
        data: Some(("figures", figures)),
    })
}

/// The command line as a shell takes it, cut where it is long.
pub fn command(seen: &Survey) -> String {
    let words: Vec<String> =
        seen.origin.command.iter().map(|word| quoted(OsStr::new(word))).collect();
    let text = words.join(" ");
    if text.chars().count() <= COMMAND {
        return text;
    }
    text.chars().take(COMMAND).chain(['…']).collect()
}
