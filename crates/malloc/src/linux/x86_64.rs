//! The processor's part on x86_64: system calls, the thread's slot, a bare thread.
//!
//! A port to another processor is one more file with these items.

use super::Linux;
use super::helper::{GROUND, STACK_END, THREAD_POINTER, body};
use crate::global::ALLOCATOR;
use crate::root::Allocator;
use core::arch::{asm, global_asm, naked_asm};
use core::mem::offset_of;
use heapwise_layout::control::{Control, HELPER_NONE, HELPER_REFUSED, HELPER_RUNS};

/// Numbers of the system calls used here.
#[allow(missing_docs, reason = "the kernel's names")]
pub mod nr {
    pub const WRITE: usize = 1;
    pub const READ: usize = 0;
    pub const CLOSE: usize = 3;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const MREMAP: usize = 25;
    pub const MINCORE: usize = 27;
    pub const MADVISE: usize = 28;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const VFORK: usize = 58;
    pub const EXIT: usize = 60;
    pub const PRCTL: usize = 157;
    pub const GETTID: usize = 186;
    pub const READLINK: usize = 89;
    pub const FUTEX: usize = 202;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const GETPPID: usize = 110;
    pub const OPENAT: usize = 257;
    pub const PRLIMIT64: usize = 302;
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

// The thread's stream of records: one more word, 0 at first.
global_asm!(
    ".pushsection .tbss.heapwise_stream,\"awT\",@nobits",
    ".p2align 3",
    ".globl heapwise_stream",
    ".hidden heapwise_stream",
    ".type heapwise_stream,@object",
    ".size heapwise_stream,8",
    "heapwise_stream: .zero 8",
    ".popsection",
);

/// [`ticks`], but perhaps some nanoseconds early.
#[inline(always)]
pub fn ticks_loosely() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nostack, nomem)) };
    u64::from(high) << 32 | u64::from(low)
}

/// The thread pointer.
pub fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads the word at the thread pointer, which holds the thread pointer.
    unsafe {
        asm!(
            "mov {t}, qword ptr fs:[0]",
            t = out(reg) pointer,
            options(nostack, readonly, preserves_flags),
        );
    }
    pointer
}

/// The word that holds the thread's stream of records: two instructions.
#[inline(always)]
pub fn stream_address() -> usize {
    let address: usize;
    // SAFETY: reads one word of this thread's static storage.
    unsafe {
        asm!(
            "mov {t}, qword ptr [rip + heapwise_stream@GOTTPOFF]",
            "mov {t}, qword ptr fs:[{t}]",
            t = out(reg) address,
            options(nostack, preserves_flags, readonly),
        );
    }
    address
}

/// Address of that word.
#[inline(always)]
pub fn stream_slot() -> usize {
    let slot: usize;
    // SAFETY: computes an address in this thread's static storage.
    unsafe {
        asm!(
            "mov {t}, qword ptr fs:[0]",
            "add {t}, qword ptr [rip + heapwise_stream@GOTTPOFF]",
            t = out(reg) slot,
            options(nostack, readonly),
        );
    }
    slot
}

// A critical section for the kernel's restartable sequences that is nowhere: whenever the kernel
// takes the thread off the processor, or gives it a signal, it finds the thread outside and forgets
// the section. The C library registers each thread, at `__rseq_offset` from its thread pointer, if
// `__rseq_size` is not 0; both are weak, since older ones and others do not have them. Before the
// address where it would go on the kernel wants to see the signature of the registration.
global_asm!(
    ".weak __rseq_size",
    ".weak __rseq_offset",
    ".pushsection .data.rel.ro.heapwise_section,\"aw\",@progbits",
    ".p2align 5",
    ".globl heapwise_section",
    ".hidden heapwise_section",
    "heapwise_section:",
    ".long 0, 0",
    ".quad heapwise_nowhere, 0, heapwise_nowhere",
    ".popsection",
    ".pushsection .text.heapwise_nowhere,\"ax\",@progbits",
    ".long 0x53053053",
    "heapwise_nowhere: ud2",
    ".popsection",
);

