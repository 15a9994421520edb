//! Takes the terminal over, and gives it back: at the end, on an error, on a panic, on signals.

use std::io::{self, stdin, stdout};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::app::{App, Wish};
use super::keys;
use super::sampler::Sampler;
use super::screen;

/// How long to wait for a key before looking for news.
const TICK: Duration = Duration::from_millis(100);
/// How long the loop may take to end after a signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ours while it lives.
struct Taken;

impl Taken {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is given back, come what may.
        let taken = Self;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// What cannot be written to a terminal that is gone needs no repair.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Draws until the user, the time or a signal ends it.
pub fn run(app: &mut App, sampler: &Sampler, duration: Option<Duration>) -> anyhow::Result<()> {
    let end = end_on_signals()?;
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        give_back();
        told(panic);
    }));
    let began = Instant::now();
    let mut taken = Taken::take()?;
    // Not dropped: it would show the cursor, as we do, and panic where the terminal is gone.
    let mut terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(stdout()))?);
    let mut stale = true;
    loop {
        if end.load(Ordering::Relaxed) || duration.is_some_and(|time| began.elapsed() >= time) {
            return Ok(());
        }
        while let Ok(news) = sampler.news.try_recv() {
            app.news(news);
            stale = true;
        }
        if stale {
            terminal.draw(|frame| screen::draw(app, frame))?;
            stale = false;
        }
        match wait_for_input() {
            Input::Gone => return Ok(()),
            // The size may have changed, which is no input.
            Input::None | Input::Some if !event::poll(Duration::ZERO)? => continue,
            Input::None | Input::Some => {}
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let Some(action) = keys::action(key) else { continue };
                match app.act(action) {
                    Wish::Nothing => {}
                    Wish::Order(order) => sampler.order(order),
                    Wish::Quit => return Ok(()),
                    Wish::Suspend => {
                        drop(taken);
                        // SAFETY: a signal to ourselves, with the default action: we stand still
                        // until somebody continues us.
                        unsafe { libc::raise(libc::SIGTSTP) };
                        taken = Taken::take()?;
                        // Not clear(): it asks where the cursor is, and fails unless answered.
                        let size = terminal.size()?;
                        terminal.resize(Rect::from((Position::ORIGIN, size)))?;
                    }
                }
                stale = true;
            }
            Event::Resize(..) => stale = true,
            _ => {}
        }
    }
}

/// A flag that signals set. Whoever is stuck meanwhile, as in writing to a terminal that reads
/// no more, is ended.
fn end_on_signals() -> io::Result<Arc<AtomicBool>> {
    let end = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
    let flag = Arc::clone(&end);
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            flag.store(true, Ordering::Relaxed);
            thread::sleep(PATIENCE);
            // A terminal that is stuck would hold up this thread too.
            thread::spawn(give_back);
            thread::sleep(TICK);
            std::process::exit(128 + signal);
        }
    });
    Ok(end)
}

/// What came within a tick.
enum Input {
    None,
    Some,
    /// The terminal is gone.
    Gone,
}

/// Waits for a tick. crossterm reads the end of a terminal that has hung up again and again and
/// never returns, so it is not asked then.
fn wait_for_input() -> Input {
    let stdin = stdin();
    let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    if poll(&mut ready, tick).is_err() {
        // Interrupted by a signal, such as that of a new size.
        return Input::None;
    }
    match ready[0].revents() {
        Some(events) if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => Input::Gone,
        Some(events) if events.contains(PollFlags::POLLIN) => Input::Some,
        _ => Input::None,
    }
}
