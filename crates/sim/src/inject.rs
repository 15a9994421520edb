//! Faults from below, at moments of a plan.
//!
//! ```text
//!   call N fails │ frame N is missing │ before call N: a foreign sbrk, a mapping above the heap, OOM
//! ```
//! Calls and frames are counted from 1, in the whole machine; a plan without
//! entries costs a compare.

use std::collections::BTreeMap;
use std::fmt;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// The system call fails with ENOMEM and does nothing.
    CallFails,
    /// There is no frame.
    FrameMissing,
    /// Somebody else in the process moves the break by so many bytes first.
    ForeignSbrk(i64),
    /// Somebody else maps a page right above the break first.
    MappingInTheWay,
    /// The OOM killer runs first.
    OutOfMemory,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallFails => f.write_str("this call fails"),
            Self::FrameMissing => f.write_str("no frame"),
            Self::ForeignSbrk(bytes) => write!(f, "somebody else moves the break by {bytes}"),
            Self::MappingInTheWay => f.write_str("somebody else maps the page above the break"),
            Self::OutOfMemory => f.write_str("the OOM killer is called"),
        }
    }
}

/// What goes wrong when.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    calls: BTreeMap<u64, Injection>,
    /// From this frame on (counted), so many in a row are missing.
    pub frames_missing: Option<(u64, u64)>,
    /// System calls so far.
    pub calls_seen: u64,
    /// Frames asked for so far.
    pub frames_seen: u64,
}

impl Plan {
    /// `what` happens at the `nth` system call from the start of the machine.
    pub fn at_call(&mut self, nth: u64, what: Injection) {
        self.calls.insert(nth, what);
    }

    /// What was still to come does not.
    pub fn lift(&mut self) {
        self.calls.clear();
        self.frames_missing = None;
    }

    /// Counts a call; what happens to it.
    pub fn call(&mut self) -> Option<Injection> {
        self.calls_seen += 1;
        if self.calls.is_empty() { None } else { self.calls.remove(&self.calls_seen) }
    }

    /// Counts a request for a frame; whether there is none.
    pub fn frame(&mut self) -> bool {
        self.frames_seen += 1;
        self.frames_missing.is_some_and(|(from, count)| self.frames_seen.wrapping_sub(from) < count)
    }
}
