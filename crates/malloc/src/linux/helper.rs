//! The idle helper: a bare thread that wakes twice a second and ends when quiet.
//!
//! Not a thread of the C library: such a one would keep a process alive after
//! main's `pthread_exit`, be counted, run with the program's signals and need
//! `pthread_create` inside malloc. It has its own small stack and its own
//! thread pointer (the C library's errno lands there), and all signals blocked.

use super::machine::{bare_thread, nr, syscall};
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};

/// Time between two looks.
const TICK_NS: usize = 500_000_000;
/// Its stack: the deepest path is a purge, about 4 KiB.
const STACK_BYTES: usize = 32 << 10;
/// Room below and above its thread pointer, where the C library expects its own words.
const STORAGE_BYTES: usize = 32 << 10;
const PR_SET_NAME: usize = 15;
const SIG_SETMASK: usize = 2;

#[repr(C, align(64))]
struct Ground {
    stack: [u8; STACK_BYTES],
    storage: [usize; STORAGE_BYTES / 8],
}

struct Shared(UnsafeCell<Ground>);
// SAFETY: used by one helper at a time, see `start`.
unsafe impl Sync for Shared {}

static GROUND: Shared =
    Shared(UnsafeCell::new(Ground { stack: [0; STACK_BYTES], storage: [0; STORAGE_BYTES / 8] }));
/// Thread id of the helper; the kernel clears it when the thread is gone.
static TID: AtomicU32 = AtomicU32::new(0);

/// Starts the helper; the caller made sure that it asks once at a time.
pub fn start() -> bool {
    // The former helper said goodbye but may still be leaving our stack.
    let mut patience = 1_000_000;
    while TID.load(Acquire) != 0 {
        core::hint::spin_loop();
        patience -= 1;
        if patience == 0 {
            return false;
        }
    }
    let ground = GROUND.0.get();
    let all = u64::MAX;
    let mut kept = 0u64;
    // SAFETY: the ground is nobody's now; the masks are ours and 8 bytes long.
    unsafe {
        let stack = (&raw mut (*ground).stack).expose_provenance() + STACK_BYTES;
        let pointer = (&raw mut (*ground).storage).expose_provenance() + STORAGE_BYTES / 2;
        // A thread pointer points to a word that holds it.
        crate::chunk::at::<usize>(pointer).write(pointer);
        let masks = [(&raw const all).addr(), (&raw mut kept).addr()];
        syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, masks[0], masks[1], 8, 0, 0]);
        let result = bare_thread(stack & !15, pointer, TID.as_ptr().addr(), body);
        syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, masks[1], 0, 8, 0, 0]);
        result > 0
    }
}

/// In a fork child: there is no helper here.
pub fn forget_helper() {
    TID.store(0, Release);
}

extern "C" fn body() {
    let pause = [0usize, TICK_NS];
    // SAFETY: a NUL-terminated name, a timespec.
    unsafe {
        syscall(nr::PRCTL, [PR_SET_NAME, c"heapwise-idle".as_ptr().addr(), 0, 0, 0, 0]);
        loop {
            syscall(nr::NANOSLEEP, [pause.as_ptr().addr(), 0, 0, 0, 0, 0]);
            if !crate::global::ALLOCATOR.tick() {
                return;
            }
        }
    }
}