/// Where the word in which the kernel finds a thread's critical section lies, from the thread
/// pointer; 0 if there is none.
pub fn section_place() -> isize {
    let (size, offset): (*const u32, *const isize);
    // SAFETY: two addresses out of the table that the dynamic linker has filled.
    unsafe {
        asm!(
            "mov {s}, qword ptr [rip + __rseq_size@GOTPCREL]",
            "mov {o}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            s = out(reg) size,
            o = out(reg) offset,
            options(nostack, preserves_flags, readonly),
        );
    }
    if size.is_null() || offset.is_null() {
        return 0;
    }
    // SAFETY: the C library's constants.
    unsafe { if *size == 0 { 0 } else { *offset + 8 } }
}

/// From now on [`is_undisturbed`] tells whether the kernel has come between.
///
/// # Safety
/// `place` is what [`section_place`] said, not 0, and the thread is one of the C library's.
#[inline(always)]
pub unsafe fn watch_for_the_kernel(place: isize) {
    // SAFETY: the word is this thread's. Others that use it store there before each of their
    // sections, and none of those is interrupted here: a section makes no calls.
    unsafe {
        asm!(
            "lea {t}, [rip + heapwise_section]",
            "mov qword ptr fs:[{p}], {t}",
            t = out(reg) _,
            p = in(reg) place,
            options(nostack, preserves_flags),
        );
    }
}

/// Whether the thread has been on its processor, without a signal, since
/// [`watch_for_the_kernel`].
///
/// # Safety
/// As for that.
#[inline(always)]
pub unsafe fn is_undisturbed(place: isize) -> bool {
    let difference: usize;
    // SAFETY: reads a word of this thread's.
    unsafe {
        asm!(
            "lea {t}, [rip + heapwise_section]",
            "sub {t}, qword ptr fs:[{p}]",
            t = out(reg) difference,
            p = in(reg) place,
            options(nostack, readonly),
        );
    }
    difference == 0
}

/// Instruction, stack and frame pointer of the function that this is inlined into.
#[inline(always)]
pub fn registers() -> (usize, usize, usize) {
    let (instruction, stack, frame): (usize, usize, usize);
    // SAFETY: reads registers.
    unsafe {
        asm!(
            "lea {i}, [rip]",
            "mov {s}, rsp",
            "mov {f}, rbp",
            i = out(reg) instruction,
            s = out(reg) stack,
            f = out(reg) frame,
            options(nostack, nomem, preserves_flags),
        );
    }
    (instruction, stack, frame)
}

/// The processor's counter: one for all cores, at a constant rate. Not before what stands before
/// it in the program is done, so that the order of two threads' readings is that of their work.
#[inline(always)]
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, nomem));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID
const THREAD_FLAGS: usize =
    0x0000_0100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x10_0000 | 0x20_0000;
const SIG_SETMASK: usize = 2;

