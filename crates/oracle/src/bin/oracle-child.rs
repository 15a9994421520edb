//! Runs a script on the host's kernel, without a mapping of its own making: no heap, no
//! library calls, static buffers, raw system calls.
//!
//! ```text
//!   oracle-child STACK_LIMIT < script        re-executes itself once, without ASLR
//!   script   count, then steps of eight words
//!   answer   for each step: result word, then (unless blind) maps and status in chunks:
//!            length word, bytes, …, 0
//! ```
//! Two processes after a fork: a byte in a pipe says whose turn it is.
#![no_main]
#![allow(static_mut_refs)]

use core::arch::asm;
use core::ffi::CStr;
use heapwise_oracle::op::{Op, Step, WORDS, signal_result};

const MOST_STEPS: usize = 70_000;
const NR_READ: usize = 0;
const NR_WRITE: usize = 1;
const NR_OPEN: usize = 2;
const NR_CLOSE: usize = 3;
const NR_MMAP: usize = 9;
const NR_MPROTECT: usize = 10;
const NR_MUNMAP: usize = 11;
const NR_BRK: usize = 12;
const NR_SIGACTION: usize = 13;
const NR_PIPE: usize = 22;
const NR_MREMAP: usize = 25;
const NR_MADVISE: usize = 28;
const NR_FORK: usize = 57;
const NR_EXECVE: usize = 59;
const NR_EXIT: usize = 60;
const NR_WAIT4: usize = 61;
const NR_FTRUNCATE: usize = 77;
const NR_SIGALTSTACK: usize = 131;
const NR_GETRLIMIT: usize = 97;
const NR_PERSONALITY: usize = 135;
const NR_SETRLIMIT: usize = 160;
const NR_MEMFD_CREATE: usize = 319;

const ADDR_NO_RANDOMIZE: usize = 0x004_0000;

/// # Safety
/// What the system call does to memory is the script's to answer for: it keeps away
/// from this program's own mappings.
unsafe fn syscall(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the calling convention of x86-64 Linux.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        let given: &[usize] = &[$($argument as usize),*];
        let mut arguments = [0; 6];
        arguments[..given.len()].copy_from_slice(given);
        // SAFETY: see the caller: kernel buffers are static ones of this program.
        unsafe { syscall($number, arguments) }
    }};
}

static mut SCRIPT: [[u64; WORDS]; MOST_STEPS] = [[0; WORDS]; MOST_STEPS];
static mut BUFFER: [u8; 1 << 16] = [0; 1 << 16];
static mut SIGNAL_STACK: [u8; 1 << 14] = [0; 1 << 14];
static mut MEMFDS: [isize; 8] = [-1; 8];
/// Initial mappings: start, end, readable and writable as bits.
static mut INITIAL: [(usize, usize, u8); 64] = [(0, 0, 0); 64];
static mut INITIAL_COUNT: usize = 0;
static mut TURN: [[i32; 2]; 2] = [[-1; 2]; 2];
/// Where a bad access goes on; 0: it was not one of the script's.
static mut RECOVER: usize = 0;
static mut CAUGHT: i64 = 0;

fn exit(code: i32) -> ! {
    loop {
        call!(NR_EXIT, code);
    }
}

fn send(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let sent = call!(NR_WRITE, 1, bytes.as_ptr(), bytes.len());
        if sent <= 0 {
            exit(3);
        }
        bytes = &bytes[sent as usize..];
    }
}

/// A file in chunks.
fn send_file(path: &CStr) {
    let file = call!(NR_OPEN, path.as_ptr(), 0);
    loop {
        // SAFETY: this program has one thread.
        let buffer = unsafe { &mut BUFFER };
        let got = call!(NR_READ, file, buffer.as_mut_ptr(), buffer.len());
        let got = got.max(0) as usize;
        send(&(got as u64).to_le_bytes());
        if got == 0 {
            break;
        }
        send(&buffer[..got]);
    }
    call!(NR_CLOSE, file);
}

fn look() {
    send_file(c"/proc/self/maps");
    send_file(c"/proc/self/status");
}

extern "C" fn on_signal(signal: i32, info: *const [i32; 4], context: *mut u8) {
    // SAFETY: the kernel's siginfo and ucontext; RIP is register 16 behind a header
    // of 40 bytes. One thread.
    unsafe {
        if RECOVER == 0 {
            exit(4);
        }
        CAUGHT = signal_result(i64::from(signal), i64::from((*info)[2]));
        *context.add(40 + 16 * 8).cast::<usize>() = RECOVER;
    }
}

