//! The control block: how a command from outside reaches a running process.
//!
//! ```text
//!  outside (may write our memory: ptrace rights)      inside (the helper thread)
//!  ─────────────────────────────────────────────      ──────────────────────────
//!  command, argument      ── written first ──►
//!  request = done + 1     ── written last ───►        sees request ≠ done
//!                                                     carries it out
//!                         ◄─────────────────          status, result, left
//!  sees done = request    ◄── written last ──         done = request
//! ```
//! Nobody but a tracer can write here, so there is nothing to authenticate. Where
//! no helper runs, the outside makes one thread of the process run through
//! `entry`, which starts it: no lock is taken, no stack but that thread's own is
//! used, and all its registers come back.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Give free memory back; the argument is the pad, bytes kept at the main top.
    /// Result: 1 if any went back; left: arenas whose threads ran all the time, so that
    /// their caches and inboxes could not be emptied.
    Trim = 1,
    /// Join a recording: the argument is the recorder's pid × 2^32 + the number of its
    /// descriptor of the shared memory (see [`crate::live`]), which says what to record.
    /// Result: 1 if the process takes part now. It ends when the recorder stops it there.
    Record = 2,
}

impl Command {
    /// The command of this number.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Trim),
            2 => Some(Self::Record),
            _ => None,
        }
    }
}

/// [`Control::status`]: carried out.
pub const STATUS_DONE: u32 = 0;
/// [`Control::status`]: this version of the allocator has no such command.
pub const STATUS_UNKNOWN: u32 = 1;
/// [`Control::status`]: it could not be carried out; `result` is an errno or 0.
pub const STATUS_FAILED: u32 = 2;

/// [`Control::helper`]: there is none.
pub const HELPER_NONE: u32 = 0;
/// [`Control::helper`]: it runs, or is being started.
pub const HELPER_RUNS: u32 = 1;
/// [`Control::helper`]: the kernel refused the thread; the allocator does not ask again.
pub const HELPER_REFUSED: u32 = 2;

/// The block, in [`crate::state::ProcessState`].
#[repr(C, align(64))]
pub struct Control {
    /// Address of the entry, 0 where there is none. Its caller has pushed an address
    /// below 128 bytes of red zone; it returns there, every register as it was.
    pub entry: AtomicUsize,
    /// `HELPER_*`.
    pub helper: AtomicU32,
    /// The helper's kernel thread id; the kernel clears it when the thread is gone.
    pub helper_tid: AtomicU32,
    /// How often a thread has come through `entry`.
    pub entries: AtomicU32,
    /// What the last one got: a thread id, 0 if a helper ran or was ending, else −errno.
    pub started: AtomicI32,
    /// [`Command`].
    pub command: AtomicU32,
    /// `STATUS_*` of the command that `done` numbers.
    pub status: AtomicU32,
    /// Its argument.
    pub argument: AtomicU64,
    /// Number of the newest command.
    pub request: AtomicU64,
    /// Number of the last command carried out.
    pub done: AtomicU64,
    /// What came of it.
    pub result: AtomicU64,
    /// What could not be done of it, see the command.
    pub left: AtomicU64,
}

impl Control {
    /// Nothing asked for, no helper.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entry: AtomicUsize::new(0),
            helper: AtomicU32::new(HELPER_NONE),
            helper_tid: AtomicU32::new(0),
            entries: AtomicU32::new(0),
            started: AtomicI32::new(0),
            command: AtomicU32::new(0),
            status: AtomicU32::new(STATUS_DONE),
            argument: AtomicU64::new(0),
            request: AtomicU64::new(0),
            done: AtomicU64::new(0),
            result: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_their_numbers() {
        assert_eq!(Command::of(Command::Trim as u32), Some(Command::Trim));
        assert_eq!(Command::of(Command::Record as u32), Some(Command::Record));
        assert_eq!(Command::of(0), None);
        assert_eq!(Command::of(u32::MAX), None);
    }
}
