//! What a call in a stopped thread's name needs of the processor: where in the target's code it is made,
//! and a signal frame that brings the thread back by itself.
//!
//! ```text
//!  its stack:  … frames │ red zone │ xsave area │ way out │ way back │ ◄── rsp
//!                         128                     new process's   its own ucontext
//!  rip: syscall; ret  ──►  ret  ──►  mov $15, %eax; syscall: rt_sigreturn  ──►  all as before
//! ```
//! Both ways are frames as the kernel lays them out for a handler (`struct rt_sigframe`), so it is the
//! kernel that restores registers, vector registers and blocked signals. Where a new process is
//! made, it begins on the way out, whose frame leads to `exit_group`.

use std::arch::x86_64::__cpuid_count;

use super::super::interrupted::{RED_ZONE, make_call_again};

/// A system call, then a return.
pub const CALL: &[u8] = b"\x0f\x05\xc3";
/// `rt_sigreturn`, as C libraries write it where handlers return to.
pub const BACK: &[u8] = b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05";

/// All registers.
pub type Registers = libc::user_regs_struct;

/// `struct rt_sigframe` up to what `rt_sigreturn` reads of it: 39 words.
const FRAME_WORDS: usize = 39;
const FRAME_BYTES: u64 = FRAME_WORDS as u64 * 8;
/// Extended state, segment of the stack, both as they are: what the kernel writes for 64-bit code.
const UC_FLAGS: u64 = 1 | 2 | 4;
/// No mode of a signal stack: it is refused, and the stack stays as it is.
const NO_SIGNAL_STACK: u64 = 7;
/// What follows the legacy part of an xsave area: its header.
const XSAVE_HEADER: usize = 512;
const XSAVE_LEAST: usize = XSAVE_HEADER + 64;
/// Where the kernel's own words about it stand.
const XSAVE_SOFTWARE: usize = 464;
const XSAVE_SOFTWARE_BYTES: usize = 48;
const MAGIC_FIRST: u32 = 0x4650_5853;
const MAGIC_LAST: u32 = 0x4650_5845;
const USER_SS: u64 = 0x2b;
/// Interrupts on, and the bit that is always set.
const PLAIN_FLAGS: u64 = 0x202;

/// What is written below a thread's stack pointer, and how it is led.
#[derive(Debug)]
pub struct Detour {
    /// Where it is written.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
    /// The registers that make the call.
    pub led: Registers,
}

/// How far below its stack pointer a detour reaches, at most, with this extended state.
#[must_use]
pub fn reach(extended: &[u8]) -> u64 {
    RED_ZONE + extended.len() as u64 + 2 * FRAME_BYTES + 256
}

/// A detour by one system call. `call` and `back` are addresses of [`CALL`] and [`BACK`]; a
/// second argument of `None` is the stack of a new process.
#[must_use]
pub fn detour(
    original: &Registers,
    blocked: u64,
    extended: &[u8],
    (call, back): (usize, usize),
    (number, arguments): (libc::c_long, [Option<u64>; 4]),
) -> Detour {
    let area = xsave_area(extended);
    let area_at = (original.rsp - RED_ZONE - area.len() as u64) & !63;
    let out_at = (area_at - FRAME_BYTES) & !15;
    let back_at = (out_at - FRAME_BYTES) & !15;

    let mut after = *original;
    make_call_again(&mut after);
    let way_back = frame(&after, blocked, area_at, back);
    let mut exit = Registers {
        rax: libc::SYS_exit_group as u64,
        rip: call as u64,
        rsp: out_at,
        eflags: PLAIN_FLAGS,
        ss: USER_SS,
        ..*original
    };
    exit.rdi = super::EXIT_CODE;
    let way_out = frame(&exit, u64::MAX, 0, back);

    let mut bytes = way_back;
    bytes.resize((out_at - back_at) as usize, 0);
    bytes.extend(way_out);
    bytes.resize((area_at - back_at) as usize, 0);
    bytes.extend(area);

    let [first, second, third, fourth] = arguments.map(|argument| argument.unwrap_or(out_at));
    let led = Registers {
        rip: call as u64,
        rsp: back_at,
        rax: number.cast_unsigned(),
        // No system call is to be made again on the way out: the frame has that.
        orig_rax: u64::MAX,
        rdi: first,
        rsi: second,
        rdx: third,
        r10: fourth,
        r8: 0,
        ..*original
    };
    Detour { at: back_at, bytes, led }
}

