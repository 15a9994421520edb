//! The account beside the chart: its legend, figures, and how they moved.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::{bold, dim, put};
use crate::units::bytes;
use crate::view::palette::PARTS;

/// Columns that it takes.
pub const WIDTH: u16 = 37;

/// One part a line, the top of the stack first, as the chart has them.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let points = app.timeline.points();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let (from, _) = app.window();
    let since =
        app.timeline.shown(from, from + std::time::Duration::from_nanos(1)).unwrap_or(first);
    let line = |y: u16,
                sign: &str,
                name: &str,
                now: usize,
                before: usize,
                style: Style,
                text: Style,
                buffer: &mut Buffer| {
        put(buffer, area.x, y, 2, sign, style);
        let share = if last.rss == 0 { 0.0 } else { now as f64 * 100.0 / last.rss as f64 };
        let words =
            format!("{name:8}{:>9} {share:>4.0} % {:>10}", bytes(now as u64), moved(now, before));
        put(buffer, area.x + 2, y, area.width.saturating_sub(2), &words, text);
    };
    put(
        buffer,
        area.x + 2,
        area.y,
        area.width,
        &format!("{:8}{:>9} {:>6} {:>10}", "", "NOW", "", "CHANGE"),
        dim(),
    );
    let mut rows: Vec<_> = PARTS.into_iter().rev().collect();
    // What does not exist makes room where there is none.
    let room = usize::from(area.height.saturating_sub(2));
    while rows.len() > room {
        let smallest = (0..rows.len()).min_by_key(|&at| last.part(rows[at])).unwrap_or(0);
        rows.remove(smallest);
    }
    let mut y = area.y + 1;
    for part in rows {
        let (now, before) = (last.part(part), since.part(part));
        let (sign, style) = if app.theme.fills() {
            ("█".to_owned(), app.theme.part(part))
        } else {
            (part.letter().to_string(), app.theme.part(part))
        };
        let text = if now == 0 && before == 0 { dim() } else { Style::new() };
        line(y, &sign, part.name(), now, before, style, text, buffer);
        y += 1;
    }
    if y < area.bottom() {
        line(y, "", "RSS", last.rss, since.rss, Style::new(), bold(), buffer);
        y += 1;
    }
    if y + 1 < area.bottom() {
        line(
            y + 1,
            "",
            "a trim",
            last.trim_gain,
            since.trim_gain,
            Style::new(),
            Style::new(),
            buffer,
        );
    }
    if y + 2 < area.bottom() && (last.swap > 0 || since.swap > 0) {
        line(y + 2, "", "swap", last.swap, since.swap, Style::new(), Style::new(), buffer);
    }
}

fn moved(now: usize, before: usize) -> String {
    match now.abs_diff(before) {
        0 => String::new(),
        by => format!("{}{}", if now > before { '+' } else { '−' }, bytes(by as u64)),
    }
}
