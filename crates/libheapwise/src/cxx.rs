//! operator new and delete, in all sized, aligned and nothrow forms (Itanium names).
//!
//! Out of memory: the new-handler is called until it helps or throws; without
//! one, `std::bad_alloc` is thrown through libstdc++; without that, abort.
//!
//! An exception must not pass a Rust frame (panics abort here, so such a frame
//! ends the process). So the forms that may throw leave by a jump to assembly
//! of their own, whose frame the unwinder can pass: see `retry`.

use core::ffi::c_void;
use heapwise_malloc::global;

#[cfg(target_arch = "x86_64")]
mod retry {
    //! `_ZSt15get_new_handlerv` and `_ZSt17__throw_bad_allocv` are weak: a C program
    //! has neither.

    core::arch::global_asm!(
        // rdi size, rsi alignment, edx whether to throw; tries until there is memory.
        ".pushsection .text.heapwise_new_retry,\"ax\",@progbits",
        ".p2align 4",
        ".hidden heapwise_new_retry",
        ".globl heapwise_new_retry",
        ".type heapwise_new_retry,@function",
        "heapwise_new_retry:",
        ".cfi_startproc",
        "push rbx",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbx, -16",
        "push r12",
        ".cfi_def_cfa_offset 24",
        ".cfi_offset r12, -24",
        "push r13",
        ".cfi_def_cfa_offset 32",
        ".cfi_offset r13, -32",
        "mov rbx, rdi",
        "mov r12, rsi",
        "mov r13d, edx",
        "2:",
        ".weak _ZSt15get_new_handlerv",
        "mov rax, qword ptr [rip + _ZSt15get_new_handlerv@GOTPCREL]",
        "test rax, rax",
        "jz 3f",
        "call rax",
        "test rax, rax",
        "jz 3f",
        "call rax",
        "mov rdi, r12",
        "mov rsi, rbx",
        "call {memalign}",
        "test rax, rax",
        "jz 2b",
        "4:",
        "pop r13",
        ".cfi_remember_state",
        ".cfi_restore r13",
        ".cfi_def_cfa_offset 24",
        "pop r12",
        ".cfi_restore r12",
        ".cfi_def_cfa_offset 16",
        "pop rbx",
        ".cfi_restore rbx",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".cfi_restore_state",
        "3:",
        "xor eax, eax",
        "test r13d, r13d",
        "jz 4b",
        ".weak _ZSt17__throw_bad_allocv",
        "mov rax, qword ptr [rip + _ZSt17__throw_bad_allocv@GOTPCREL]",
        "test rax, rax",
        "jz 5f",
        "call rax",
        "5:",
        "call {abort}",
        "ud2",
        ".cfi_endproc",
        ".size heapwise_new_retry, . - heapwise_new_retry",
        ".popsection",
        memalign = sym memalign,
        abort = sym abort,
    );

    extern "C" fn memalign(alignment: usize, size: usize) -> *mut core::ffi::c_void {
        heapwise_malloc::global::memalign_quiet(alignment, size).cast()
    }

    unsafe extern "C" {
        fn abort() -> !;
        #[link_name = "heapwise_new_retry"]
        pub fn retry(size: usize, alignment: usize, throws: bool) -> *mut core::ffi::c_void;
    }
}

/// Alignment of the plain forms.
const PLAIN: usize = 16;

// The calls of `retry` below stand last in their functions, so that an optimised
// build jumps there and no Rust frame is left; `tests` throws through them.

/// The plain forms, throwing (`true`) or not.
macro_rules! operator_new {
    ($($name:ident($($nothrow:ident)?) throws $throws:literal;)*) => {$(
        /// operator new.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "heapwise_fast")]
        #[allow(non_snake_case, reason = "Itanium mangling")]
        pub extern "C" fn $name(size: usize $(, $nothrow: *const c_void)?) -> *mut c_void {
            let pointer = global::malloc_here(size);
            if pointer.is_null() {
                // SAFETY: any size and flag will do.
                unsafe { retry::retry(size, PLAIN, $throws) }
            } else {
                pointer.cast()
            }
        }
    )*};
}

/// The aligned forms.
macro_rules! aligned_operator_new {
    ($($name:ident($($nothrow:ident)?) throws $throws:literal;)*) => {$(
        /// operator new, aligned.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "Itanium mangling")]
        pub extern "C" fn $name(
            size: usize,
            alignment: usize $(, $nothrow: *const c_void)?
        ) -> *mut c_void {
            let pointer = global::memalign_quiet(alignment, size);
            if pointer.is_null() {
                // SAFETY: `alignment` is a power of two, as the compiler passes it.
                unsafe { retry::retry(size, alignment, $throws) }
            } else {
                pointer.cast()
            }
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
