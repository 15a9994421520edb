//! The pictures: a row a job with a dot a peer (one for time, one for memory),
//! and the peers' geometric means of both in one plane.

use crate::goals::{CPU_GOAL, PEAK_GOAL};
use crate::peers::OURS;
use crate::results::{Figure, Results};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

const COLOURS: [&str; 10] = [
    "#d62728", "#7f7f7f", "#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b",
    "#aec7e8", "#e377c2",
];
const FONT: &str = "font-family=\"sans-serif\" font-size=\"12\"";

/// Writes time.svg, memory.svg and both.svg.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    std::fs::write(folder.join("time.svg"), dots(results, Figure::Cpu))?;
    std::fs::write(folder.join("memory.svg"), dots(results, Figure::Peak))?;
    std::fs::write(folder.join("both.svg"), plane(results))?;
    Ok(())
}

/// A logarithmic axis in pixels.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share =
            (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        self.start + share * (self.end - self.start)
    }
}

fn open(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {FONT} text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// About how wide a text is.
fn text_width(text: &str) -> f64 {
    6.6 * text.len() as f64
}

/// Moves `at` down until its text meets none of those placed before; notes its place.
fn free_place(placed: &mut Vec<(f64, f64, f64)>, at: (f64, f64), text: &str) -> f64 {
    const LINE: f64 = 13.0;
    let (x, mut y) = at;
    let end = x + text_width(text);
    while let Some(&(_, other, _)) = placed
        .iter()
        .find(|&&(start, other, stop)| start < end && x < stop && (other - y).abs() < LINE - 0.5)
    {
        y = other + LINE;
    }
    placed.push((x, y, end));
    y
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

fn dot(svg: &mut String, x: f64, y: f64, peer: &str, index: usize, title: &str) {
    let radius = if peer == OURS { 6 } else { 4 };
    let colour = COLOURS[index % COLOURS.len()];
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{title}</title></circle>"
    );
}

fn dots(results: &Results, figure: Figure) -> String {
    let (row, left, top, width) = (20.0, 180.0, 70.0, 900.0);
    let bottom = top + row * (results.contests().count() + 1) as f64;
    let axis = Axis { low: 0.1, high: 10.0, start: left, end: width - 20.0 };
    let mut svg = open(width, bottom + 10.0);
    label(
        &mut svg,
        10.0,
        20.0,
        "start",
        &format!("{}, ratio to {} (left is better)", figure.name(), results.reference()),
    );
    let mut x = 20.0;
    for (index, peer) in results.peers.iter().enumerate() {
        dot(&mut svg, x, 38.0, peer, index, peer);
        label(&mut svg, x + 9.0, 42.0, "start", peer);
        x += text_width(peer) + 28.0;
    }
    for tick in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let colour = if tick == 1.0 { "#444" } else { "#ddd" };
        line(&mut svg, (axis.at(tick), top - 8.0), (axis.at(tick), bottom), colour);
        label(&mut svg, axis.at(tick), top - 11.0, "middle", &tick.to_string());
    }
    let names = results.contests().map(|(name, _)| Some(name.as_str())).chain([None]);
    for (number, job) in names.enumerate() {
        let y = top + row * (number as f64 + 0.5);
        label(&mut svg, left - 8.0, y + 4.0, "end", job.unwrap_or("geometric mean"));
        // Ours last, so that it lies on top.
        let mut order: Vec<(usize, &String)> = results.peers.iter().enumerate().collect();
        order.sort_by_key(|(_, peer)| *peer == OURS);
        for (index, peer) in order {
            let ratio = match job {
                Some(job) => results.ratio(job, peer, results.reference(), figure),
                None => results.mean(peer, figure),
            };
            if let Some(ratio) = ratio {
                dot(&mut svg, axis.at(ratio), y, peer, index, &format!("{peer} {ratio:.2}"));
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn plane(results: &Results) -> String {
    const WIDTH: f64 = 640.0;
    let (left, top, right, bottom) = (60.0, 40.0, 580.0, 460.0);
    let mut svg = open(WIDTH, 510.0);
    let x = Axis { low: 0.5, high: 4.0, start: left, end: right };
    let y = Axis { low: 0.25, high: 4.0, start: bottom, end: top };
    let (corner_x, corner_y) = (x.at(CPU_GOAL), y.at(PEAK_GOAL));
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{corner_y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#e5f5e0\"/>",
        corner_x - left,
        bottom - corner_y
    );
    for tick in [0.5, 0.7, 1.0, 1.4, 2.0, 4.0] {
        line(&mut svg, (x.at(tick), top), (x.at(tick), bottom), "#ddd");
        label(&mut svg, x.at(tick), bottom + 16.0, "middle", &tick.to_string());
    }
    for tick in [0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0] {
        line(&mut svg, (left, y.at(tick)), (right, y.at(tick)), "#ddd");
        label(&mut svg, left - 6.0, y.at(tick) + 4.0, "end", &tick.to_string());
    }
    let to = results.reference();
    label(
        &mut svg,
        (left + right) / 2.0,
        bottom + 36.0,
        "middle",
        &format!("CPU time, geometric mean, ratio to {to}"),
    );
    label(&mut svg, left, top - 12.0, "start", &format!("peak RSS, geometric mean, ratio to {to}"));
    let mut dots: Vec<(usize, &String, f64, f64)> = (results.peers.iter().enumerate())
        .filter_map(|(index, peer)| {
            let mean = |figure| results.mean(peer, figure);
            Some((index, peer, mean(Figure::Cpu)?, mean(Figure::Peak)?))
        })
        .collect();
    // The topmost first: a name that has no room moves down.
    dots.sort_by(|one, other| other.3.total_cmp(&one.3));
    let mut placed = Vec::new();
    for (index, peer, cpu, peak) in dots {
        let title = format!("{peer} {cpu:.2} {peak:.2}");
        dot(&mut svg, x.at(cpu), y.at(peak), peer, index, &title);
        // On the left of a dot at the right edge.
        let (gap, width) = (8.0, text_width(peer));
        let fits = x.at(cpu) + gap + width < WIDTH;
        let start = if fits { x.at(cpu) + gap } else { x.at(cpu) - gap - width };
        let row = free_place(&mut placed, (start, y.at(peak) + 4.0), peer);
        let (at, anchor) = if fits { (start, "start") } else { (start + width, "end") };
        label(&mut svg, at, row, anchor, peer);
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_room_wherever_others_stand() {
        // Sums of these are not exact: a row may come out a little less than a line below another.
        let mut placed = Vec::new();
        for number in 0..40 {
            let y = 265.271_828_1 + f64::from(number % 7) * 0.1;
            let row = free_place(&mut placed, (100.0, y), "allocator");
            let (_, others) = placed.split_last().expect("just placed");
            assert!(row >= y && others.iter().all(|other| (other.1 - row).abs() > 12.0));
        }
    }
}
