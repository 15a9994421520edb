//! What is known and what is shown. Keys and news change it; the screen draws it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use heapwise_inspect::Survey;
use heapwise_inspect::verdict::Verdict;

use super::keys::Action;
use super::sampler::{Look, News, Order};
use super::theme::Theme;
use crate::snapshot;
use crate::units::{bytes, duration};
use crate::view::events::{self, Event, Kind, Seen};
use crate::view::pace::Pace;
use crate::view::timeline::{Point, Timeline};

/// Points that are kept: some 200 bytes each.
const MOST_POINTS: usize = 4096;
/// Events that are kept.
const MOST_EVENTS: usize = 500;

/// The panels below the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Panel {
    /// A heap by page.
    Map,
    /// The arenas.
    Arenas,
    /// What holds free pages up.
    Holders,
    /// What happened.
    Events,
    /// The mappings.
    Mappings,
}

/// In the order of their keys.
pub const PANELS: [Panel; 5] =
    [Panel::Map, Panel::Arenas, Panel::Holders, Panel::Events, Panel::Mappings];

impl Panel {
    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Map => "Map",
            Self::Arenas => "Arenas",
            Self::Holders => "Holders",
            Self::Events => "Events",
            Self::Mappings => "Mappings",
        }
    }
}

/// Spans of time of the chart; the first is all there is.
const WINDOWS: [Option<Duration>; 5] = [
    None,
    Some(Duration::from_secs(60)),
    Some(Duration::from_secs(5 * 60)),
    Some(Duration::from_secs(30 * 60)),
    Some(Duration::from_secs(3 * 3600)),
];
/// All there is, but at least this: a chart of one second says nothing.
const SHORTEST_WINDOW: Duration = Duration::from_secs(30);

/// What the loop should do after a key.
#[derive(Debug, Clone)]
pub enum Wish {
    /// Draw.
    Nothing,
    /// Tell the sampler.
    Order(Order),
    /// End.
    Quit,
    /// Stop until continued.
    Suspend,
}

/// The last look, and what was made of it once instead of at each drawing.
pub struct Current {
    /// What was seen.
    pub seen: Survey,
    /// What it means.
    pub verdict: Verdict,
}

/// The state of the program.
pub struct App {
    /// What the terminal can show.
    pub theme: Theme,
    /// The last look.
    pub current: Option<Current>,
    /// All looks in short.
    pub timeline: Timeline,
    /// What happened, the newest last.
    pub events: Vec<Event>,
    /// What looking costs.
    pub pace: Pace,
    /// The last look's duration.
    pub took: Duration,
    /// The chosen panel.
    pub panel: Panel,
    /// It alone is shown.
    pub zoomed: bool,
    /// The keys are shown.
    pub help: bool,
    /// No looks.
    pub paused: bool,
    /// The process has ended.
    pub ended: bool,
    /// The heap in the map.
    pub heap: usize,
    /// First line shown, by panel; the screen keeps them in bounds.
    pub scroll: [usize; PANELS.len()],
    /// Lines of the chosen panel on the screen, as drawn last.
    pub page_lines: usize,
    /// A word about the last key, until the next one.
    pub message: Option<String>,
    /// Where snapshots go; else a name is made up.
    pub save_as: Option<PathBuf>,
    window: usize,
    began: Option<Instant>,
}

impl App {
    /// Nothing seen yet.
    pub fn new(theme: Theme, interval: Duration) -> Self {
        Self {
            theme,
            current: None,
            timeline: Timeline::new(MOST_POINTS),
            events: Vec::new(),
            pace: Pace::new(interval),
            took: Duration::ZERO,
            panel: Panel::Map,
            zoomed: false,
            help: false,
            paused: false,
            ended: false,
            heap: 0,
            scroll: [0; PANELS.len()],
            page_lines: 1,
            message: None,
            save_as: None,
            window: 0,
            began: None,
        }
    }

    /// Takes in what the sampler tells.
    pub fn news(&mut self, news: News) {
        match news {
            News::Look(look) => self.look(*look),
            News::Rss(at, rss) => {
                let at = self.began.map_or(Duration::ZERO, |b| at.saturating_duration_since(b));
                if let Some(last) = self.timeline.points().last() {
                    let point = Point::between(last, rss, at);
                    self.timeline.push(point);
                }
            }
            News::Failed(why) => self.tell(Kind::Watch, why),
            News::Saved(words) => {
                self.message = Some(words.clone());
                self.tell(Kind::Watch, words);
            }
            News::Ended => {
                self.ended = true;
                self.tell(Kind::Ended, "the process has ended; this is how it stood last".into());
            }
        }
    }