fn frame(registers: &Registers, blocked: u64, extended_at: u64, back: usize) -> Vec<u8> {
    let r = registers;
    let selectors = r.cs & 0xffff | (r.ss & 0xffff) << 48;
    let mut words = vec![back as u64, UC_FLAGS, 0, 0, NO_SIGNAL_STACK, 0];
    words.extend([r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp]);
    words.extend([r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags, selectors, 0, 0, 0, 0]);
    words.push(extended_at);
    words.extend([0; 8]);
    words.push(blocked);
    debug_assert_eq!(words.len(), FRAME_WORDS);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The area as a signal frame has it: cut behind the last part in use, with the kernel's words.
fn xsave_area(extended: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        let bytes = extended.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    let in_use = word(XSAVE_HEADER);
    let end = (2..63).filter(|part| in_use >> part & 1 == 1).map(part_end).max().unwrap_or(0);
    let mut area = extended.to_vec();
    area.resize(end.max(XSAVE_LEAST), 0);
    let bytes = area.len() as u32;
    area.extend(MAGIC_LAST.to_le_bytes());
    let mut software = Vec::with_capacity(XSAVE_SOFTWARE_BYTES);
    software.extend(MAGIC_FIRST.to_le_bytes());
    software.extend((bytes + 4).to_le_bytes());
    // The first two parts are always there.
    software.extend((in_use | 3).to_le_bytes());
    software.extend(bytes.to_le_bytes());
    software.resize(XSAVE_SOFTWARE_BYTES, 0);
    area[XSAVE_SOFTWARE..XSAVE_SOFTWARE + XSAVE_SOFTWARE_BYTES].copy_from_slice(&software);
    area
}

/// Where a part of the extended state ends.
fn part_end(part: u32) -> usize {
    const STATE_LEAF: u32 = 0xd;
    let leaf = __cpuid_count(STATE_LEAF, part);
    (leaf.eax + leaf.ebx) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        // SAFETY: plain numbers.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        registers.rsp = 0x7fff_0000_1238;
        registers.rip = 0x4000;
        registers.orig_rax = libc::SYS_read as u64;
        registers.rax = (-512i64).cast_unsigned();
        registers
    }

    #[test]
    fn a_detour_lies_below_the_red_zone_in_one_piece() {
        let mut extended = vec![0x5a; 2696];
        extended[XSAVE_HEADER..XSAVE_HEADER + 8].copy_from_slice(&7u64.to_le_bytes());
        let original = registers();
        let call = (libc::SYS_clone, [Some(0), None, Some(0), Some(0)]);
        let detour = detour(&original, 0x10, &extended, (0x1000, 0x2000), call);
        let end = detour.at + detour.bytes.len() as u64;
        assert!(end <= original.rsp - RED_ZONE && detour.at >= original.rsp - reach(&extended));
        assert_eq!((detour.led.rsp, detour.led.rip), (detour.at, 0x1000));
        let word = |at: u64| {
            let at = (at - detour.at) as usize;
            u64::from_le_bytes(detour.bytes[at..at + 8].try_into().unwrap())
        };
        // Both stacks begin with the way to rt_sigreturn.
        assert_eq!((word(detour.led.rsp), word(detour.led.rsi)), (0x2000, 0x2000));
        let area = word(detour.at + 29 * 8);
        assert_eq!(area % 64, 0);
        assert_eq!(word(area + XSAVE_SOFTWARE as u64) as u32, MAGIC_FIRST);
        let bytes = word(area + XSAVE_SOFTWARE as u64 + 16) as u32;
        let last = (area - detour.at) as usize + bytes as usize;
        assert_eq!(detour.bytes[last..last + 4], MAGIC_LAST.to_le_bytes());
        // The call that was interrupted is made again: rip, rax, blocked signals.
        assert_eq!(word(detour.at + 22 * 8), 0x3ffe);
        assert_eq!(word(detour.at + 19 * 8), libc::SYS_read as u64);
        assert_eq!(word(detour.at + 38 * 8), 0x10);
    }
}
