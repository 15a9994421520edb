//! Leading one thread of a target through the entry that starts the helper.
//!
//! ```text
//!  its stack:   … frame │ 128 bytes of red zone │ where to go on │ ◄── rsp
//!                                                  = rip, or 2 before it if a system
//!                                                    call is to be made again
//!  rip = entry  ──►  saves registers, clone, restores them  ──►  ret 128
//! ```
//! The thread is interrupted, its registers are set in one step, and it is let go: the
//! entry finds its own way back, so nothing is lost should we be killed at any point.
//! A thread is left alone where that would not be as if nothing had happened: with a
//! signal pending, in a restartable sequence, in other code than 64-bit, without stack.

use std::fs;
use std::io;
use std::mem::offset_of;
use std::time::{Duration, Instant};

use heapwise_layout::control::Control;

use super::Refusal;
use super::channel::Block;
use crate::error::Error;
use crate::process::figures::field;
use crate::process::files::{convert, path};
use crate::process::interrupted::{
    RED_ZONE, USER_CS, has_own_filters, has_shadow_stack, in_restartable_sequence, make_call_again,
    signal_pending, status,
};
use crate::process::remote;
use crate::process::tracing::{Stop, Tracee};

/// The entry's frame and a margin: this much below the stack pointer must be there.
const STACK_ROOM: u64 = 1024;
/// A thread that is to stop gets this long.
const STOPS_WITHIN: Duration = Duration::from_millis(500);
/// All threads are tried again for this long.
const TRIED_FOR: Duration = Duration::from_secs(5);
/// Between two rounds.
const NEXT_ROUND: Duration = Duration::from_millis(3);
/// A thread that has been let go has come through the entry by then, or never will.
const COMES_THROUGH_WITHIN: Duration = Duration::from_secs(2);
/// Calls that a stop ends with EINTR (signal(7)); their threads come last.
const ENDED_BY_STOPS: [u64; 9] = [
    libc::SYS_epoll_wait as u64,
    libc::SYS_epoll_pwait as u64,
    libc::SYS_epoll_pwait2 as u64,
    libc::SYS_semop as u64,
    libc::SYS_semtimedop as u64,
    libc::SYS_rt_sigtimedwait as u64,
    libc::SYS_io_getevents as u64,
    libc::SYS_read as u64,     // of an inotify descriptor
    libc::SYS_recvfrom as u64, // with a timeout
];

/// Starts the helper; true if this did it, false if one was there or is to be tried again.
pub fn start(block: &Block, entry: usize, until: Instant, forced: bool) -> Result<bool, Refusal> {
    if entry == 0 {
        return Err(Refusal::NotNow(
            "its allocator has no entry for commands (it is not started up yet, or was built without)"
                .into(),
        ));
    }
    may_be_stopped(block.pid)?;
    let mut why = "it has no thread that can be stopped".to_owned();
    // What is in the way is mostly gone in a moment: a signal, a restartable sequence.
    let rounds_until = until.min(Instant::now() + TRIED_FOR);
    loop {
        for tid in candidates(block.pid) {
            if !forced && has_own_filters(block.pid, tid) {
                return Err(Refusal::NotNow(
                    "no helper runs in it, and its seccomp filters may end it for starting one; \
                     --force dares"
                        .into(),
                ));
            }
            // A thread of our own: with its end the kernel lets go whatever it still traces.
            let outcome = std::thread::scope(|scope| {
                scope.spawn(|| lead(block, tid, entry)).join().unwrap_or(Ok(Outcome::NotThis("")))
            });
            match outcome? {
                Outcome::Through(started) => return judge(started),
                Outcome::NotThis(reason) => why = format!("thread {tid} {reason}"),
            }
            if Instant::now() >= rounds_until {
                break;
            }
        }
        if Instant::now() >= rounds_until {
            return Err(Refusal::NotNow(format!("no helper could be started in it: {why}")));
        }
        std::thread::sleep(NEXT_ROUND);
    }
}

fn judge(started: i32) -> Result<bool, Refusal> {
    if started < 0 {
        let error = io::Error::from_raw_os_error(-started);
        return Err(Refusal::NotNow(format!("the kernel refuses it a helper thread: {error}")));
    }
    Ok(started > 0)
}

