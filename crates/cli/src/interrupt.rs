//! Ctrl-C as a question that can be asked: work stops at the next good moment and tells what it has.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static SEEN: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    SEEN.store(true, Relaxed);
}

/// Watches for SIGINT while it lives. A second one ends the program as usual.
pub struct Interrupt {
    before: Option<SigAction>,
}

impl Interrupt {
    /// From now on.
    pub fn watch() -> Self {
        let action = SigAction::new(
            SigHandler::Handler(note),
            SaFlags::SA_RESTART | SaFlags::SA_RESETHAND,
            SigSet::empty(),
        );
        // SAFETY: the handler stores to one atomic.
        let before = unsafe { sigaction(Signal::SIGINT, &action) }.ok();
        Self { before }
    }

    /// Whether it has come.
    #[allow(clippy::unused_self, reason = "only asked while somebody watches")]
    pub fn seen(&self) -> bool {
        seen()
    }
}

/// Whether it has come, for whoever works for one that watches.
pub fn seen() -> bool {
    SEEN.load(Relaxed)
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && !self.seen()
        {
            // SAFETY: what was there before us.
            let _ = unsafe { sigaction(Signal::SIGINT, before) };
        }
    }
}
