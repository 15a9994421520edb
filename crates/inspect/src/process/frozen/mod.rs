//! A copy of a process, of one moment: made by the kernel in its name, read at leisure, and removed.
//!
//! ```text
//!  stopped: one thread is led through clone ─► the copy, which never runs   ◄── read from /proc/COPY/mem
//!           and goes on with the others         its memory is the target's until one of both is written to
//!  at the end: the copy is killed ─► one thread is led through wait4, so that nothing stays
//! ```
//! The copy is traced from its beginning and stands before its first instruction; with our death it dies.
//! It sends its parent no signal, and `wait` does not see it unless asked for all kinds
//! (`__WALL`). Descriptors are shared with it, not copied: closing one is what it always is.
//! [ADR 0035](../../../../docs/adr/0035-frozen-copy.md) has the reasons and the risks.

mod call;
mod filters;
mod leftovers;
mod places;
mod room;
mod x86_64;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use self::call::{Leadable, Outcome};
pub use self::places::Places;
use super::figures::{Figures, faults};
use super::files::{open, path};
use super::interrupted::status;
use super::maps::{self, Mapping};
use super::pages::{Pages, has_any};
use super::tracing::{Stop, Tracee};
use crate::error::Error;
use crate::span::{Span, page_down, page_up};
use crate::survey::page_bytes;

/// A copy, removed with [`Copy::remove`]; only killed when dropped.
#[derive(Debug)]
pub struct Copy {
    /// The target.
    pid: u32,
    places: Places,
    tracee: Tracee,
    /// Its number in the target's namespace.
    number: i64,
    /// How long the kernel took to make it.
    pub made_in: Duration,
    /// Memory of its page tables.
    pub table_bytes: usize,
    /// Page faults of the target when it was made.
    faults_before: u64,
}

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub why: String,
    /// It may be otherwise in a moment.
    pub passes: bool,
}

impl Refusal {
    fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), passes: false }
    }

    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), passes: true }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::lasting(format!("ptrace: {error}"))
    }
}

/// What a copy is made with: descriptors shared, no signal at its end.
const CLONE_FLAGS: u64 = libc::CLONE_FILES as u64;
/// How it is waited for.
const WAIT_FLAGS: u64 = (libc::WNOHANG | libc::__WALL) as u64;
/// What a copy ends with that nobody holds: `h`.
const EXIT_CODE: u64 = 104;
/// A copy's `oom_score_adj`: should memory run out, it goes first.
const FIRST_TO_GO: &str = "1000";
/// A copy that cannot be waited for by then stays a zombie until the target ends.
const REMOVED_WITHIN: Duration = Duration::from_secs(2);
/// So many older ones are removed with it, some 50 µs each.
const MOST_LEFTOVERS: usize = 64;
const NEXT_ATTEMPT: Duration = Duration::from_millis(5);
const STOPS_WITHIN: Duration = Duration::from_millis(100);
/// It begins within that time.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

impl Copy {
    /// Copies a process all of whose threads stand still, and lets the one that it took be as before;
    /// else why there is none, in words.
    ///
    /// `maps` and `figures` are those of this moment.
    ///
    /// # Errors
    /// Why not.
    pub fn make(
        pid: u32,
        tracees: &mut [Tracee],
        places: Places,
        maps: &[Mapping],
        figures: &Figures,
    ) -> Result<Self, Refusal> {
        if let Some(why) = room::lacks(pid, figures) {
            return Err(Refusal::lasting(why));
        }
        if !places.hold(pid, maps) {
            return Err(Refusal::passing("its code has just changed"));
        }
        let faults_before = faults(pid).unwrap_or(0);
        let (at, leadable) = choose(pid, tracees, maps)?;
        let tracee = &mut tracees[at];
        let begun = Instant::now();
        let call = (libc::SYS_clone, [Some(CLONE_FLAGS), None, Some(0), Some(0)]);
        match leadable.make(pid, tracee, &places, call)? {
            Outcome::Done(number, Some(tracee)) if number > 0 => Ok(Self {
                pid,
                places,
                tracee,
                number,
                made_in: begun.elapsed(),
                table_bytes: 0,
                faults_before,
            }),
            Outcome::Done(number, _) => {
                let error = io::Error::from_raw_os_error((-number) as i32);
                Err(Refusal::lasting(format!("the kernel refuses a copy: {error}")))
            }
            Outcome::NotNow(why) => Err(Refusal::passing(why)),
            Outcome::Gone => Err(Refusal::passing("the thread that was chosen has ended")),
        }
    }

