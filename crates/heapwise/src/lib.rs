//! Heapwise as a Rust global allocator: a malloc that tells you where your memory went.
//!
//! ```
//! #[global_allocator]
//! static GLOBAL: heapwise::Heapwise = heapwise::Heapwise;
//!
//! let words: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
//! let figures = heapwise::figures();
//! assert!(figures.live.count > words.len());
//! ```
//!
//! The same core serves C and C++ programs as `libheapwise.so`; this crate
//! exports no C symbols, so the C library of the process keeps its own malloc.
//! Linux on `x86_64`.
#![no_std]
#![deny(clippy::undocumented_unsafe_blocks)]

use core::alloc::{GlobalAlloc, Layout};
use heapwise_malloc::global;

pub use heapwise_malloc::stats::{Figures, Tally};
pub use heapwise_malloc::tunables::{Setting, TABLE as TUNABLES, Tunable};

#[used]
#[unsafe(link_section = ".init_array")]
static START: global::Start = global::start;

#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: global::Finish = global::finish;

/// What every chunk is aligned to anyway.
const MALLOC_ALIGN: usize = 16;

/// The allocator: a unit, as there is one heap in a process.
///
/// Cost: 18 instructions for an allocation that the thread cache serves, 20 for
/// its deallocation. Out of memory gives null, which Rust's collections turn
/// into `alloc::handle_alloc_error`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heapwise;

// SAFETY: chunks are exclusive, as long as asked for, aligned to 16 or by
// `memalign`, and stay where they are until freed or reallocated.
unsafe impl GlobalAlloc for Heapwise {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            global::malloc(layout.size())
        } else {
            global::memalign_quiet(layout.align(), layout.size())
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        // SAFETY: allocated by this allocator, by contract of GlobalAlloc.
        unsafe { global::free(pointer) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            return global::calloc(layout.size(), 1);
        }
        let pointer = global::memalign_quiet(layout.align(), layout.size());
        if !pointer.is_null() {
            // SAFETY: a fresh chunk of that size.
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: allocated by this allocator; the new size is not 0 by contract.
            return unsafe { global::realloc(pointer, new_size) };
        }
        // SAFETY: `new_size` is valid for this alignment by contract.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: both blocks are at least as long as what is copied, and distinct.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(pointer, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            new
        }
    }
}

/// Where the memory is now: bytes and chunks live, cached, binned, in tops, mapped.
///
/// Walks every heap under its lock: O(chunks).
#[must_use]
pub fn figures() -> Figures {
    global::ALLOCATOR.figures()
}

/// Gives free memory back to the kernel, all but `pad_bytes` at the top of the
/// main heap; true if any went. O(chunks).
pub fn trim(pad_bytes: usize) -> bool {
    global::trim(pad_bytes)
}

/// Changes a setting while the program runs; false if the value is out of its range.
pub fn set(setting: Setting, value: usize) -> bool {
    global::set(setting, value)
}

/// The value of a setting.
#[must_use]
pub fn setting(setting: Setting) -> usize {
    global::setting(setting)
}

/// Bytes that may be used behind `pointer`, at least what was asked for.
///
/// # Safety
/// `pointer` was allocated by [`Heapwise`] and not freed, or is null.
#[must_use]
pub unsafe fn usable_size(pointer: *const u8) -> usize {
    global::usable_size(pointer)
}

/// Walks every heap and checks every invariant: the first that does not hold.
///
/// # Errors
/// The broken invariant and where: somebody has written outside their memory.
pub fn check() -> Result<(), heapwise_malloc::check::Flaw> {
    global::ALLOCATOR.check()
}
