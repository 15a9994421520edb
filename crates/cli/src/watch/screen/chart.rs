//! The RSS over time as stacked areas, to an eighth of a line where colours can show it.
//!
//! ```text
//!   40 MiB ┤      ▂▅███
//!          │  ▃▆███████        a column is a span of time, its height the largest look
//!   20 MiB ┤████████████       in it; each part of the account has its own colour,
//!          │████████████       or, without colour, its own letter
//!        0 └────────────
//!           −60 s      now
//! ```

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::super::app::App;
use super::super::theme::Theme;
use super::{dim, put};
use crate::units::{bytes, duration};
use crate::view::palette::PARTS;
use crate::view::timeline::round_up;

/// Columns of the vertical axis.
const AXIS: u16 = 10;
/// Lower eighths of a cell.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws chart and axes.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    if area.width <= AXIS + 2 || area.height < 4 {
        return;
    }
    let plot = Rect::new(area.x + AXIS, area.y, area.width - AXIS - 1, area.height - 2);
    let (from, to) = app.window();
    let span = to - from;
    let at = |column: u16| from + span.mul_f64(f64::from(column) / f64::from(plot.width));
    let last = app.timeline.points().last().map(|point| point.at);
    let columns: Vec<Option<[usize; PARTS.len()]>> = (0..plot.width)
        .map(|column| {
            let (left, right) = (at(column), at(column + 1));
            // Right of the last look nothing is known.
            if column > 0 && last.is_none_or(|last| last < left) {
                return None;
            }
            let right = if column + 1 == plot.width { Duration::MAX } else { right };
            app.timeline.shown(left, right).map(|point| point.parts())
        })
        .collect();
    let highest = columns.iter().flatten().map(|parts| parts.iter().sum()).max().unwrap_or(0);
    let top = round_up(highest);
    axes(area, plot, top, (from, to), buffer);
    for (column, parts) in (plot.x..).zip(&columns) {
        if let Some(parts) = parts {
            draw_column(app.theme, column, plot, parts, top, buffer);
        }
    }
}

fn axes(area: Rect, plot: Rect, top: usize, time: (Duration, Duration), buffer: &mut Buffer) {
    let label = |y: u16, value: usize, buffer: &mut Buffer| {
        let text = format!("{:>8} ┤", if value == 0 { "0".into() } else { axis_bytes(value) });
        put(buffer, area.x, y, AXIS, &text, dim());
    };
    for y in plot.top()..plot.bottom() {
        put(buffer, plot.x - 1, y, 1, "│", dim());
    }
    label(plot.top(), top, buffer);
    if plot.height >= 6 {
        label(
            plot.top() + plot.height / 2,
            top - top * usize::from(plot.height / 2) / usize::from(plot.height),
            buffer,
        );
    }
    let floor = format!("└{}", "─".repeat(usize::from(plot.width)));
    put(buffer, plot.x - 1, plot.bottom(), plot.width + 1, &floor, dim());
    put(buffer, area.x + AXIS - 3, plot.bottom(), 1, "0", dim());
    let (from, to) = time;
    let [left, right] = [from, to].map(axis_time);
    put(buffer, plot.x, plot.bottom() + 1, plot.width, &left, dim());
    let right_at = plot.right().saturating_sub(right.chars().count() as u16);
    put(buffer, right_at, plot.bottom() + 1, plot.width, &right, dim());
}

/// `30 s`.
fn axis_time(time: Duration) -> String {
    if time.is_zero() { "0 s".into() } else { short(&duration(time.as_nanos() as u64)) }
}

/// `40 MiB`: an end of an axis is round.
fn axis_bytes(value: usize) -> String {
    short(&bytes(value as u64))
}

/// Without zeros behind the point.
fn short(text: &str) -> String {
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text.to_owned(),
    }
}

fn draw_column(
    theme: Theme,
    x: u16,
    plot: Rect,
    parts: &[usize; PARTS.len()],
    top: usize,
    buffer: &mut Buffer,
) {
    // Upper edge of each part in eighths of a line from the floor.
    let full = u64::from(plot.height) * 8;
    let mut sum = 0;
    let edges = parts.map(|part| {
        sum += part as u64;
        (sum * full + top as u64 / 2) / top.max(1) as u64
    });
    for row in 0..plot.height {
        let (floor, ceiling) = (u64::from(row) * 8, u64::from(row) * 8 + 8);
        let y = plot.bottom() - 1 - row;
        // Eighths of this cell by part, from below.
        let mut below = floor;
        let filled: Vec<(usize, u64)> = edges
            .iter()
            .enumerate()
            .filter_map(|(index, &edge)| {
                let edge = edge.clamp(floor, ceiling);
                let height = edge.saturating_sub(below);
                below = below.max(edge);
                (height > 0).then_some((index, height))
            })
            .collect();
        let empty = ceiling - below;
        if theme.fills() {
            fill(theme, x, y, &filled, empty, buffer);
        } else if let Some(&(index, height)) = filled.iter().max_by_key(|(_, height)| *height)
            && height + (8 - empty - height) / 2 > empty / 2
        {
            let style = theme.part(PARTS[index]);
            buffer[(x, y)].set_char(PARTS[index].letter()).set_style(style);
        }
    }
}

/// A cell has two colours: of more parts the two largest are drawn.
fn fill(theme: Theme, x: u16, y: u16, filled: &[(usize, u64)], empty: u64, buffer: &mut Buffer) {
    let mut largest: Vec<(Option<usize>, u64)> =
        filled.iter().map(|&(index, height)| (Some(index), height)).collect();
    if empty > 0 {
        largest.push((None, empty));
    }
    while largest.len() > 2 {
        let least = (0..largest.len()).min_by_key(|&at| largest[at].1).unwrap_or(0);
        largest.remove(least);
    }
    let colour = |part: Option<usize>| {
        part.and_then(|index| theme.part(PARTS[index]).fg).unwrap_or(Color::Reset)
    };
    let style = match largest.as_slice() {
        [] => return,
        [(None, _)] => return,
        [(only, _)] => (8, Style::new().fg(colour(*only))),
        [(lower, low), (upper, high), ..] => {
            let eighths = (low * 8 + (low + high) / 2) / (low + high);
            (eighths as usize, Style::new().fg(colour(*lower)).bg(colour(*upper)))
        }
    };
    buffer[(x, y)].set_char(EIGHTHS[style.0]).set_style(style.1);
}
