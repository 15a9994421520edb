//! operator new and delete, in all sized, aligned and nothrow forms (Itanium names).
//!
//! Out of memory: the new-handler is called until it helps or throws; without
//! one, `std::bad_alloc` is thrown through libstdc++; without that, abort.

use core::ffi::c_void;
use heapwise_malloc::global;

/// Alignment of the plain forms.
const PLAIN: usize = 16;

/// Tries again and again as the standard asks; null for the nothrow forms.
#[cold]
fn after_failure(alignment: usize, size: usize, throws: bool) -> *mut c_void {
    while let Some(handler) = new_handler() {
        handler();
        let pointer = global::memalign_quiet(alignment, size);
        if !pointer.is_null() {
            return pointer.cast();
        }
    }
    if throws {
        throw_bad_alloc();
    }
    core::ptr::null_mut()
}

/// Addresses of `std::get_new_handler` and `std::__throw_bad_alloc`, weak: 0 where
/// there is no C++ runtime.
#[cfg(target_arch = "x86_64")]
fn runtime() -> (usize, usize) {
    let (handler, throw);
    // SAFETY: reads two entries of the global offset table.
    unsafe {
        core::arch::asm!(
            ".weak _ZSt15get_new_handlerv",
            ".weak _ZSt17__throw_bad_allocv",
            "mov {}, qword ptr [rip + _ZSt15get_new_handlerv@GOTPCREL]",
            "mov {}, qword ptr [rip + _ZSt17__throw_bad_allocv@GOTPCREL]",
            out(reg) handler,
            out(reg) throw,
            options(nostack, preserves_flags, readonly),
        );
    }
    (handler, throw)
}

fn new_handler() -> Option<extern "C-unwind" fn()> {
    let address = runtime().0;
    if address == 0 {
        return None;
    }
    // SAFETY: `std::get_new_handler`: no arguments, returns a function or null.
    unsafe {
        let get: extern "C" fn() -> Option<extern "C-unwind" fn()> =
            core::mem::transmute::<usize, _>(address);
        get()
    }
}

fn throw_bad_alloc() -> ! {
    unsafe extern "C" {
        fn abort() -> !;
    }
    let address = runtime().1;
    // SAFETY: `std::__throw_bad_alloc`: no arguments, throws. abort does not return.
    unsafe {
        if address != 0 {
            let throw: extern "C-unwind" fn() -> ! = core::mem::transmute::<usize, _>(address);
            throw()
        }
        abort()
    }
}

/// The plain forms, throwing (`true`) or not.
macro_rules! operator_new {
    ($($name:ident($($nothrow:ident)?) throws $throws:literal;)*) => {$(
        /// operator new.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapwise_fast")]
        #[allow(non_snake_case, reason = "Itanium mangling")]
        pub extern "C-unwind" fn $name(size: usize $(, $nothrow: *const c_void)?) -> *mut c_void {
            let pointer = global::malloc_here(size);
            if pointer.is_null() { after_failure(PLAIN, size, $throws) } else { pointer.cast() }
        }
    )*};
}

/// The aligned forms.
macro_rules! aligned_operator_new {
    ($($name:ident($($nothrow:ident)?) throws $throws:literal;)*) => {$(
        /// operator new, aligned.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "Itanium mangling")]
        pub extern "C-unwind" fn $name(
            size: usize,
            alignment: usize $(, $nothrow: *const c_void)?
        ) -> *mut c_void {
            let pointer = global::memalign_quiet(alignment, size);
            if pointer.is_null() { after_failure(alignment, size, $throws) } else { pointer.cast() }
        }
    )*};
}

macro_rules! operator_delete {
    ($($name:ident)*) => {$(
        /// operator delete: free, whatever the form says of size and alignment.
        ///
        /// # Safety
        /// Null, or what operator new or malloc returned.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "Itanium mangling")]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!("jmp {}", sym crate::c::free)
        }
    )*};
}

operator_new! {
    _Znwm() throws true;
    _Znam() throws true;
    _ZnwmRKSt9nothrow_t(_nothrow) throws false;
    _ZnamRKSt9nothrow_t(_nothrow) throws false;
}
aligned_operator_new! {
    _ZnwmSt11align_val_t() throws true;
    _ZnamSt11align_val_t() throws true;
    _ZnwmSt11align_val_tRKSt9nothrow_t(_nothrow) throws false;
    _ZnamSt11align_val_tRKSt9nothrow_t(_nothrow) throws false;
}
operator_delete! {
    _ZdlPv _ZdaPv _ZdlPvm _ZdaPvm
    _ZdlPvRKSt9nothrow_t _ZdaPvRKSt9nothrow_t
    _ZdlPvSt11align_val_t _ZdaPvSt11align_val_t
    _ZdlPvmSt11align_val_t _ZdaPvmSt11align_val_t
    _ZdlPvSt11align_val_tRKSt9nothrow_t _ZdaPvSt11align_val_tRKSt9nothrow_t
}
