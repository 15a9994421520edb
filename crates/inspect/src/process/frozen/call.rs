//! One system call in the name of a stopped thread, which is then as it was.
//!
//! ```text
//! stopped ─► detour written, registers, signals blocked ─► call … its end ─► stopped again
//!                                                                          signals, registers: as before
//! ```
//! The thread stops for the second time where it stood at first: on its way out of the kernel, with all
//! that it had there, also what tells the kernel to make an interrupted call again. Should we be
//! killed in between, the thread makes the call, and the detour on its stack brings it back.
//! Signals wait meanwhile; the last step before the registers are set lets them in again.

use std::io;
use std::time::{Duration, Instant};

use super::super::interrupted::{
    USER_CS, has_own_filters, has_shadow_stack, in_restartable_sequence, signal_pending,
};
use super::super::maps::{Mapping, find};
use super::super::remote;
use super::super::tracing::{Stop, Tracee};
use super::places::Places;
use super::x86_64::{Detour, Registers, detour, reach};
use super::{Refusal, filters};
use crate::span::Span;

/// A call with its arguments; `None` stands for the stack of a new process.
pub type Call = (libc::c_long, [Option<u64>; 4]);

/// A thread that can be led, and all that is to be put back.
pub struct Leadable {
    original: Registers,
    blocked: u64,
    extended: Vec<u8>,
    /// What may be written below its stack pointer.
    pub room: Span,
    /// It waits in a call that goes on by a note in the kernel (`nanosleep`), which our death would
    /// lose: the call would end with EINTR.
    pub by_note: bool,
    /// A signal waits for it, which ends its call; should we die meanwhile, the call could begin
    /// again behind the signal.
    pub is_signalled: bool,
}

/// How a call ended.
pub enum Outcome {
    /// With this result, and the process that it made.
    Done(i64, Option<Tracee>),
    /// It was not made; the thread is as before.
    NotNow(&'static str),
    /// The thread has ended.
    Gone,
}

/// More than any call here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// ERESTARTNOINTR: a signal came before the call had begun.
const BEGIN_AGAIN: i64 = -513;
/// ERESTART_RESTARTBLOCK.
const BY_NOTE: u64 = (-516i64).cast_unsigned();
/// A stack of a thread is believed to reach this far below its control block.
const SHALLOW: u64 = 128 << 10;
/// Offset of a thread's own address in glibc's control block, and of its number.
const SELF_OFFSET: u64 = 0x10;
const TID_OFFSET: u64 = 0x2d0;

impl Leadable {
    /// Whether a thread that stands still may be led; else why not.
    ///
    /// # Errors
    /// What ptrace said.
    pub fn examine(
        pid: u32,
        tracee: &Tracee,
        maps: &[Mapping],
    ) -> io::Result<Result<Self, Refusal>> {
        let passing = match tracee.stopped_by() {
            Some(Stop::Interrupted) => None,
            Some(Stop::Group) => {
                return Ok(Err(Refusal::lasting("it is stopped by job control")));
            }
            Some(Stop::Signal(_)) => Some("it is getting a signal"),
            Some(_) => Some("it is ending"),
            None => Some("it sleeps in the kernel and does not stop"),
        };
        if let Some(why) = passing {
            return Ok(Err(Refusal::passing(why)));
        }
        let tid = tracee.tid();
        let original = tracee.registers()?;
        let refusal = if original.cs != USER_CS {
            Some("it runs 32-bit code")
        } else if has_shadow_stack(pid, tid) {
            Some("it has a shadow stack (CET)")
        } else if has_own_filters(pid, tid) && !filters::let_a_copy_be(tracee) {
            Some("its seccomp filters may end it for a copy")
        } else if tracee.dispatches_calls() {
            Some("it handles system calls itself")
        } else {
            None
        };
        if let Some(why) = refusal {
            return Ok(Err(Refusal::lasting(why)));
        }
        if in_restartable_sequence(pid, tracee) {
            return Ok(Err(Refusal::passing("it is in a restartable sequence")));
        }
        let extended = tracee.extended_state()?;
        let Some(stack) = stack_below(pid, tid, &original, maps) else {
            return Ok(Err(Refusal::passing("it is not on a stack of the C library's")));
        };
        let lowest = original.rsp.saturating_sub(reach(&extended));
        let room = Span::new(lowest as usize, original.rsp as usize);
        if !stack.covers(room) {
            return Ok(Err(Refusal::passing("it has no room on its stack")));
        }
        let by_note = original.orig_rax.cast_signed() >= 0 && original.rax == BY_NOTE;
        let blocked = tracee.blocked_signals()?;
        let is_signalled = signal_pending(pid, tid);
        Ok(Ok(Self { original, blocked, extended, room, by_note, is_signalled }))
    }

