//! Screens of a process that was never there, as text.

use std::time::{Duration, Instant};

use heapwise_inspect::Depth;
use heapwise_inspect::verdict::judge;
use insta::assert_snapshot;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::super::app::{App, Wish};
use super::super::keys;
use super::super::sampler::{Look, News};
use super::super::theme::Theme;
use super::*;
use crate::view::pace::Cost;
use crate::view::palette::PARTS;
use crate::view::sample;

const ALL: Theme = Theme { unicode: true, colour: true };
const GREY: Theme = Theme { unicode: true, colour: false };
const PLAIN: Theme = Theme { unicode: false, colour: false };

fn look(began: Instant, second: u64, live_mib: usize, free_mib: usize) -> Look {
    let seen = sample::survey(live_mib, free_mib);
    let verdict = judge(&seen);
    let cost = Cost { wall: Duration::from_millis(4), cpu: Duration::from_millis(2) };
    Look { at: began + Duration::from_secs(second), seen, verdict, cost }
}

/// A minute: it grows, frees a third, and a trim comes.
fn app(theme: Theme) -> App {
    let mut app = App::new(theme, Duration::from_secs(1));
    let began = Instant::now();
    for second in 0..60 {
        let (live, free) = match second {
            0..20 => (10 + second as usize * 2, 1),
            20..45 => (34, 16),
            _ => (34, 3),
        };
        app.look(look(began, second, live, free));
    }
    app
}

fn screen(app: &mut App, width: u16, height: u16) -> Buffer {
    let backend = TestBackend::new(width, height);
    let area = Rect::new(0, 0, width, height);
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    let mut terminal = Terminal::with_options(backend, options).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(app: &mut App, width: u16, height: u16) -> String {
    let buffer = screen(app, width, height);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| format!("{}\n", line(y).trim_end())).collect()
}

fn press(app: &mut App, code: KeyCode) -> Wish {
    let action = keys::action(KeyEvent::new(code, KeyModifiers::NONE)).expect("a key with a use");
    app.act(action)
}

#[test]
fn in_80_by_24_there_is_chart_account_and_a_panel() {
    assert_snapshot!("narrow", lines(&mut app(ALL), 80, 24));
    assert_snapshot!("narrow_ascii", lines(&mut app(PLAIN), 80, 24));
}

#[test]
fn a_large_window_has_all_panels() {
    assert_snapshot!("wide", lines(&mut app(ALL), 140, 44));
}

#[test]
fn each_panel_has_a_key_and_fits() {
    let mut app = app(GREY);
    for (key, words) in [
        ('1', "heap 1 of 2: arena 0, 0x555500000000, 37.0 MiB"),
        ('2', "A TRIM"),
        ('3', "0x555500012350"),
        ('4', "of free pages went back"),
        ('5', "code of /usr/lib/libshop.so"),
    ] {
        press(&mut app, KeyCode::Char(key));
        let text = lines(&mut app, 80, 24);
        assert!(text.contains(words), "{key}: {text}");
        press(&mut app, KeyCode::Enter);
        let zoomed = lines(&mut app, 80, 24);
        assert!(zoomed.contains(words) && !zoomed.contains("┤"), "{key}: {zoomed}");
        press(&mut app, KeyCode::Enter);
    }
}

#[test]
fn help_names_every_key() {
    let mut app = app(ALL);
    press(&mut app, KeyCode::Char('?'));
    assert_snapshot!("help", lines(&mut app, 80, 24));
    let text = lines(&mut app, 80, 24);
    for part in PARTS {
        assert!(text.contains(part.meaning()), "{}: {text}", part.name());
    }
    assert!(
        matches!(press(&mut app, KeyCode::Char('q')), Wish::Nothing),
        "q closes the help first"
    );
    assert!(matches!(press(&mut app, KeyCode::Char('q')), Wish::Quit));
}

