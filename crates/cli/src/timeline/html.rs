//! A timeline as a page that stands alone: two curves, bars of kernel calls, the text.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::model::{Moment, Story};
use super::text;
use crate::profile::escape;
use crate::units;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 80.0;

/// Writes the page.
pub fn write(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let command = escape(&story.command);
    let mut tables = Vec::new();
    text::write(story, &mut tables)?;
    let tables = escape(&String::from_utf8_lossy(&tables));
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <title>Heapwise timeline: {command}</title>\n\
         <style>body{{font:15px system-ui,sans-serif;margin:2em;color:#222;background:#fff}}\
         pre{{overflow-x:auto}}</style></head>\n\
         <body><h1>Heapwise timeline</h1>\n<p><code>{command}</code></p>\n\
         <p>Live bytes (blue, whole), RSS (red, broken), kernel calls a moment (grey).</p>\n\
         {picture}<pre>{tables}</pre>\n</body></html>\n",
        picture = picture(story),
    )
}

/// The picture alone, to stand in a page of any ground.
pub fn picture(story: &Story) -> String {
    let highest = story.live_peak_bytes.max(story.rss_peak_bytes).max(1);
    let calls = story.moments.iter().map(|m| m.kernel_calls).max().unwrap_or(0).max(1);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {bottom}\" role=\"img\" aria-label=\"live bytes and RSS over time\" \
         font-size=\"12\" fill=\"currentColor\">\n\
         <text x=\"0\" y=\"14\">{top}</text><text x=\"0\" y=\"{HEIGHT}\">0</text>\n\
         <text x=\"{LEFT}\" y=\"{axis}\">0</text>\
         <text x=\"{WIDTH}\" y=\"{axis}\" text-anchor=\"end\">{duration}</text>\n{bars}\
         <polyline fill=\"none\" stroke=\"#d1242f\" stroke-width=\"2\" stroke-dasharray=\"6 3\" \
         points=\"{rss}\"/>\n\
         <polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\" points=\"{live}\"/>\n\
         </svg>\n",
        bottom = HEIGHT + 24.0,
        axis = HEIGHT + 18.0,
        top = units::bytes(highest),
        duration = units::duration(story.duration_ns),
        bars = bars(story, calls),
        rss = curve(story, highest, |m| m.rss_bytes),
        live = curve(story, highest, |m| m.live_bytes),
    )
}

fn x(story: &Story, moment: &Moment) -> f64 {
    LEFT + (WIDTH - LEFT) * moment.time_ns as f64 / story.duration_ns.max(1) as f64
}

fn curve(story: &Story, highest: u64, of: fn(&Moment) -> u64) -> String {
    let mut points = String::new();
    for moment in &story.moments {
        let y = HEIGHT - (HEIGHT - 8.0) * of(moment) as f64 / highest as f64;
        // Writing to a string does not fail.
        let _ = write!(points, "{:.1},{y:.1} ", x(story, moment));
    }
    points
}

fn bars(story: &Story, most: u64) -> String {
    let mut bars = String::new();
    let width = (WIDTH - LEFT) / story.moments.len().max(1) as f64;
    for moment in story.moments.iter().filter(|m| m.kernel_calls > 0) {
        let height = HEIGHT / 3.0 * moment.kernel_calls as f64 / most as f64;
        let _ = writeln!(
            bars,
            "<rect fill=\"#8c959f\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{} kernel calls</title></rect>",
            x(story, moment) - width,
            HEIGHT - height,
            width * 0.8,
            moment.kernel_calls
        );
    }
    bars
}
