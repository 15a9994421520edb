//! Commands from outside, see [`heapwise_layout::control`]: carried out by the helper.
//!
//! A new command is a variant of [`Command`] and an arm here. It runs on the helper's
//! small stack, without a cache of its own, and nobody waits for it inside.

use crate::os::Os;
use crate::root::Allocator;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use heapwise_layout::control::{Command, HELPER_NONE, STATUS_DONE, STATUS_FAILED, STATUS_UNKNOWN};

/// How often a trim comes back for arenas whose threads run, about 1 ms apart.
const TRIM_ROUNDS: u32 = 20;

/// What came of a command.
struct Outcome {
    status: u32,
    result: u64,
    left: u64,
}

impl<O: Os> Allocator<O> {
    /// Carries out the command that waits, if one does; true if so.
    pub fn serve(&self) -> bool {
        let control = &self.state.control;
        let request = control.request.load(Acquire);
        if request == control.done.load(Relaxed) {
            return false;
        }
        let argument = control.argument.load(Relaxed);
        let outcome = match Command::of(control.command.load(Relaxed)) {
            Some(Command::Trim) => self.serve_trim(argument as usize),
            Some(Command::Record) => {
                let joined = self.os.join_recording((argument >> 32) as u32, argument as u32);
                let status = if joined { STATUS_DONE } else { STATUS_FAILED };
                Outcome { status, result: u64::from(joined), left: 0 }
            }
            None => Outcome { status: STATUS_UNKNOWN, result: 0, left: 0 },
        };
        control.status.store(outcome.status, Relaxed);
        control.result.store(outcome.result, Relaxed);
        control.left.store(outcome.left, Relaxed);
        control.done.store(request, Release);
        true
    }

    fn serve_trim(&self, pad: usize) -> Outcome {
        let mut released = false;
        let mut left = 0;
        for round in 0..TRIM_ROUNDS {
            left = 0;
            for arena in self.arenas() {
                let trimmed = self.trim_arena(arena, None, pad);
                released |= trimmed.released;
                left += u64::from(!trimmed.whole);
            }
            // The second round takes what the first one's caches held for others.
            if left == 0 && round > 0 {
                break;
            }
            if left > 0 {
                self.os.pause();
            }
        }
        Outcome { status: STATUS_DONE, result: u64::from(released), left }
    }

    /// In a fork child: what was asked of the parent is not asked of it, and it has no helper.
    pub(crate) fn forget_commands(&self) {
        let control = &self.state.control;
        control.done.store(control.request.load(Relaxed), Relaxed);
        control.helper_tid.store(0, SeqCst);
        control.helper.store(HELPER_NONE, SeqCst);
    }
}