    /// Takes in a look.
    pub fn look(&mut self, look: Look) {
        let Look { at, seen, verdict, cost } = look;
        let began = *self.began.get_or_insert(at);
        let at = at.saturating_duration_since(began);
        if let Some(before) = &self.current {
            let before = Seen { survey: &before.seen, verdict: &before.verdict };
            let after = Seen { survey: &seen, verdict: &verdict };
            for event in events::between(before, after, at) {
                self.push_event(event);
            }
        }
        self.pace.learn(cost);
        self.took = cost.wall;
        self.timeline.push(Point::of(&seen, at));
        self.current = Some(Current { seen, verdict });
    }

    fn tell(&mut self, kind: Kind, text: String) {
        let at = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        // A look that fails again and again is one event.
        if self.events.last().is_some_and(|last| last.kind == kind && last.text == text) {
            return;
        }
        self.push_event(Event { at, kind, text });
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= MOST_EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// The chart's time: from, to.
    pub fn window(&self) -> (Duration, Duration) {
        let last = self.timeline.points().last().map_or(Duration::ZERO, |point| point.at);
        let span = WINDOWS[self.window].unwrap_or(last.max(SHORTEST_WINDOW));
        // While it is shorter than the window, time runs from the left edge.
        let to = last.max(span);
        (to - span, to)
    }

    /// Does what a key asks for.
    pub fn act(&mut self, action: Action) -> Wish {
        self.message = None;
        match action {
            Action::Quit if self.help => self.help = false,
            Action::Quit => return Wish::Quit,
            Action::Suspend => return Wish::Suspend,
            Action::Help => self.help = !self.help,
            Action::Panel(index) => self.panel = PANELS[index],
            Action::NextPanel(forward) => {
                let step = if forward { 1 } else { PANELS.len() - 1 };
                self.panel = PANELS[(self.panel as usize + step) % PANELS.len()];
            }
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Scroll(lines) if self.panel == Panel::Map => self.turn_heap(lines > 0),
            Action::Scroll(lines) => self.scroll_by(lines as isize),
            Action::Page(pages) => {
                self.scroll_by(pages as isize * self.page_lines.max(1).cast_signed());
            }
            Action::Edge(last) => {
                self.scroll[self.panel as usize] = if last { usize::MAX } else { 0 };
            }
            Action::Heap(forward) => self.turn_heap(forward),
            Action::Window => self.window = (self.window + 1) % WINDOWS.len(),
            Action::Pause | Action::Now | Action::Interval(_) if self.ended => {
                self.message = Some("the process has ended".into());
            }
            Action::Pause => {
                self.paused = !self.paused;
                return Wish::Order(Order::Pause(self.paused));
            }
            Action::Now => {
                return Wish::Order(Order::Now);
            }
            Action::Interval(more_often) => {
                let asked = self.pace.asked();
                self.pace.ask(if more_often { asked / 2 } else { asked * 2 });
                let interval = self.pace.asked();
                self.message =
                    Some(format!("a look every {}", duration(interval.as_nanos() as u64)));
                return Wish::Order(Order::Interval(interval));
            }
            Action::Save => return self.save(),
        }
        Wish::Nothing
    }

    /// A whole look, with bins and all, while there is something to look at; else the last one.
    fn save(&mut self) -> Wish {
        let Some(current) = &self.current else { return Wish::Nothing };
        let path = self.save_as.clone().unwrap_or_else(|| {
            let seconds = current.seen.origin.taken_unix_ms / 1000;
            let name: String = current
                .seen
                .figures
                .name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            format!("{name}-{}-{seconds}.hws", current.seen.pid).into()
        });
        if !self.ended {
            self.message = Some("saving".into());
            return Wish::Order(Order::Save(path));
        }
        self.message = Some(match snapshot::keep(&current.seen, &path) {
            Ok(length) => format!("{} in {}", bytes(length as u64), path.display()),
            Err(error) => format!("{}: {error:#}", path.display()),
        });
        Wish::Nothing
    }

    fn scroll_by(&mut self, lines: isize) {
        let at = &mut self.scroll[self.panel as usize];
        *at = at.saturating_add_signed(lines);
    }

    fn turn_heap(&mut self, forward: bool) {
        self.heap = if forward { self.heap.saturating_add(1) } else { self.heap.saturating_sub(1) };
    }

    /// What is said when the terminal is back: what has become of the process.
    pub fn last_words(&self) -> Option<String> {
        let current = self.current.as_ref().filter(|_| self.ended)?;
        Some(format!(
            "{} ({}) has ended; RSS {} at the last look, {} at most",
            current.seen.figures.name,
            current.seen.pid,
            bytes(current.seen.rss as u64),
            bytes(self.timeline.peak() as u64)
        ))
    }
}
