//! The account over time as stacked areas, and what happened meanwhile.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::Section;
use crate::html::document::Document;
use crate::html::parts::{bytes, chip};
use crate::units::{duration, moment};
use crate::view::palette::{PARTS, Part};
use crate::view::timeline::{Point, round_up};

/// The picture's own units; it is stretched to the page.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 256.0;
/// So many points are listed in the table.
const LISTED: usize = 200;

/// The section; none of a single look.
pub fn section(document: &Document<'_>) -> Option<Section> {
    let points = document.timeline.points();
    if points.len() < 2 {
        return None;
    }
    let top = round_up(document.timeline.peak());
    let shown: Vec<Part> =
        PARTS.into_iter().filter(|part| points.iter().any(|point| point.part(*part) > 0)).collect();
    let last = &points[points.len() - 1];
    let span = last.at - points[0].at;
    let body = html! {
        @let number = points.iter().filter(|point| point.is_look).count();
        p { (number) " looks in " (duration(span.as_nanos() as u64)) ". What is held lies below "
            "what could go: the upper edge shows what a trim would do."
            @if number < points.len() {
                " Between looks the RSS alone was read, " (points.len() - number) " times."
            } }
        div.plot {
            div.y aria-hidden="true" { span { (bytes(top)) } span { (bytes(top / 2)) } span { "0" } }
            div.area #timeline-area role="group" aria-label="RSS over time; arrow keys move through the looks" {
                (picture(points, &shown, top))
            }
            div.x aria-hidden="true" {
                span { (moment(document.seen.origin.taken_unix_ms.saturating_sub(span.as_millis() as u64))) }
                span { "+" (duration(span.as_nanos() as u64)) }
            }
        }
        ul.legend { @for part in shown.iter().rev() { li { (chip(*part)) (part.name()) } } }
        (changes(points, &shown))
        (events(document))
        (looks(points, &shown))
    };
    Some(Section {
        id: "timeline",
        title: "Timeline",
        body,
        data: Some(("timeline", data(points))),
    })
}

fn picture(points: &[Point], shown: &[Part], top: usize) -> Markup {
    let (from, to) = (points[0].at, points[points.len() - 1].at);
    let span = (to - from).as_secs_f64().max(f64::MIN_POSITIVE);
    let x = |point: &Point| (point.at - from).as_secs_f64() / span * WIDTH;
    let y = |value: usize| HEIGHT - value as f64 / top as f64 * HEIGHT;
    let mut floor = vec![0; points.len()];
    let areas: Vec<(Part, String, String)> = shown
        .iter()
        .map(|part| {
            let ceiling: Vec<usize> =
                points.iter().zip(&floor).map(|(point, low)| low + point.part(*part)).collect();
            let corner =
                |(point, value): (&Point, &usize)| format!("{:.1},{:.1}", x(point), y(*value));
            let upper: Vec<String> = points.iter().zip(&ceiling).map(corner).collect();
            let lower: Vec<String> = points.iter().zip(&floor).rev().map(corner).collect();
            floor = ceiling;
            let outline = format!("M{}L{}Z", upper.join("L"), lower.join("L"));
            (*part, outline, format!("M{}", upper.join("L")))
        })
        .collect();
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
            aria-label={ "RSS from " (bytes(points[0].rss)) " to " (bytes(points[points.len() - 1].rss)) } {
            @for line in [0.0, HEIGHT / 4.0, HEIGHT / 2.0, HEIGHT * 3.0 / 4.0] {
                line.grid x1="0" x2=(WIDTH) y1=(line) y2=(line) {}
            }
            @for (part, outline, edge) in &areas {
                path d=(outline) style={ "fill:var(--" (part.name()) ")" } {}
                path.edge d=(edge) {}
            }
        }
    }
}

/// First, last, and most, a part a line.
fn changes(points: &[Point], shown: &[Part]) -> Markup {
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let change = |before: usize, after: usize| match after.abs_diff(before) {
        0 => "–".to_owned(),
        by => format!("{}{}", if after > before { '+' } else { '−' }, bytes(by)),
    };
    let line = |values: &dyn Fn(&Point) -> usize| {
        let most = points.iter().map(values).max().unwrap_or(0);
        html! {
            td.n { (bytes(values(first))) } td.n { (bytes(values(last))) }
            td.n { (change(values(first), values(last))) } td.n { (bytes(most)) }
        }
    };
    html! {
        div.scroll { table {
            caption { "From the first look to the last" }
            thead { tr {
                th scope="col" { "Part" } th.n scope="col" { "First" } th.n scope="col" { "Last" }
                th.n scope="col" { "Change" } th.n scope="col" { "Most" }
            } }
            tbody {
                @for part in shown.iter().rev() {
                    tr { td { (chip(*part)) (part.name()) } (line(&|point| point.part(*part))) }
                }
                tr.sum { td { "RSS" } (line(&|point| point.rss)) }
                tr.minor { td { "a trim would return" } (line(&|point| point.trim_gain)) }
            }
        } }
    }
}

fn events(document: &Document<'_>) -> Markup {
    html! {
        @if !document.events.is_empty() {
            h3 { "What happened" }
            div.scroll.tall { table {
                thead { tr { th.n scope="col" { "At" } th scope="col" { "Kind" } th scope="col" { "What" } } }
                tbody {
                    @for event in document.events {
                        tr {
                            td.n { (duration(event.at.as_nanos() as u64)) }
                            td { (event.kind.name()) }
                            td.words { (event.text) }
                        }
                    }
                }
            } }
        }
    }
}

fn looks(points: &[Point], shown: &[Part]) -> Markup {
    let points: Vec<&Point> = points.iter().filter(|point| point.is_look).collect();
    let step = points.len().div_ceil(LISTED);
    html! {
        details {
            summary { "The looks as a table" @if step > 1 { ", one in " (step) } }
            div.scroll.tall { table {
                thead { tr {
                    th.n scope="col" { "At" } th.n scope="col" { "RSS" }
                    @for part in shown { th.n scope="col" { (part.name()) } }
                    th.n scope="col" { "a trim" }
                } }
                tbody {
                    @for point in points.iter().step_by(step) {
                        tr {
                            td.n { (duration(point.at.as_nanos() as u64)) } td.n { (bytes(point.rss)) }
                            @for part in shown { td.n { (bytes(point.part(*part))) } }
                            td.n { (bytes(point.trim_gain)) }
                        }
                    }
                }
            } }
        }
    }
}

fn data(points: &[Point]) -> Value {
    let all = |value: &dyn Fn(&Point) -> Value| points.iter().map(value).collect::<Vec<_>>();
    json!({
        "at_ms": all(&|point| (point.at.as_millis() as u64).into()),
        "labels": all(&|point| duration(point.at.as_nanos() as u64).into()),
        "rss": all(&|point| point.rss.into()),
        "trim_gain": all(&|point| point.trim_gain.into()),
        "parts": PARTS.map(Part::name),
        "bytes": PARTS.map(|part| all(&|point| point.part(part).into())),
    })
}
