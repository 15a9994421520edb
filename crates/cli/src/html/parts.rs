//! Pieces that several sections are made of: figures, chips, bars, meters.

use heapwise_inspect::tally::Tally;
use maud::{Markup, html};

use crate::units;
use crate::view::palette::{PARTS, Part};

/// `12.3 MiB`.
pub fn bytes(figure: usize) -> String {
    units::bytes(figure as u64)
}

/// `12 345`.
pub fn count(figure: usize) -> String {
    units::count(figure as u64)
}

/// `12.3 %`.
pub fn percent(part: usize, whole: usize) -> String {
    units::percent(part as u64, whole as u64)
}

/// A dash for nothing.
pub fn bytes_or_dash(figure: usize) -> String {
    if figure == 0 { "–".into() } else { bytes(figure) }
}

/// A square of a part's colour.
pub fn chip(part: Part) -> Markup {
    html! { i.chip style={ "background:var(--" (part.name()) ")" } {} }
}

/// Bytes of a part.
pub fn of(part: Part, tally: &Tally) -> usize {
    part.rows().map(|row| tally[row]).sum()
}

/// A bar of all parts; `mini` for one in a table, without words in it.
pub fn bar(tally: &Tally, mini: bool) -> Markup {
    let all = tally.sum();
    let words: Vec<String> = PARTS
        .into_iter()
        .filter(|part| of(*part, tally) > 0)
        .map(|part| format!("{} {}", part.name(), bytes(of(part, tally))))
        .collect();
    // Below this share a word does not fit.
    let has_room = |figure: usize| !mini && figure * 12 >= all;
    html! {
        div.bar.mini[mini] role="img" aria-label=(words.join(", ")) {
            @for part in PARTS {
                @let figure = of(part, tally);
                @if figure > 0 {
                    span class={ "of-" (part.name()) @if !has_room(figure) { " tight" } }
                        style={ "flex-grow:" (share(figure, all)) ";background:var(--" (part.name()) ")" }
                        title={ (part.name()) ": " (bytes(figure)) ", " (percent(figure, all)) } {
                        @if has_room(figure) { (part.name()) }
                    }
                }
            }
        }
    }
}

/// A bar of one figure among others.
pub fn meter(figure: usize, most: usize, part: Part) -> Markup {
    html! {
        span.meter style={ "width:" (share(figure, most)) "%;background:var(--" (part.name()) ")" } {}
    }
}

/// Hundredths, as CSS takes them: `12.34`.
pub fn share(figure: usize, whole: usize) -> String {
    format!("{:.2}", figure as f64 * 100.0 / whole.max(1) as f64)
}
