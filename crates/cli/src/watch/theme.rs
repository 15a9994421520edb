//! What the terminal can show: Unicode or ASCII, colours or none.
//!
//! Panels draw with all there is; the finished picture is then translated. So no panel can
//! forget to ask, and a process with a name in Chinese is shown on every terminal.

use std::env;

use heapwise_inspect::heap::paint::PageState;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Style};

use crate::view::heapmap;
use crate::view::palette::Part;

/// What may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// More than ASCII.
    pub unicode: bool,
    /// The sixteen colours.
    pub colour: bool,
}

impl Theme {
    /// From the environment, unless told.
    pub fn new(ascii: bool, no_colour: bool) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let terminal = set("TERM").unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        // The console has no eighths of blocks, whatever the locale says.
        let speaks_unicode = is_utf8(locale.as_deref()) && terminal != "linux";
        Self {
            unicode: !ascii && speaks_unicode,
            colour: !no_colour && set("NO_COLOR").is_none() && terminal != "dumb",
        }
    }

    /// How a part is drawn.
    pub fn part(self, part: Part) -> Style {
        Style::new().fg(colour(part))
    }

    /// How a page is drawn.
    pub fn page(self, state: PageState) -> (char, Style) {
        let style = heapmap::part(state).map_or(Style::new(), |part| self.part(part));
        let sign = if self.unicode { heapmap::shade(state) } else { heapmap::letter(state) };
        (sign, style)
    }

    /// Whether areas are filled with colour; else with the letters of their parts.
    pub fn fills(self) -> bool {
        self.unicode && self.colour
    }

    /// Translates what was drawn.
    pub fn finish(self, buffer: &mut Buffer) {
        if self.unicode && self.colour {
            return;
        }
        for cell in &mut buffer.content {
            if !self.colour {
                (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
            }
            if !self.unicode && !cell.symbol().is_ascii() {
                let plain = cell.symbol().chars().next().map_or(' ', ascii);
                cell.set_char(plain);
            }
        }
    }
}

fn is_utf8(locale: Option<&str>) -> bool {
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn colour(part: Part) -> Color {
    use anstyle::AnsiColor;
    match part.ansi() {
        AnsiColor::Black => Color::Black,
        AnsiColor::Red => Color::Red,
        AnsiColor::Green => Color::Green,
        AnsiColor::Yellow => Color::Yellow,
        AnsiColor::Blue => Color::Blue,
        AnsiColor::Magenta => Color::Magenta,
        AnsiColor::Cyan => Color::Cyan,
        AnsiColor::White => Color::Gray,
        AnsiColor::BrightBlack => Color::DarkGray,
        AnsiColor::BrightRed => Color::LightRed,
        AnsiColor::BrightGreen => Color::LightGreen,
        AnsiColor::BrightYellow => Color::LightYellow,
        AnsiColor::BrightBlue => Color::LightBlue,
        AnsiColor::BrightMagenta => Color::LightMagenta,
        AnsiColor::BrightCyan => Color::LightCyan,
        AnsiColor::BrightWhite => Color::White,
    }
}

/// The nearest that ASCII has.
fn ascii(symbol: char) -> char {
    match symbol {
        '─' | '━' | '–' | '−' | '—' => '-',
        '│' | '┃' | '┤' | '├' => '|',
        '┌' | '┐' | '└' | '┘' | '┬' | '┴' | '┼' => '+',
        '█' => '#',
        '…' => '~',
        '→' | '▸' | '▶' => '>',
        '←' => '<',
        '↑' | '▲' => '^',
        '↓' | '▼' => 'v',
        '·' => '-',
        '●' => '*',
        'µ' => 'u',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides() {
        assert!(is_utf8(Some("de_DE.UTF-8")) && is_utf8(Some("C.utf8")));
        assert!(!is_utf8(Some("C")) && !is_utf8(Some("de_DE.ISO-8859-1")) && !is_utf8(None));
    }

    #[test]
    fn nothing_but_plain_ascii_is_left() {
        let mut buffer = Buffer::with_lines(["─│µ…中é█"]);
        buffer.content[0].fg = Color::Red;
        Theme { unicode: false, colour: false }.finish(&mut buffer);
        assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()));
        assert_eq!(buffer.content[0].fg, Color::Reset);
    }
}
