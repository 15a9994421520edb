//! What a thread was doing when it was interrupted, and whether it may be led elsewhere for a moment.

use std::fs;

use super::figures::field;
use super::files::path;
use super::remote;
use super::tracing::Tracee;

/// What a function without calls may use below its stack pointer, unasked.
pub const RED_ZONE: u64 = 128;
/// The code segment of 64-bit programs.
pub const USER_CS: u64 = 0x33;

/// What the kernel does on the way to user mode after a stop without a signal.
pub fn make_call_again(registers: &mut libc::user_regs_struct) {
    const SYSCALL_BYTES: u64 = 2;
    // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND; ERESTART_RESTARTBLOCK.
    const AGAIN: [i64; 3] = [-512, -513, -514];
    const GO_ON: i64 = -516;
    if registers.orig_rax.cast_signed() < 0 {
        return;
    }
    let result = registers.rax.cast_signed();
    if AGAIN.contains(&result) {
        registers.rax = registers.orig_rax;
        registers.rip -= SYSCALL_BYTES;
    } else if result == GO_ON {
        registers.rax = libc::SYS_restart_syscall as u64;
        registers.rip -= SYSCALL_BYTES;
    }
}

/// A signal that is not blocked waits: the interrupted call must end with EINTR for it.
#[must_use]
pub fn signal_pending(pid: u32, tid: u32) -> bool {
    let status = status(pid, tid);
    let set =
        |name| field(&status, name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") != 0
}

/// Whether it is in a restartable sequence, which ends when its registers are touched.
#[must_use]
pub fn in_restartable_sequence(pid: u32, tracee: &Tracee) -> bool {
    /// Offset of `rseq_cs` in `struct rseq`.
    const RSEQ_CS: usize = 8;
    let Some(area) = tracee.rseq_area() else { return false };
    let mut sequence = [0; 8];
    remote::read(pid, area + RSEQ_CS, &mut sequence).is_err() || sequence != [0; 8]
}

/// Whether it has a shadow stack (CET), which ends a program for a return without its call.
#[must_use]
pub fn has_shadow_stack(pid: u32, tid: u32) -> bool {
    field(&status(pid, tid), "x86_Thread_features").is_some_and(|all| all.contains("shstk"))
}

/// Whether seccomp filters are on it that are not on us: those that a program has installed itself may
/// end it for a call that it never makes; those that it shares with us, of a container, do not.
#[must_use]
pub fn has_own_filters(pid: u32, tid: u32) -> bool {
    let filters = |status: &str| {
        let number = |name| field(status, name).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        (number("Seccomp"), number("Seccomp_filters"))
    };
    let theirs = filters(&status(pid, tid));
    let ours = filters(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    theirs.0 != 0 && (theirs != ours || theirs.1 == 0)
}

/// `/proc/PID/task/TID/status`; empty if it has ended.
#[must_use]
pub fn status(pid: u32, tid: u32) -> String {
    fs::read_to_string(path(pid, &format!("task/{tid}/status"))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(orig_rax: i64, rax: i64) -> libc::user_regs_struct {
        // SAFETY: plain numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        registers.orig_rax = orig_rax.cast_unsigned();
        registers.rax = rax.cast_unsigned();
        registers.rip = 0x1000;
        make_call_again(&mut registers);
        registers
    }

    #[test]
    fn calls_are_made_again_as_the_kernel_does() {
        let wait4 = libc::SYS_wait4;
        for (before, rax, rip) in [
            ((-1, -512), -512, 0x1000), // not in a call: a value like any other
            ((wait4, -512), wait4, 0xffe),
            ((wait4, -514), wait4, 0xffe),
            ((wait4, -516), libc::SYS_restart_syscall, 0xffe),
            ((wait4, -4), -4, 0x1000), // EINTR is what the program gets
            ((wait4, 17), 17, 0x1000),
        ] {
            let after = registers(before.0, before.1);
            assert_eq!((after.rax.cast_signed(), after.rip), (rax, rip), "{before:?}");
        }
    }
}
