//! Progress on standard error: only at a terminal, and only for what takes over a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that shows itself after a second.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    total: u64,
    what: String,
}

/// What is done sooner needs no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

impl Progress {
    /// `total` things of `what` are to be done.
    pub fn new(what: &str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        Self { bar, begun: Instant::now(), total, what: what.to_owned() }
    }

    /// So many are done.
    pub fn set(&self, done: u64) {
        if self.bar.is_hidden()
            && self.begun.elapsed() >= SHOWN_AFTER
            && std::io::stderr().is_terminal()
        {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_message(self.what.clone());
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done.min(self.total));
    }

    /// What is being done now.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// It goes, so that a message can be printed or since all is done.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
