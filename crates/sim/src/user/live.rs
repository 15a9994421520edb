//! Real page faults: the host's SIGSEGV in the window becomes the simulated kernel's fault.
//!
//! ```text
//!   mov [rax], 1 ─► nothing mapped ─► SIGSEGV ─► handler: Kernel::touch ─► frame mapped ─► again
//! ```
//! What the window maps is a memory of the page table, as a TLB is: a page that the
//! table allows is mapped without a fault being counted. An access that must end the
//! program gets a page of nobody's, so that it can go on; [`Live::failure`] tells.

use crate::event::Pid;
use crate::kernel::Kernel;
use crate::touch::TouchError;
use crate::window::Window;
use heapwise_vm::{Access, VirtAddr};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Once;

/// What the handler works on. Its kernel's lifetime is that of the [`Live`] that set it.
struct Context {
    kernel: *const RefCell<Kernel<'static>>,
    window: *const Window,
    pid: Pid,
    failure: Cell<Option<TouchError>>,
}

thread_local! {
    /// The machine whose program runs on this thread of the host.
    static CURRENT: Cell<*const Context> = const { Cell::new(std::ptr::null()) };
}

static INSTALL: Once = Once::new();
static mut BEFORE: std::mem::MaybeUninit<libc::sigaction> = std::mem::MaybeUninit::uninit();

/// Bytes of the handler's own stack: the kernel's verbs recurse little.
const STACK_BYTES: usize = 256 << 10;

/// While it lives, accesses of this thread in the window are the program's.
pub(super) struct Live<'k, 'm> {
    context: Box<Context>,
    outer: *const Context,
    stack: Vec<u8>,
    outer_stack: libc::stack_t,
    lifetimes: PhantomData<(&'k RefCell<Kernel<'m>>, *const ())>,
}

impl<'k, 'm> Live<'k, 'm> {
    pub(super) fn enter(kernel: &'k RefCell<Kernel<'m>>, pid: Pid, window: &'m Window) -> Self {
        INSTALL.call_once(install);
        let kernel: *const RefCell<Kernel<'m>> = kernel;
        let context =
            Box::new(Context { kernel: kernel.cast(), window, pid, failure: Cell::new(None) });
        let mut stack = vec![0_u8; STACK_BYTES];
        let alternate =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
        let mut outer_stack =
            libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: a stack that lives until `drop` takes it away again.
        unsafe { libc::sigaltstack(&raw const alternate, &raw mut outer_stack) };
        let outer = CURRENT.replace(&raw const *context);
        Self { context, outer, stack, outer_stack, lifetimes: PhantomData }
    }

    pub(super) fn failure(&self) -> Option<TouchError> {
        self.context.failure.get()
    }
}

impl Drop for Live<'_, '_> {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
        // SAFETY: the stack that was there before; ours is not in use outside of the handler.
        unsafe { libc::sigaltstack(&raw const self.outer_stack, std::ptr::null_mut()) };
        debug_assert_eq!(self.stack.len(), STACK_BYTES);
    }
}

fn install() {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    // SAFETY: an all-zero sigaction is one with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a handler that does what one may (see `on_fault`); `BEFORE` is written once,
    // before any handler can read it.
    unsafe {
        let before: *mut std::mem::MaybeUninit<libc::sigaction> = &raw mut BEFORE;
        libc::sigaction(libc::SIGSEGV, &raw const action, before.cast());
    }
}

/// Runs in the middle of the allocator or of a program's store: never inside of the
/// host's own malloc, since only these touch the window.
extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel's siginfo, valid in the handler.
    let address = unsafe { (*info).si_addr() }.expose_provenance() as u64;
    let current = CURRENT.get();
    if current.is_null() || !serve(current, VirtAddr::new(address), store(context)) {
        // Not ours: whoever was there before us shall have it.
        // SAFETY: written before the handler was installed.
        unsafe {
            let before: *const std::mem::MaybeUninit<libc::sigaction> = &raw const BEFORE;
            libc::sigaction(signal, before.cast(), std::ptr::null_mut());
        }
    }
}

/// Whether the access was a store, where the processor says so.
#[cfg(target_arch = "x86_64")]
fn store(context: *mut libc::c_void) -> Option<bool> {
    const WRITE: i64 = 2;
    // SAFETY: the kernel's ucontext, valid in the handler.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    Some(registers[libc::REG_ERR as usize] & WRITE != 0)
}

#[cfg(not(target_arch = "x86_64"))]
fn store(_: *mut libc::c_void) -> Option<bool> {
    None
}

/// False: not an address of the window, or the kernel itself has touched it.
fn serve(current: *const Context, at: VirtAddr, store: Option<bool>) -> bool {
    // SAFETY: set by a `Live` of this thread that has not been dropped.
    let (context, window) = unsafe { (&*current, &*(*current).window) };
    if !window.span().contains(at) {
        return false;
    }
    // SAFETY: as above; the kernel outlives the `Live`.
    let Ok(mut kernel) = (unsafe { &*context.kernel }).try_borrow_mut() else { return false };
    let page = at.page();
    // Where the processor does not tell: a page that can be read already was written to.
    let store = store.unwrap_or_else(|| kernel.mapped(context.pid, page).is_some());
    let access = if store { Access::Write } else { Access::Read };
    match kernel.touch(context.pid, at, access) {
        Ok(_) => {
            if let Some((pfn, writable)) = kernel.mapped(context.pid, page) {
                window.fill(kernel.ram, page, pfn, writable);
            }
        }
        Err(error) => {
            context.failure.set(context.failure.get().or(Some(error)));
            window.open(heapwise_vm::Span::page_of(page), true, true);
        }
    }
    true
}