enum Outcome {
    /// It came through; what the block says.
    Through(i32),
    /// Another one may do.
    NotThis(&'static str),
}

fn lead(block: &Block, tid: u32, entry: usize) -> Result<Outcome, Refusal> {
    let before = block.half(offset_of!(Control, entries))?;
    {
        let mut tracee = match Tracee::seize(tid) {
            Ok(tracee) => tracee,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Ok(Outcome::NotThis("has ended"));
            }
            Err(error) => return Err(convert(block.pid, "threads by ptrace", error).into()),
        };
        if tracee.interrupt().is_err() {
            return Ok(Outcome::NotThis("has ended"));
        }
        match tracee.wait(Instant::now() + STOPS_WITHIN).map_err(|error| io_error(block, error))? {
            Some(Stop::Interrupted) => {}
            Some(Stop::Group) => return Err(stopped()),
            Some(Stop::Signal(_)) => return Ok(Outcome::NotThis("is getting a signal")),
            Some(Stop::Gone | Stop::Call | Stop::Cloned) => {
                return Ok(Outcome::NotThis("has ended"));
            }
            None => return Ok(Outcome::NotThis("sleeps in the kernel and does not stop")),
        }
        if let Some(reason) = redirect(block, &tracee, entry)? {
            return Ok(Outcome::NotThis(reason));
        }
    }
    let until = Instant::now() + COMES_THROUGH_WITHIN;
    while block.half(offset_of!(Control, entries))? == before {
        if Instant::now() >= until {
            return Err(Refusal::NoAnswer);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(Outcome::Through(block.half(offset_of!(Control, started))?.cast_signed()))
}

/// Points a stopped thread at the entry; why not, if it is better left alone.
fn redirect(block: &Block, tracee: &Tracee, entry: usize) -> Result<Option<&'static str>, Refusal> {
    if signal_pending(block.pid, tracee.tid()) {
        return Ok(Some("is about to get a signal"));
    }
    let mut registers = tracee.registers().map_err(|error| io_error(block, error))?;
    if registers.cs != USER_CS {
        return Ok(Some("runs 32-bit code"));
    }
    if in_restartable_sequence(block.pid, tracee) {
        return Ok(Some("is in a restartable sequence"));
    }
    make_call_again(&mut registers);
    let at = registers.rsp.wrapping_sub(RED_ZONE + 8);
    let mut probe = [0; 8];
    let lowest = registers.rsp.wrapping_sub(STACK_ROOM) as usize;
    // Far below first: a stack that ends there is not written to.
    if remote::read(block.pid, lowest, &mut probe).is_err()
        || remote::write(block.pid, at as usize, &registers.rip.to_le_bytes()).is_err()
    {
        return Ok(Some("has no room on its stack"));
    }
    registers.rsp = at;
    registers.rip = entry as u64;
    // No system call is to be restarted on the way out: that is in `rip` and `rax` now.
    registers.orig_rax = u64::MAX;
    tracee.set_registers(registers).map_err(|error| io_error(block, error))?;
    Ok(None)
}

/// The threads, those first that wait in a call which goes on after a stop.
fn candidates(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(path(pid, "task")).into_iter().flatten();
    let mut tids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let rank = |tid: u32| {
        let call =
            fs::read_to_string(path(pid, &format!("task/{tid}/syscall"))).unwrap_or_default();
        match call.split(' ').next().and_then(|number| number.parse::<u64>().ok()) {
            Some(number) if ENDED_BY_STOPS.contains(&number) => 2,
            Some(_) => 0,
            None => 1,
        }
    };
    tids.sort_by_cached_key(|&tid| (rank(tid), tid));
    tids
}

/// Whether the process is in a state in which its threads can be stopped and go on.
pub fn may_be_stopped(pid: u32) -> Result<(), Refusal> {
    let status = status(pid, pid);
    let state = field(&status, "State").unwrap_or_default();
    if status.is_empty() || state.starts_with(['Z', 'X']) && candidates(pid).len() < 2 {
        return Err(Error::NoSuchProcess(pid).into());
    }
    match field(&status, "TracerPid") {
        None | Some("0") => {}
        Some(tracer) => {
            return Err(Refusal::NotNow(format!(
                "process {tracer} traces it already (a debugger, strace)"
            )));
        }
    }
    if state.starts_with('T') {
        return Err(stopped());
    }
    // A return without its call would end a program with a shadow stack.
    if has_shadow_stack(pid, pid) {
        return Err(Refusal::NotNow("it runs with a shadow stack (CET)".into()));
    }
    Ok(())
}

fn stopped() -> Refusal {
    Refusal::NotNow("it is stopped by job control; let it go on first (kill -CONT, fg)".into())
}

fn io_error(block: &Block, error: io::Error) -> Refusal {
    convert(block.pid, "threads by ptrace", error).into()
}
