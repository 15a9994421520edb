//! A heap by page, as large as there is room: a sign is one page or several.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::App;
use super::{dim, put};
use crate::units::{bytes, count};
use crate::view::heapmap::{self, STATES};

/// Draws the chosen heap and its legend.
pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let Some(current) = &app.current else { return };
    let heaps = heapmap::painted(&current.seen);
    if heaps.is_empty() {
        put(buffer, area.x, area.y, area.width, "no heap that is read", dim());
        return;
    }
    app.heap = app.heap.min(heaps.len() - 1);
    let (arena, heap) = heaps[app.heap];
    let rows = area.height.saturating_sub(2);
    let page_bytes = current.seen.pages.page_bytes();
    let per_cell =
        heapmap::pages_per_cell(heap.states.len(), usize::from(rows) * usize::from(area.width));
    let title = format!(
        "heap {} of {}: arena {}, {:#x}, {}, {} a sign{}",
        app.heap + 1,
        heaps.len(),
        arena.index,
        heap.span.start,
        bytes(heap.span.bytes() as u64),
        bytes((per_cell * page_bytes) as u64),
        if heap.broken.is_some() { ", walked in part" } else { "" }
    );
    put(buffer, area.x, area.y, area.width, &title, Style::new());
    let cells = heapmap::cells(&heap.states, per_cell);
    for (index, state) in cells.into_iter().enumerate() {
        let (x, y) = (index % usize::from(area.width), index / usize::from(area.width));
        let place = (area.x + x as u16, area.y + 1 + y as u16);
        let (sign, style) = app.theme.page(state);
        if let Some(cell) = buffer.cell_mut(place) {
            cell.set_char(sign).set_style(style);
        }
    }
    let y = area.bottom().saturating_sub(1);
    let mut x = area.x;
    for (state, pages) in STATES.into_iter().zip(heapmap::counts(&heap.states)) {
        let (sign, style) = app.theme.page(state);
        let sign = if sign == ' ' { "blank".to_owned() } else { sign.to_string() };
        put(buffer, x, y, area.right().saturating_sub(x), &sign, style);
        x += sign.chars().count() as u16 + 1;
        let text = format!("{} {}", heapmap::name(state), count(pages as u64));
        put(buffer, x, y, area.right().saturating_sub(x), &text, Style::new());
        x += text.chars().count() as u16 + 2;
    }
}
