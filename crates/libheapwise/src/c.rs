//! malloc, free and their family, as C and glibc's manual define them.

use core::ffi::{c_int, c_void};
use heapwise_malloc::{global, linux::set_errno};

const EINVAL: c_int = 22;
const ENOMEM: c_int = 12;

// Beside malloc, so that no linker takes one without the other.
#[used]
#[unsafe(link_section = ".init_array")]
static START: global::Start = global::start;

#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: global::Finish = global::finish;

// Where in a line of 64 bytes `free` and `malloc` begin makes 4 % of their time (ADR 0088), and is else
// left to the size of all code before them. So their section begins with a line; then free begins
// 16 bytes behind the begin of one, and malloc with one. (32 and 16 are as good, 0 and 48, 48 and 32 are not.)
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection heapwise_fast, \"ax\", @progbits",
    ".balign 64",
    ".skip 16, 0xcc",
    ".popsection",
);

/// C: malloc.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapwise_fast")]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    global::malloc_here(size).cast()
}

/// C: free. errno is preserved.
///
/// # Safety
/// Null, or what one of these functions returned and nobody freed; so for all
/// pointers below.
#[unsafe(no_mangle)]
#[unsafe(link_section = "heapwise_fast")]
pub unsafe extern "C" fn free(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { global::free_here(pointer.cast()) }
}

/// C: calloc.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    global::calloc(count, size).cast()
}

/// C: realloc. A size of 0 frees and returns null, as in glibc.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { global::realloc(pointer.cast(), size).cast() }
}

/// BSD: reallocarray, ENOMEM if the product overflows.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    pointer: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise.
        Some(bytes) => unsafe { realloc(pointer, bytes) },
        None => {
            set_errno(ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// POSIX: posix_memalign. Returns the error, errno is preserved.
///
/// # Safety
/// `result` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    result: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return EINVAL;
    }
    let pointer = global::memalign_quiet(alignment, size);
    if pointer.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { result.write(pointer.cast()) };
    0
}

/// C11: aligned_alloc. EINVAL unless `alignment` is a power of two.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    if !alignment.is_power_of_two() {
        set_errno(EINVAL);
        return core::ptr::null_mut();
    }
    global::memalign(alignment, size).cast()
}

/// memalign. An alignment that is no power of two is rounded up to one, as in glibc.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    match alignment.max(1).checked_next_power_of_two() {
        Some(alignment) => global::memalign(alignment, size).cast(),
        None => {
            set_errno(EINVAL);
            core::ptr::null_mut()
        }
    }
}

/// valloc: aligned to a page.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    global::memalign(global::page_bytes(), size).cast()
}

/// pvalloc: whole pages, aligned to one.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    let page = global::page_bytes();
    match size.max(1).checked_next_multiple_of(page) {
        Some(bytes) => global::memalign(page, bytes).cast(),
        None => {
            set_errno(ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// malloc_usable_size: 0 for null.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(pointer: *mut c_void) -> usize {
    global::usable_size(pointer.cast())
}

/// Another name for one of the functions above, by a jump.
macro_rules! alias {
    ($($(#[$doc:meta])* $name:ident => $target:path;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As the function it stands for.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!("jmp {}", sym $target)
        }
    )*};
}

alias! {
    /// SVID: free.
    cfree => free;
    /// C23: free with the size, which the header knows.
    free_sized => free;
    /// C23: free with alignment and size, which the header makes needless.
    free_aligned_sized => free;
    /// glibc's internal name.
    __libc_malloc => malloc;
    /// glibc's internal name.
    __libc_free => free;
    /// glibc's internal name.
    __libc_calloc => calloc;
    /// glibc's internal name.
    __libc_realloc => realloc;
    /// glibc's internal name.
    __libc_reallocarray => reallocarray;
    /// glibc's internal name.
    __libc_memalign => memalign;
    /// glibc's internal name.
    __libc_valloc => valloc;
    /// glibc's internal name.
    __libc_pvalloc => pvalloc;
    /// glibc's internal name.
    __posix_memalign => posix_memalign;
}