/// One load or store that may fail.
fn touch(at: u64, store: Option<u64>) -> i64 {
    let mut value = store.unwrap_or(0);
    // SAFETY: an access anywhere ends in the handler, which goes on at the label; it
    // touches only script memory if it succeeds.
    unsafe {
        CAUGHT = 0;
        if store.is_some() {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "mov [{a}], {v}", "2:",
                t = out(reg) _, r = in(reg) &raw mut RECOVER, a = in(reg) at, v = in(reg) value);
            value = 0;
        } else {
            asm!("lea {t}, [rip + 2f]", "mov [{r}], {t}", "mov {v}, [{a}]", "2:",
                t = out(reg) _, r = in(reg) &raw mut RECOVER, a = in(reg) at, v = inout(reg) value);
        }
        RECOVER = 0;
        if CAUGHT != 0 { CAUGHT } else { value as i64 }
    }
}

core::arch::global_asm!(".globl oracle_restorer", "oracle_restorer:", "mov eax, 15", "syscall");
unsafe extern "C" {
    fn oracle_restorer();
}

fn install_handlers() {
    const SA_SIGINFO: u64 = 4;
    const SA_ONSTACK: u64 = 0x0800_0000;
    const SA_RESTORER: u64 = 0x0400_0000;
    const SA_NODEFER: u64 = 0x4000_0000;
    let stack = [(&raw mut SIGNAL_STACK) as usize, 0, 1 << 14];
    call!(NR_SIGALTSTACK, stack.as_ptr(), 0);
    let flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER | SA_NODEFER;
    let action = [on_signal as *const () as u64, flags, oracle_restorer as *const () as u64, 0];
    for signal in [7, 11] {
        call!(NR_SIGACTION, signal, action.as_ptr(), 0, 8);
    }
}

/// Notes this program's mappings, from a look at the maps.
fn note_initial() {
    let file = call!(NR_OPEN, c"/proc/self/maps".as_ptr(), 0);
    // SAFETY: one thread.
    let (buffer, initial) = unsafe { (&mut BUFFER, &mut INITIAL) };
    let mut length = 0;
    loop {
        let rest = &mut buffer[length..];
        let got = call!(NR_READ, file, rest.as_mut_ptr(), rest.len());
        if got <= 0 {
            break;
        }
        length += got as usize;
    }
    call!(NR_CLOSE, file);
    let mut count = 0;
    for line in buffer[..length].split(|byte| *byte == b'\n') {
        let mut numbers = [0_usize; 2];
        let mut at = 0;
        for (nth, end) in [b'-', b' '].into_iter().enumerate() {
            while at < line.len() && line[at] != end {
                let digit = (line[at] as char).to_digit(16).unwrap_or(0);
                numbers[nth] = numbers[nth] << 4 | digit as usize;
                at += 1;
            }
            at += 1;
        }
        if line.len() < at + 4 || numbers[0] >> 47 != 0 || count == initial.len() {
            continue;
        }
        let special = line.windows(4).any(|name| name == b"[vva");
        let readable = line[at] == b'r' && !special;
        let writable = line[at + 1] == b'w' && readable;
        initial[count] = (numbers[0], numbers[1], u8::from(readable) | u8::from(writable) << 1);
        count += 1;
    }
    // SAFETY: one thread.
    unsafe { INITIAL_COUNT = count };
}

/// Faults all of them in, so that no page of this program changes a figure later.
fn populate_initial() {
    // SAFETY: one thread.
    let (initial, count) = unsafe { (&INITIAL, INITIAL_COUNT) };
    for (start, end, rights) in &initial[..count] {
        let advice = [0, 22, 0, 23][*rights as usize];
        if advice != 0 {
            call!(NR_MADVISE, *start, end - start, advice);
        }
    }
}

/// Sets the soft limit; the hard one stays where it is.
fn set_limit(resource: usize, bytes: u64) -> isize {
    let mut limits = [0_u64; 2];
    call!(NR_GETRLIMIT, resource, limits.as_mut_ptr());
    limits[0] = bytes;
    call!(NR_SETRLIMIT, resource, limits.as_ptr())
}

fn run(op: Op) -> i64 {
    let result = match op {
        Op::Brk(at) => call!(NR_BRK, at),
        Op::Mmap { at, length, prot, flags, file, offset } => {
            // SAFETY: one thread.
            let file = unsafe { MEMFDS.get(file as usize).copied().unwrap_or(-1) };
            call!(NR_MMAP, at, length, prot, flags, file, offset)
        }
        Op::Munmap(at, length) => call!(NR_MUNMAP, at, length),
        Op::Mremap { at, old, new, flags, to } => call!(NR_MREMAP, at, old, new, flags, to),
        Op::Mprotect(at, length, prot) => call!(NR_MPROTECT, at, length, prot),
        Op::Madvise(at, length, advice) => call!(NR_MADVISE, at, length, advice),
        Op::Read(at) => return touch(at, None),
        Op::Write(at, value) => return touch(at, Some(value)),
        Op::Limit(which, bytes) => set_limit([9, 2, 3][which as usize % 3], bytes),
        Op::Memfd(nth, pages) => {
            let name = [b'm', b'0' + nth as u8 % 8, 0];
            let file = call!(NR_MEMFD_CREATE, name.as_ptr(), 0);
            // SAFETY: one thread.
            unsafe { MEMFDS[nth as usize % 8] = file };
            call!(NR_FTRUNCATE, file, pages * 4096)
        }
        Op::Truncate(nth, pages) => {
            // SAFETY: one thread.
            let file = unsafe { MEMFDS.get(nth as usize).copied().unwrap_or(-1) };
            call!(NR_FTRUNCATE, file, pages * 4096)
        }
        Op::File(nth, pages) => regular_file(nth as usize % 8, pages),
        Op::Fork | Op::Look | Op::Smaps => 0,
    };
    result as i64
}

