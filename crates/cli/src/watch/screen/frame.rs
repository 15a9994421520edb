//! The lines around the panels: what is watched and what it means, the tabs, cost and keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::super::app::{App, PANELS};
use super::{bold, dim, put};
use crate::explain::words;
use crate::units::{bytes, duration, percent};

/// Who it is and what its memory comes to; the verdict in words.
pub fn head(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(current) = &app.current else { return };
    let seen = &current.seen;
    let state = if app.ended {
        ("ended", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED))
    } else if app.paused {
        ("paused", Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD | Modifier::REVERSED))
    } else {
        ("", Style::new())
    };
    let name = format!("{} ({})", seen.figures.name, seen.pid);
    put(buffer, area.x, area.y, area.width, &name, bold());
    let mut x = area.x + name.chars().count() as u16 + 1;
    if !state.0.is_empty() {
        put(buffer, x, area.y, 8, &format!(" {} ", state.0), state.1);
        x += state.0.len() as u16 + 3;
    }
    let mut rest = format!("{} · RSS {}", words::allocator_briefly(seen), bytes(seen.rss as u64));
    rest.push_str(&format!(", peak {}", bytes(app.timeline.peak() as u64)));
    rest.push_str(&format!(" · a trim: {}", bytes(seen.trim_gain() as u64)));
    if seen.figures.swap > 0 {
        rest.push_str(&format!(" · swap {}", bytes(seen.figures.swap as u64)));
    }
    if let Some((limit, usage)) =
        seen.cgroup.as_ref().and_then(|group| Some((group.limit?, group.usage)))
    {
        let share = percent(usage as u64, limit as u64);
        rest.push_str(&format!(" · cgroup {share} of {}", bytes(limit as u64)));
    }
    put(buffer, x, area.y, area.right().saturating_sub(x), &rest, Style::new());
    let verdict = match &seen.allocator {
        heapwise_inspect::Allocator::Hidden(why) => why.clone(),
        heapwise_inspect::Allocator::Other(what) => format!("The heap is not read: {what}"),
        _ => words::sentence(&current.verdict.main, seen),
    };
    put(buffer, area.x, area.y + 1, area.width, &verdict, Style::new());
}

/// The panels to choose from.
pub fn tabs(app: &App, area: Rect, buffer: &mut Buffer) {
    let line = "─".repeat(usize::from(area.width));
    put(buffer, area.x, area.y, area.width, &line, dim());
    let mut x = area.x + 1;
    for panel in PANELS {
        let text = format!(" {} {} ", panel as usize + 1, panel.title());
        let chosen = panel == app.panel;
        let style = if chosen { bold().add_modifier(Modifier::REVERSED) } else { Style::new() };
        put(buffer, x, area.y, area.right().saturating_sub(x), &text, style);
        x += text.chars().count() as u16 + 1;
    }
}

/// What looking costs, and the most needed keys.
pub fn foot(app: &App, area: Rect, buffer: &mut Buffer) {
    const KEYS: &str = "? keys  q end";
    let keys_at = area.right().saturating_sub(KEYS.len() as u16);
    put(buffer, keys_at, area.y, KEYS.len() as u16, KEYS, bold());
    let text = app.message.clone().unwrap_or_else(|| cost(app));
    let width = keys_at.saturating_sub(area.x + 1);
    let style = if app.message.is_some() { bold() } else { dim() };
    put(buffer, area.x, area.y, width, &text, style);
}

fn cost(app: &App) -> String {
    let ns = |time: std::time::Duration| duration(time.as_nanos() as u64);
    if app.ended {
        return "the process has ended; this is how it stood last".into();
    }
    let pace = &app.pace;
    let interval = pace.interval();
    let stretched = if interval > pace.asked() {
        format!(" (asked: {})", ns(pace.asked()))
    } else {
        String::new()
    };
    format!(
        "a look takes {}, every {}{stretched}: {:.1} % of a CPU",
        ns(app.took),
        ns(interval),
        pace.load() * 100.0
    )
}

/// Where there is no room for pictures.
pub fn words_only(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(current) = &app.current else { return };
    let seen = &current.seen;
    let ended = if app.ended { " (ended)" } else { "" };
    let lines = [
        format!("{} {}{ended}", seen.figures.name, seen.pid),
        format!("RSS {}", bytes(seen.rss as u64)),
        format!("a trim: {}", bytes(seen.trim_gain() as u64)),
        current.verdict.main.name().replace('_', " "),
        "make the window larger, or q".into(),
    ];
    for (y, line) in (area.y..area.bottom()).zip(&lines) {
        put(buffer, area.x, y, area.width, line, Style::new());
    }
}