#[test]
fn without_colour_or_unicode_nothing_of_either_is_left() {
    let grey = screen(&mut app(GREY), 100, 40);
    assert!(grey.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let plain = screen(&mut app(PLAIN), 140, 44);
    assert!(plain.content.iter().all(|cell| cell.symbol().is_ascii()));
    // The parts of the chart are told apart by letters then.
    let text = lines(&mut app(PLAIN), 80, 24);
    assert!(text.contains("####") && text.contains("....") && text.contains("ffff"), "{text}");
}

#[test]
fn colours_are_of_the_sixteen() {
    let buffer = screen(&mut app(ALL), 140, 44);
    let is_plain = |colour: Color| !matches!(colour, Color::Rgb(..) | Color::Indexed(_));
    assert!(buffer.content.iter().all(|cell| is_plain(cell.fg) && is_plain(cell.bg)));
}

#[test]
fn every_size_is_drawn_without_a_panic() {
    let mut app = app(ALL);
    for help in [false, true] {
        app.help = help;
        for width in [1, 2, 10, 39, 40, 60, 80, 119, 120, 300] {
            for height in [1, 2, 5, 11, 12, 13, 24, 36, 90] {
                for panel in PANELS {
                    app.panel = panel;
                    let buffer = screen(&mut app, width, height);
                    assert_eq!(buffer.area, Rect::new(0, 0, width, height));
                }
            }
        }
    }
    assert!(lines(&mut app, 30, 8).contains("larger"));
}

#[test]
fn the_end_of_the_process_is_told_and_its_last_state_stays() {
    let mut app = app(ALL);
    app.news(News::Ended);
    let text = lines(&mut app, 80, 24);
    assert!(text.contains("ended") && text.contains("RSS 49.0 MiB"), "{text}");
    press(&mut app, KeyCode::Char('4'));
    assert!(lines(&mut app, 80, 24).contains("the process has ended"));
    assert!(matches!(press(&mut app, KeyCode::Char('p')), Wish::Nothing));
    assert!(app.last_words().unwrap().contains("shop (4711) has ended; RSS 49.0 MiB"));
}

#[test]
fn lists_stay_in_bounds_and_heaps_too() {
    let mut app = app(ALL);
    press(&mut app, KeyCode::Char('4'));
    for key in [KeyCode::End, KeyCode::PageDown, KeyCode::Down, KeyCode::PageUp, KeyCode::Home] {
        press(&mut app, key);
        assert!(lines(&mut app, 80, 24).contains("rss"));
    }
    for key in [KeyCode::Left, KeyCode::Right, KeyCode::Right, KeyCode::Right] {
        press(&mut app, key);
        lines(&mut app, 80, 24);
    }
    press(&mut app, KeyCode::Char('1'));
    assert!(lines(&mut app, 80, 24).contains("heap 2 of 2: arena 1"));
    app.look(Look { seen: bare(), ..look(Instant::now(), 0, 1, 1) });
    assert!(lines(&mut app, 80, 24).contains("no heap that is read"));
}

fn bare() -> heapwise_inspect::Survey {
    let mut seen = sample::survey(1, 1);
    seen.depth = Depth::Mappings;
    seen.heaps = heapwise_inspect::heap::summary::Heaps::default();
    seen
}

#[test]
fn failures_that_repeat_are_one_event() {
    let mut app = app(ALL);
    let before = app.events.len();
    for _ in 0..5 {
        app.news(News::Failed("not permitted".into()));
    }
    assert_eq!(app.events.len(), before + 1);
    for index in 0..2000 {
        app.news(News::Failed(format!("failure {index}")));
    }
    assert!(app.events.len() <= 500);
}

#[test]
fn the_interval_is_changed_by_keys() {
    let mut app = app(ALL);
    press(&mut app, KeyCode::Char('+'));
    assert_eq!(app.pace.asked(), Duration::from_millis(500));
    assert!(lines(&mut app, 80, 24).contains("a look every 500 ms"));
    for _ in 0..20 {
        press(&mut app, KeyCode::Char('+'));
    }
    assert_eq!(app.pace.asked(), crate::view::pace::SHORTEST);
}
