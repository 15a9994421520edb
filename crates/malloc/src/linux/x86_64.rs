//! The processor's part on x86_64: system calls, the thread's slot, a bare thread.
//!
//! A port to another processor is one more file with these four items.

use core::arch::{asm, global_asm};

/// Numbers of the system calls used here.
#[allow(missing_docs, reason = "the kernel's names")]
pub mod nr {
    pub const WRITE: usize = 1;
    pub const READ: usize = 0;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const MREMAP: usize = 25;
    pub const MADVISE: usize = 28;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const VFORK: usize = 58;
    pub const EXIT: usize = 60;
    pub const PRCTL: usize = 157;
    pub const GETTID: usize = 186;
    pub const FUTEX: usize = 202;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const GETPPID: usize = 110;
    pub const OPENAT: usize = 257;
    pub const PROCESS_VM_READV: usize = 310;
    pub const CLONE3: usize = 435;
    pub const PROCESS_MADVISE: usize = 440;
}

/// A system call; a negative result is −errno. errno itself is untouched.
///
/// # Safety
/// The arguments are right for call `nr`.
#[inline]
pub unsafe fn syscall(nr: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but rax, rcx and r11; what the
    // call does to memory is the caller's to answer for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// The thread's slot: one word of initial-exec thread-local storage that starts
// out as the address of the shared closed cache. `thread_local!` would call
// `__tls_get_addr` at each access in a shared library.
global_asm!(
    ".pushsection .tdata.heapwise_slot,\"awT\",@progbits",
    ".p2align 3",
    ".globl heapwise_slot",
    ".hidden heapwise_slot",
    ".type heapwise_slot,@object",
    ".size heapwise_slot,8",
    "heapwise_slot: .quad {closed}",
    ".popsection",
    closed = sym crate::threads::UNATTACHED,
);

/// Address of the thread's cache: two instructions.
#[inline(always)]
pub fn cache_address() -> usize {
    let cache: usize;
    // SAFETY: reads one word of this thread's static storage.
    unsafe {
        asm!(
            "mov {t}, qword ptr [rip + heapwise_slot@GOTTPOFF]",
            "mov {t}, qword ptr fs:[{t}]",
            t = out(reg) cache,
            options(nostack, preserves_flags, readonly),
        );
    }
    cache
}

/// Address of the thread's slot.
#[inline]
pub fn slot_address() -> usize {
    let slot: usize;
    // SAFETY: computes an address in this thread's static storage.
    unsafe {
        asm!(
            "mov {t}, qword ptr fs:[0]",
            "add {t}, qword ptr [rip + heapwise_slot@GOTTPOFF]",
            t = out(reg) slot,
            options(nostack, readonly),
        );
    }
    slot
}

/// Starts a bare thread on `stack` with `thread_pointer`, which runs `body` and exits.
/// Its thread id stands in `*tid` until it is gone. Negative: −errno.
///
/// # Safety
/// `stack` is the end of free memory aligned to 16, `thread_pointer` that of
/// storage laid out for it; both and `tid` outlive the thread. `body` uses
/// nothing of a C library that needs a thread of its making.
pub unsafe fn bare_thread(
    stack: usize,
    thread_pointer: usize,
    tid: usize,
    body: extern "C" fn(),
) -> isize {
    /// VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID
    const FLAGS: usize = 0x0000_0100
        | 0x200
        | 0x400
        | 0x800
        | 0x1_0000
        | 0x4_0000
        | 0x8_0000
        | 0x10_0000
        | 0x20_0000;
    let result: isize;
    // SAFETY: the new thread never returns from this block: it calls `body` on
    // its own stack and exits. The old one sees an ordinary system call.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "call r12",
            "mov edi, 0",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") nr::CLONE as isize => result,
            in("rdi") FLAGS,
            in("rsi") stack,
            in("rdx") tid,
            in("r10") tid,
            in("r8") thread_pointer,
            in("r12") body,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