/// Starts a bare thread on `stack` with `thread_pointer`, which runs `body` and exits, all
/// signals blocked. Its thread id stands in `*tid` until it is gone. Negative: −errno.
///
/// General registers only, and beside the stack nothing but the word at
/// `thread_pointer` is written: it can be called wherever a thread was interrupted.
///
/// # Safety
/// `stack` is the end of free memory aligned to 16, `thread_pointer` that of
/// storage laid out for it; both and `tid` outlive the thread. `body` uses
/// nothing of a C library that needs a thread of its making.
#[unsafe(naked)]
pub unsafe extern "C" fn spawn(
    stack: usize,
    thread_pointer: usize,
    tid: usize,
    body: extern "C" fn(),
) -> isize {
    naked_asm!(
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 16", // [rsp] the mask as it was, [rsp + 8] all signals
        "mov r12, rdi",
        "mov r13, rsi",
        "mov r14, rdx",
        "mov r15, rcx",
        "mov qword ptr [r13], r13", // a thread pointer points to a word that holds it
        "mov qword ptr [rsp + 8], -1",
        // rt_sigprocmask(SIG_SETMASK, all, as it was, 8): the new thread inherits the mask.
        "mov edi, {set_mask}",
        "lea rsi, [rsp + 8]",
        "mov rdx, rsp",
        "mov r10d, 8",
        "mov eax, {sigprocmask}",
        "syscall",
        // clone(flags, stack, tid, tid, thread pointer)
        "mov edi, {flags}",
        "mov rsi, r12",
        "mov rdx, r14",
        "mov r10, r14",
        "mov r8, r13",
        "mov eax, {clone}",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "mov rbx, rax",
        "mov edi, {set_mask}",
        "mov rsi, rsp",
        "xor edx, edx",
        "mov r10d, 8",
        "mov eax, {sigprocmask}",
        "syscall",
        "mov rax, rbx",
        "add rsp, 16",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "ret",
        // The new thread, on its own stack.
        "2:",
        "xor ebp, ebp",
        "call r15",
        "xor edi, edi",
        "mov eax, {exit}",
        "syscall",
        "ud2",
        set_mask = const SIG_SETMASK,
        sigprocmask = const nr::RT_SIGPROCMASK,
        flags = const THREAD_FLAGS,
        clone = const nr::CLONE,
        exit = const nr::EXIT,
    )
}

/// Starts the helper on a thread that a tracer made come here, wherever it was.
///
/// ```text
///  rsp ─► │ where to go on │   128 bytes that are not ours   │ the interrupted frame
/// ```
/// It goes on there with every register and flag as it came; vector registers are not
/// touched. No lock is taken. Signals may come at any point, and the tracer may be gone.
///
/// # Safety
/// Not to be called: the stack is as drawn.
#[unsafe(naked)]
pub unsafe extern "C" fn start_from_outside() {
    naked_asm!(
        "pushfq",
        "cld",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "lea rbx, [rip + {allocator} + {control}]",
        "xor edi, edi", // what to say in `started`
        // Nobody else is at it, whether there was none or none was to be had.
        "mov ecx, {runs}",
        "mov eax, {none}",
        "lock cmpxchg dword ptr [rbx + {helper}], ecx",
        "je 2f",
        "mov eax, {refused}",
        "lock cmpxchg dword ptr [rbx + {helper}], ecx",
        "jne 4f",
        "2:",
        // The former one may still be leaving its stack: the tracer asks again.
        "cmp dword ptr [rbx + {tid}], 0",
        "je 3f",
        "mov dword ptr [rbx + {helper}], {none}",
        "jmp 4f",
        "3:",
        "mov dword ptr [rip + {allocator} + {quiet}], 0",
        "lea rdi, [rip + {ground} + {stack}]",
        "lea rsi, [rip + {ground} + {pointer}]",
        "lea rdx, [rbx + {tid}]",
        "lea rcx, [rip + {body}]",
        "call {spawn}",
        "mov edi, eax",
        "test rax, rax",
        "jg 4f",
        "mov dword ptr [rbx + {helper}], {refused}",
        "4:",
        "mov dword ptr [rbx + {started}], edi",
        "lock inc dword ptr [rbx + {entries}]",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "popfq",
        "ret 128",
        allocator = sym ALLOCATOR,
        control = const offset_of!(Allocator<Linux>, state.control),
        quiet = const offset_of!(Allocator<Linux>, quiet_ticks),
        helper = const offset_of!(Control, helper),
        tid = const offset_of!(Control, helper_tid),
        started = const offset_of!(Control, started),
        entries = const offset_of!(Control, entries),
        none = const HELPER_NONE,
        runs = const HELPER_RUNS,
        refused = const HELPER_REFUSED,
        ground = sym GROUND,
        stack = const STACK_END,
        pointer = const THREAD_POINTER,
        body = sym body,
        spawn = sym spawn,
    )
}