/// A file without a name, written page by page so that all of it is in the page cache.
fn regular_file(nth: usize, pages: u64) -> isize {
    const RDWR_TMPFILE: usize = 0o20_200_002;
    static ZEROS: [u8; 4096] = [0; 4096];
    let file = call!(NR_OPEN, c"/tmp".as_ptr(), RDWR_TMPFILE, 0o600);
    // SAFETY: one thread.
    unsafe { MEMFDS[nth] = file };
    if file < 0 {
        return file;
    }
    for _ in 0..pages {
        if call!(NR_WRITE, file, ZEROS.as_ptr(), ZEROS.len()) != 4096 {
            return -5;
        }
    }
    0
}

fn number(text: *const u8) -> u64 {
    let mut value = 0;
    for nth in 0.. {
        // SAFETY: arguments end in a zero byte.
        let digit = unsafe { *text.add(nth) };
        if !digit.is_ascii_digit() {
            break;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    value
}

fn read_script() -> usize {
    let mut count = [0_u64; 1];
    call!(NR_READ, 0, count.as_mut_ptr(), 8);
    let count = (count[0] as usize).min(MOST_STEPS);
    // SAFETY: one thread; the bytes of words.
    let bytes = unsafe {
        let script = &mut SCRIPT;
        core::slice::from_raw_parts_mut(script.as_mut_ptr().cast::<u8>(), count * WORDS * 8)
    };
    let mut length = 0;
    while length < bytes.len() {
        let rest = &mut bytes[length..];
        let got = call!(NR_READ, 0, rest.as_mut_ptr(), rest.len());
        if got <= 0 {
            exit(5);
        }
        length += got as usize;
    }
    count
}

/// Runs the script; after a fork each process its own steps, in turn with the other.
fn run_script(count: usize) {
    // SAFETY: one thread.
    let (script, turn) = unsafe { (&SCRIPT, &TURN) };
    let (mut who, mut byte) = (0, [0_u8]);
    let who_at = |nth: usize| if nth < count { Some(script[nth][0] & 1) } else { None };
    for (nth, words) in script[..count].iter().enumerate() {
        let Some(step) = Step::decode(words) else { exit(6) };
        if step.who != who {
            continue;
        }
        if nth > 0 && who_at(nth - 1) != Some(who) {
            call!(NR_READ, turn[who as usize][0], byte.as_mut_ptr(), 1);
        }
        let mut result = run(step.op);
        if step.op == Op::Fork {
            let pid = call!(NR_FORK);
            if pid < 0 {
                exit(7);
            }
            if pid == 0 {
                who = 1;
                populate_initial();
                continue;
            }
            result = 0;
        }
        send(&result.to_le_bytes());
        if step.op == Op::Smaps {
            send_file(c"/proc/self/smaps");
            send_file(c"/proc/self/status");
        } else if !step.blind {
            look();
        }
        if let Some(next) = who_at(nth + 1).filter(|next| *next != who) {
            call!(NR_WRITE, turn[next as usize][1], byte.as_ptr(), 1);
        }
    }
    if who == 0 {
        while call!(NR_WAIT4, -1_isize, 0, 0, 0) > 0 {}
    }
}

#[unsafe(no_mangle)]
extern "C" fn main(count: i32, argv: *const *const u8, envp: *const *const u8) -> i32 {
    if count < 2 {
        return 2;
    }
    // SAFETY: as many arguments as counted.
    let stack = number(unsafe { *argv.add(1) });
    let personality = call!(NR_PERSONALITY, 0xffff_ffff_usize) as usize;
    if personality & ADDR_NO_RANDOMIZE == 0 {
        set_limit(3, stack);
        // Containers may refuse it.
        if call!(NR_PERSONALITY, personality | ADDR_NO_RANDOMIZE) < 0 {
            return heapwise_oracle::host::NO_PERSONALITY;
        }
        call!(NR_EXECVE, c"/proc/self/exe".as_ptr(), argv, envp);
        return 8;
    }
    let steps = read_script();
    install_handlers();
    // SAFETY: one thread.
    for turn in unsafe { &mut TURN } {
        call!(NR_PIPE, turn.as_mut_ptr());
    }
    note_initial();
    populate_initial();
    // The start: its maps and figures, flags and numbers.
    look();
    send_file(c"/proc/self/smaps");
    send_file(c"/proc/self/stat");
    run_script(steps);
    0
}
