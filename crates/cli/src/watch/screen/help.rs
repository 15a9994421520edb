//! The keys and the signs, over the panels.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::keys::KEYS;
use super::{bold, put};
use crate::view::palette::PARTS;

/// Two columns where there is room, else the keys above the signs.
pub fn draw(area: Rect, buffer: &mut Buffer) {
    let wide = area.width >= 120;
    put(buffer, area.x, area.y, area.width, "Keys", bold());
    for (y, (keys, what)) in (area.y + 1..area.bottom()).zip(KEYS) {
        put(buffer, area.x + 1, y, 16, keys, bold());
        put(buffer, area.x + 18, y, area.width.saturating_sub(18), what, Style::new());
    }
    let (x, y) = if wide {
        (area.x + area.width / 2, area.y)
    } else {
        (area.x, area.y + KEYS.len() as u16 + 1)
    };
    let width = area.right().saturating_sub(x);
    // In 24 lines the signs stand two a line.
    let columns = if wide { 1 } else { 2 };
    for (index, part) in PARTS.into_iter().rev().enumerate() {
        let (line, column) = (index / columns, index % columns);
        let y = y + 1 + line as u16;
        if y >= area.bottom() {
            break;
        }
        let each = width / columns as u16;
        let text = format!("{}  {:8} {}", part.letter(), part.name(), part.meaning());
        put(buffer, x + 1 + each * column as u16, y, each.saturating_sub(2), &text, Style::new());
    }
}
