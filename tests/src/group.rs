//! Ending a program that hangs, with everything it has started.
//!
//! By the system call, never by `/bin/kill`: procps 4.0.2 reads
//! `kill -9 -1234` as `kill(-1, SIGKILL)` and ends every process there is.
#![allow(unsafe_code)]

use std::process::Child;

const SIGKILL: i32 = 9;

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}

/// Kills the process group that `child` was started as the leader of, and
/// waits for `child`.
pub(crate) fn end(child: &mut Child) {
    let leader = i32::try_from(child.id()).expect("a process id fits an int");
    assert!(leader > 1, "a child is neither the caller's group nor init");
    // SAFETY: `kill` touches no memory. `leader` is greater than 1, so that
    // -leader names one group and never everything (-1); the child is ours and
    // not waited for yet, so that its number cannot be somebody else's.
    unsafe { kill(-leader, SIGKILL) };
    let _ = child.wait();
}