    /// Waits until it stands, and binds it to this thread of ours: the target may go on before.
    ///
    /// # Errors
    /// It has ended.
    pub fn hold(&mut self) -> io::Result<()> {
        match self.tracee.wait(Instant::now() + BEGINS_WITHIN)? {
            None | Some(Stop::Gone) => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
            Some(_) => {}
        }
        // Before it is bound: by both a copy that our death has killed is known.
        let _ = fs::write(path(self.pid(), "oom_score_adj"), FIRST_TO_GO);
        self.tracee.bind_to_us()?;
        let status = fs::read_to_string(path(self.pid(), "status"))?;
        self.table_bytes = super::figures::kibibytes(&status, "VmPTE");
        Ok(())
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.tracee.tid()
    }

    /// Page faults of the target since; each stands for a page copied, at most.
    #[must_use]
    pub fn faults_since(&self) -> u64 {
        faults(self.pid).unwrap_or(0).saturating_sub(self.faults_before)
    }

    /// What of the target's memory it does not have (`MADV_DONTFORK`, `MADV_WIPEONFORK`); the
    /// target still stands. `maps` are its mappings.
    ///
    /// # Errors
    /// It has ended.
    pub fn lacks(&self, maps: &[Mapping]) -> Result<Vec<Span>, Error> {
        let own_maps = maps::of(self.pid())?;
        let (own, target) = (open(self.pid(), "pagemap")?, open(self.pid, "pagemap")?);
        let is_lacking = |mapping: &&Mapping| {
            let span = mapping.span;
            maps::find(&own_maps, span.start).is_none_or(|own| !own.span.covers(span))
                || mapping.is_copied_whole()
                    && !has_any(&own, span).unwrap_or(true)
                    && has_any(&target, span).unwrap_or(false)
        };
        Ok(maps.iter().filter(is_lacking).map(|mapping| mapping.span).collect())
    }

    /// Removes it; false if it stays as a zombie, since no thread of the target could be led.
    pub fn remove(mut self) -> bool {
        if !self.tracee.kill() {
            return false;
        }
        let until = Instant::now() + REMOVED_WITHIN;
        let mut tids: Vec<u32> = super::stopped::threads(self.pid).unwrap_or_default();
        tids.sort_unstable();
        loop {
            for &tid in &tids {
                match self.reap_by(tid) {
                    Ok(true) => return true,
                    // The target has ended: others wait for the copy.
                    _ if status(self.pid, self.pid).is_empty() => return true,
                    _ => {}
                }
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(NEXT_ATTEMPT);
        }
    }

    /// Lets a thread of the target wait for it.
    fn reap_by(&self, tid: u32) -> io::Result<bool> {
        let mut tracee = Tracee::seize(tid)?;
        tracee.interrupt()?;
        tracee.wait(Instant::now() + STOPS_WITHIN)?;
        let Ok(maps) = maps::of(self.pid) else { return Ok(false) };
        let Ok(leadable) = Leadable::examine(self.pid, &tracee, &maps)? else { return Ok(false) };
        if !self.places.are_mapped(&maps) {
            return Ok(false);
        }
        let mut wait_for = |number: i64| {
            let call = (
                libc::SYS_wait4,
                [Some(number.cast_unsigned()), Some(0), Some(WAIT_FLAGS), Some(0)],
            );
            leadable.make(self.pid, &mut tracee, &self.places, call)
        };
        let outcome = wait_for(self.number)?;
        // No such child any more is as good.
        let is_done = matches!(outcome, Outcome::Done(result, _)
            if result == self.number || result == i64::from(-libc::ECHILD));
        if is_done {
            for number in leftovers::of(self.pid).into_iter().take(MOST_LEFTOVERS) {
                if !matches!(wait_for(number)?, Outcome::Done(..)) {
                    break;
                }
            }
        }
        Ok(is_done)
    }
}

/// The thread to be led: best one that no death of ours could harm, and whose stack is there.
fn choose(pid: u32, tracees: &[Tracee], maps: &[Mapping]) -> Result<(usize, Leadable), Refusal> {
    let mut best: Option<(usize, Leadable)> = None;
    let mut refusal = Refusal::passing("it has no thread that can be stopped");
    let rank = |leadable: &Leadable| {
        let is_there = is_resident(pid, leadable.room);
        (leadable.by_note || leadable.is_signalled, !is_there)
    };
    for (at, tracee) in tracees.iter().enumerate() {
        match Leadable::examine(pid, tracee, maps)? {
            Ok(leadable) => {
                let found = rank(&leadable);
                if best.as_ref().is_none_or(|(_, best)| found < rank(best)) {
                    best = Some((at, leadable));
                }
                if found == (false, false) {
                    break;
                }
            }
            Err(reason) => refusal = reason,
        }
    }
    best.ok_or(refusal)
}

/// Whether all of `span` is; no, where the kernel does not tell quickly.
fn is_resident(pid: u32, span: Span) -> bool {
    let page_bytes = page_bytes();
    let pages = Span::new(page_down(span.start, page_bytes), page_up(span.end, page_bytes));
    let runs = Pages::runs_of(pid, &[pages]).ok().flatten().unwrap_or_default();
    Pages::from_runs(page_bytes, runs, true).resident(span) == span.bytes()
}
