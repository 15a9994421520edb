//! Heapwise for C and C++: conversions between their conventions and the allocator.
//!
//! | file | what |
//! |---|---|
//! | `c.rs` | malloc, free and their family |
//! | `cxx.rs` | operator new and delete in all forms |
//! | `info.rs` | mallopt, mallinfo, malloc_info, malloc_stats, malloc_trim |
#![no_std]

mod c;
mod cxx;
mod info;

/// Nothing here panics on purpose: a bug ends the process.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn abort() -> !;
    }
    // SAFETY: never returns.
    unsafe { abort() }
}

/// Named by the precompiled `core`, never called: panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
