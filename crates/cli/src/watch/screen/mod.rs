//! Draws an app. In a small window one panel below the chart, in a large one all of them.
//!
//! ```text
//!  80 × 24                              130 × 40 and more
//!  ┌ what, RSS, verdict ──────────┐     ┌ what, RSS, verdict ───────────┐
//!  │ chart           │ account    │     │ chart             │ account   │
//!  ├ 1 Map 2 Arenas … ────────────┤     ├ Map ────┬ Arenas ─┬ Holders ──┤
//!  │ the chosen panel             │     │         │         │           │
//!  └ cost, keys ──────────────────┘     │         ├ Events ─┴ Mappings ─┤
//!                                       └ cost, keys ───────────────────┘
//! ```

mod account;
mod chart;
mod frame;
mod help;
mod lists;
mod map;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Widget};

use super::app::{App, PANELS, Panel};

/// From this size on all panels are shown at once.
const WIDE: (u16, u16) = (120, 36);
/// Below this only words are shown.
const SMALLEST: (u16, u16) = (40, 12);

/// Draws it onto the terminal.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    render(app, area, frame.buffer_mut());
}

/// Draws it as text, without colours.
pub fn text(app: &mut App, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    render(app, area, &mut buffer);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Draws it, translated to what the terminal can show.
pub fn render(app: &mut App, area: Rect, buffer: &mut Buffer) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame::words_only(app, area, buffer);
    } else {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)])
                .areas(area);
        frame::head(app, head, buffer);
        if app.help {
            help::draw(body, buffer);
        } else if app.zoomed {
            titled(app, app.panel, body, buffer);
        } else if area.width >= WIDE.0 && area.height >= WIDE.1 {
            wide(app, body, buffer);
        } else {
            narrow(app, body, buffer);
        }
        frame::foot(app, foot, buffer);
    }
    app.theme.finish(buffer);
}

fn narrow(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let upper = (area.height / 2).max(8);
    let [upper, tabs, lower] =
        Layout::vertical([Constraint::Length(upper), Constraint::Length(1), Constraint::Min(1)])
            .areas(area);
    over_time(app, upper, buffer);
    frame::tabs(app, tabs, buffer);
    panel(app, app.panel, lower, buffer);
}

fn over_time(app: &App, area: Rect, buffer: &mut Buffer) {
    let [left, right] =
        Layout::horizontal([Constraint::Min(20), Constraint::Length(account::WIDTH)]).areas(area);
    chart::draw(app, left, buffer);
    account::draw(app, right, buffer);
}

fn wide(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let [upper, lower] =
        Layout::vertical([Constraint::Percentage(40), Constraint::Min(1)]).areas(area);
    over_time(app, upper, buffer);
    let [left, right] = Layout::horizontal([Constraint::Percentage(45), Constraint::Min(1)])
        .spacing(2)
        .areas(lower);
    let [map, mappings] =
        Layout::vertical([Constraint::Percentage(60), Constraint::Min(1)]).areas(left);
    let [arenas, holders, events] = Layout::vertical([
        Constraint::Percentage(30),
        Constraint::Percentage(30),
        Constraint::Min(1),
    ])
    .areas(right);
    let places = [map, arenas, holders, events, mappings];
    for (which, place) in PANELS.into_iter().zip(places) {
        titled(app, which, place, buffer);
    }
}

/// A panel with its title in a line above it.
fn titled(app: &mut App, which: Panel, area: Rect, buffer: &mut Buffer) {
    let chosen = which == app.panel;
    let style =
        if chosen { Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED) } else { dim() };
    let title = format!(" {} {} ", which as usize + 1, which.title());
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(dim())
        .title(Line::from(Span::styled(title, style)));
    let inner = block.inner(area);
    block.render(area, buffer);
    panel(app, which, inner, buffer);
}

fn panel(app: &mut App, which: Panel, area: Rect, buffer: &mut Buffer) {
    match which {
        Panel::Map => map::draw(app, area, buffer),
        _ => lists::draw(app, which, area, buffer),
    }
}

/// Of less weight.
pub fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Of more.
pub fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// A line of text, cut at the edge with a sign that it goes on.
pub fn put(buffer: &mut Buffer, x: u16, y: u16, width: u16, text: &str, style: Style) {
    let width = usize::from(width);
    if text.chars().count() > width {
        let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
        cut.push('…');
        buffer.set_stringn(x, y, cut, width, style);
    } else {
        buffer.set_stringn(x, y, text, width, style);
    }
}

#[cfg(test)]
mod tests;