    /// Makes the call.
    ///
    /// # Errors
    /// What ptrace said; the thread finds back by itself once it is let go.
    pub fn make(
        &self,
        pid: u32,
        tracee: &mut Tracee,
        places: &Places,
        call: Call,
    ) -> io::Result<Outcome> {
        let Detour { at, bytes, led } =
            detour(&self.original, self.blocked, &self.extended, (places.call, places.back), call);
        if remote::write(pid, at as usize, &bytes).is_err() {
            return Ok(Outcome::NotNow("it has no room on its stack"));
        }
        tracee.follow_clones()?;
        tracee.set_registers(led)?;
        // Not before: should we end in between, they are not left blocked.
        tracee.block_signals(u64::MAX)?;
        let mut has_begun = false;
        let mut made = None;
        let result = loop {
            tracee.resume_to_call()?;
            match stop(tracee)? {
                Stop::Call if !has_begun => has_begun = true,
                Stop::Call => break tracee.registers()?.rax.cast_signed(),
                Stop::Cloned => made = Some(tracee.cloned()?),
                Stop::Gone => return Ok(Outcome::Gone),
                // SIGSTOP, which nothing blocks: it stands as at first.
                Stop::Interrupted | Stop::Group | Stop::Signal(_) => {
                    self.put_back(tracee)?;
                    return Ok(Outcome::NotNow("it is getting a signal"));
                }
            }
        };
        tracee.interrupt()?;
        tracee.resume()?;
        if stop(tracee)? == Stop::Gone {
            return Ok(Outcome::Gone);
        }
        self.put_back(tracee)?;
        Ok(match result {
            BEGIN_AGAIN => Outcome::NotNow("it is getting a signal"),
            result => Outcome::Done(result, made),
        })
    }

    fn put_back(&self, tracee: &Tracee) -> io::Result<()> {
        // In this order: with the detour still ahead, our end would cost nothing.
        tracee.block_signals(self.blocked)?;
        tracee.set_registers(self.original)
    }
}

fn stop(tracee: &mut Tracee) -> io::Result<Stop> {
    let stop = tracee.wait(Instant::now() + PATIENCE)?;
    stop.ok_or_else(|| io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// The stack that a thread is on, from its lowest address: that of the main thread, or one that glibc
/// made, told by the control block above it. A coroutine's may have no room to give.
fn stack_below(pid: u32, tid: u32, registers: &Registers, maps: &[Mapping]) -> Option<Span> {
    let mapping = find(maps, registers.rsp as usize)?;
    if mapping.name == "[stack]" {
        return (pid == tid).then_some(mapping.span);
    }
    let block = registers.fs_base;
    let is_above = registers.rsp < block
        && block - registers.rsp <= SHALLOW
        && mapping.span.contains(block as usize)
        && mapping.is_plain_data();
    let word = |offset| {
        let mut bytes = [0; 8];
        remote::read(pid, block.checked_add(offset)? as usize, &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let is_block = || {
        word(0) == Some(block)
            && word(SELF_OFFSET) == Some(block)
            && word(TID_OFFSET).is_some_and(|word| word as u32 == own_number(pid, tid))
    };
    (is_above && is_block()).then_some(mapping.span)
}

/// The thread's number as it knows it itself, in the innermost of its namespaces.
fn own_number(pid: u32, tid: u32) -> u32 {
    let status = super::super::interrupted::status(pid, tid);
    let numbers = super::super::figures::field(&status, "NSpid").unwrap_or_default();
    numbers.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or(tid)
}
