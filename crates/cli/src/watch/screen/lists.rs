//! The panels that are tables: arenas, holders, events, mappings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::{App, Current, Panel};
use super::{dim, put};
use crate::maps::label::Labels;
use crate::table::{self, Column};
use crate::units::{bytes, duration};
use crate::view::palette::Part;

/// Draws the lines that are in sight.
pub fn draw(app: &mut App, which: Panel, area: Rect, buffer: &mut Buffer) {
    let Some(current) = &app.current else { return };
    let (columns, rows): (Vec<Column>, Vec<Vec<String>>) = match which {
        Panel::Arenas => arenas(current),
        Panel::Holders => holders(current),
        Panel::Events => events(app),
        Panel::Mappings => mappings(current),
        Panel::Map => return,
    };
    if rows.is_empty() {
        let text = match which {
            Panel::Holders => "no chunk holds free pages up",
            Panel::Events => "nothing has happened yet",
            _ => "none that is read",
        };
        put(buffer, area.x, area.y, area.width, text, dim());
        return;
    }
    let room = usize::from(area.height.saturating_sub(1));
    let scroll = &mut app.scroll[which as usize];
    *scroll = (*scroll).min(rows.len().saturating_sub(room));
    let first = *scroll;
    if which == app.panel {
        app.page_lines = room;
    }
    let lines = table::lines(&columns, &rows);
    put(buffer, area.x, area.y, area.width, &lines[0], dim());
    let in_sight = lines[1..].iter().skip(first).take(room);
    for (y, line) in (area.y + 1..area.bottom()).zip(in_sight) {
        put(buffer, area.x, y, area.width, line, Style::new());
    }
    if rows.len() > room {
        let place = format!("{}–{} of {}", first + 1, (first + room).min(rows.len()), rows.len());
        let x = area.right().saturating_sub(place.chars().count() as u16);
        put(buffer, x, area.y, area.width, &place, dim());
    }
}

type Table = (Vec<Column>, Vec<Vec<String>>);

fn size(figure: usize) -> String {
    bytes(figure as u64)
}

fn arenas(current: &Current) -> Table {
    let columns = ["ARENA", "THREADS", "RESIDENT", "LIVE", "PINNED", "CACHED", "FREE", "A TRIM"];
    let mut all: Vec<_> = current.seen.heaps.arenas.iter().collect();
    all.sort_by_key(|arena| (std::cmp::Reverse(arena.tally.sum()), arena.index));
    let rows = all.into_iter().map(|arena| {
        let part = |part: Part| size(part.rows().map(|row| arena.tally[row]).sum());
        vec![
            arena.index.to_string(),
            arena.threads.len().to_string(),
            size(arena.tally.sum()),
            part(Part::Live),
            part(Part::Pinned),
            part(Part::Cached),
            part(Part::Free),
            size(arena.trim_gain),
        ]
    });
    (columns.map(Column::Right).to_vec(), rows.collect())
}

fn holders(current: &Current) -> Table {
    let holders = &current.seen.holders;
    // Known where the process is recorded.
    let is_aged = holders.iter().any(|holder| holder.age_ms.is_some());
    let columns = vec![
        Column::Right("HOLDER"),
        Column::Right("SIZE"),
        Column::Left("STATE"),
        Column::Right("ARENA"),
        Column::Right("HOLDS UP"),
        Column::Right(if is_aged { "AGE" } else { "" }),
        Column::Left(if is_aged { "FROM" } else { "" }),
    ];
    let rows = holders.iter().map(|holder| {
        let pin = &holder.pin;
        let place = if pin.below_top { "right below the top" } else { "" };
        vec![
            format!("{:#x}", holder.pointer()),
            size(pin.piece.bytes),
            pin.piece.kind.name().to_owned(),
            holder.arena.to_string(),
            size(pin.held_bytes),
            holder.age_ms.map(|ms| duration(ms.saturating_mul(1_000_000))).unwrap_or_default(),
            holder.site.as_deref().unwrap_or(place).to_owned(),
        ]
    });
    (columns, rows.collect())
}

/// The newest first.
fn events(app: &App) -> Table {
    let columns = vec![Column::Right("AT"), Column::Left("WHAT"), Column::Left("")];
    let rows = app.events.iter().rev().map(|event| {
        vec![duration(event.at.as_nanos() as u64), event.kind.name().to_owned(), event.text.clone()]
    });
    (columns, rows.collect())
}

fn mappings(current: &Current) -> Table {
    let seen = &current.seen;
    let labels = Labels::new(seen);
    let columns = vec![
        Column::Right("START"),
        Column::Right("SIZE"),
        Column::Right("RESIDENT"),
        Column::Left("WHAT"),
    ];
    let rows = seen.maps.iter().map(|mapping| {
        vec![
            format!("{:x}", mapping.span.start),
            size(mapping.span.bytes()),
            size(seen.pages.resident(mapping.span)),
            labels.of(mapping),
        ]
    });
    (columns, rows.collect())
}
