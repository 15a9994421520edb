//! The keys: one table, from which the help on the screen, `--help` and the handling come.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Stop the whole program, as a shell's Ctrl-Z does.
    Suspend,
    /// Show the keys, or hide them.
    Help,
    /// A panel, from 0.
    Panel(usize),
    /// The next panel, or the one before.
    NextPanel(bool),
    /// The chosen panel alone, or all.
    Zoom,
    /// Up or down in the panel.
    Scroll(i32),
    /// A screenful up or down.
    Page(i32),
    /// To the first or the last line.
    Edge(bool),
    /// The next heap of the map, or the one before.
    Heap(bool),
    /// Stop looking, or go on.
    Pause,
    /// Look now.
    Now,
    /// Look more often, or less.
    Interval(bool),
    /// The next span of time of the chart.
    Window,
    /// Write a snapshot.
    Save,
}

/// A line of the help: keys as they are shown, what they do.
pub const KEYS: [(&str, &str); 13] = [
    ("q, Ctrl-C", "end"),
    ("?, h", "show or hide these keys"),
    ("1 to 5, Tab", "choose a panel: map, arenas, holders, events, mappings"),
    ("Enter, z", "the chosen panel alone, or all of it again"),
    ("up, down, j, k", "scroll the panel; in the map: another heap"),
    ("PgUp, PgDn", "scroll by a screenful"),
    ("Home, End", "to the first or last line"),
    ("left, right", "another heap in the map"),
    ("w", "the chart's span: all, 1 min, 5 min, 30 min, 3 h"),
    ("+, -", "look more often, less often"),
    ("space, p", "pause, go on"),
    ("r", "look now"),
    ("s", "save a snapshot of this moment"),
];

/// The table as text.
pub fn help() -> String {
    KEYS.iter().map(|(keys, what)| format!("  {keys:16} {what}\n")).collect()
}

/// What a key does; none for all others.
pub fn action(key: KeyEvent) -> Option<Action> {
    use Action::*;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd' | '\\') => Some(Quit),
            KeyCode::Char('z') => Some(Suspend),
            KeyCode::Char('l') => Some(Now),
            KeyCode::Char('f') => Some(Page(1)),
            KeyCode::Char('b') => Some(Page(-1)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Help,
        KeyCode::Char(digit @ '1'..='5') => Panel(digit as usize - '1' as usize),
        KeyCode::Tab => NextPanel(true),
        KeyCode::BackTab => NextPanel(false),
        KeyCode::Enter | KeyCode::Char('z') => Zoom,
        KeyCode::Up | KeyCode::Char('k') => Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Scroll(1),
        KeyCode::PageUp => Page(-1),
        KeyCode::PageDown => Page(1),
        KeyCode::Home | KeyCode::Char('g') => Edge(false),
        KeyCode::End | KeyCode::Char('G') => Edge(true),
        KeyCode::Left => Heap(false),
        KeyCode::Right => Heap(true),
        KeyCode::Char(' ' | 'p') => Pause,
        KeyCode::Char('r') => Now,
        KeyCode::Char('+' | '=') => Interval(true),
        KeyCode::Char('-') => Interval(false),
        KeyCode::Char('w') => Window,
        KeyCode::Char('s') => Save,
        _ => return None,
    })
}
