//! The idle helper: a bare thread that wakes twice a second and ends when quiet.
//!
//! Not a thread of the C library: such a one would keep a process alive after
//! main's `pthread_exit`, be counted, run with the program's signals and need
//! `pthread_create` inside malloc. It has its own small stack and its own
//! thread pointer (the C library's errno lands there), and all signals blocked.
//!
//! It is started by a free that leaves something to give back, or from outside
//! through [`machine::start_from_outside`], to carry out a command.

use super::errno_address;
use super::machine::{self, nr, syscall};
use crate::global::ALLOCATOR;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering::Acquire};

/// Time between two looks.
const TICK_NS: usize = 500_000_000;
/// Its stack: the deepest path is a purge, about 4 KiB.
const STACK_BYTES: usize = 32 << 10;
/// Room below its thread pointer, where the C library and the program expect their thread-local
/// storage, errno's word among it: a program may have much, and what is not touched costs nothing.
const STORAGE_BELOW: usize = 1 << 20;
/// Room above it, for the C library's own words.
const STORAGE_ABOVE: usize = 16 << 10;
const PR_SET_NAME: usize = 15;

/// The stack, growing down from its end, and behind it the storage, the thread
/// pointer in it.
#[repr(C, align(64))]
pub struct Ground {
    stack: [u8; STACK_BYTES],
    storage: [usize; (STORAGE_BELOW + STORAGE_ABOVE) / 8],
}

/// Offset of the stack's end.
pub const STACK_END: usize = STACK_BYTES;
/// Offset of the thread pointer.
pub const THREAD_POINTER: usize = STACK_BYTES + STORAGE_BELOW;

/// [`Ground`] in a static.
pub struct Shared(UnsafeCell<Ground>);
// SAFETY: used by one helper at a time, see `start`.
unsafe impl Sync for Shared {}

/// What the helper runs on.
pub static GROUND: Shared = Shared(UnsafeCell::new(Ground {
    stack: [0; STACK_BYTES],
    storage: [0; (STORAGE_BELOW + STORAGE_ABOVE) / 8],
}));

/// Whether the calling thread may have a stream of records: any but a helper whose storage does
/// not reach down to the word for it, since the program has much thread-local storage.
pub fn may_have_stream() -> bool {
    let pointer = machine::thread_pointer();
    let ground = GROUND.0.get().expose_provenance();
    let below = pointer.wrapping_sub(machine::stream_slot());
    pointer != ground + THREAD_POINTER || below <= STORAGE_BELOW
}

fn tid() -> &'static AtomicU32 {
    &ALLOCATOR.state.control.helper_tid
}

/// Starts the helper; the caller made sure that it asks once at a time.
pub fn start() -> bool {
    // The former helper said goodbye but may still be leaving our stack.
    let mut patience = 1_000_000;
    while tid().load(Acquire) != 0 {
        core::hint::spin_loop();
        patience -= 1;
        if patience == 0 {
            return false;
        }
    }
    let ground = GROUND.0.get().expose_provenance();
    // SAFETY: the ground is nobody's now, and all of it outlives the thread.
    unsafe {
        machine::spawn(ground + STACK_END, ground + THREAD_POINTER, tid().as_ptr().addr(), body) > 0
    }
}

/// What the helper does.
pub extern "C" fn body() {
    // Calls into the C library write to it.
    let storage = machine::thread_pointer() - STORAGE_BELOW..machine::thread_pointer();
    if !storage.contains(&errno_address()) {
        return;
    }
    let pause = [0usize, TICK_NS];
    // SAFETY: a NUL-terminated name, a timespec.
    unsafe {
        syscall(nr::PRCTL, [PR_SET_NAME, c"heapwise-idle".as_ptr().addr(), 0, 0, 0, 0]);
        // Whoever started it from outside waits.
        if ALLOCATOR.serve() && !ALLOCATOR.tick() {
            return;
        }
        loop {
            syscall(nr::NANOSLEEP, [pause.as_ptr().addr(), 0, 0, 0, 0, 0]);
            if !ALLOCATOR.tick() {
                return;
            }
        }
    }
}
