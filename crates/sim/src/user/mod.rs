//! A program on the simulated kernel: our own allocator and what it hands out.
//!
//! ```text
//!   User ─ malloc, free, touch ─► Allocator<SimOs> ─► Os ─► Kernel: brk, mmap, …
//!     loads and stores ─► window ─► live: SIGSEGV ─► Kernel::touch ─► a frame mapped there
//!                                └► fast: memory of the host's; `settle` tells the kernel after
//! ```
//! Several threads of the program take turns on one thread of the host.

mod live;
mod os;

pub use os::SimOs;

use crate::event::Pid;
use crate::kernel::Kernel;
use crate::touch::TouchError;
use crate::window::Behind;
use heapwise_layout::state::Cache;
use heapwise_malloc::waiting::{Waited, free_either, malloc_either};
use heapwise_malloc::{Allocator, Slot};
use heapwise_vm::{Access, Span, VirtAddr, VmFlags};
use live::Live;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The line with which the allocator ended the program, as a panic's payload.
pub(crate) struct Fatal(pub(crate) String);

/// One of its threads.
struct Thread {
    slot: Slot,
    id: Cell<u32>,
}

/// A program.
pub struct User<'k, 'm> {
    /// Its allocator.
    pub alloc: Box<Allocator<SimOs<'k, 'm>>>,
    kernel: &'k RefCell<Kernel<'m>>,
    pid: Pid,
    threads: Vec<Thread>,
    /// The number of the thread that begins next.
    next_id: Cell<u32>,
    live: Option<Live<'k, 'm>>,
}

/// On the heap: it is too large for a stack.
#[inline(never)]
fn boxed<'k, 'm>(os: SimOs<'k, 'm>) -> Box<Allocator<SimOs<'k, 'm>>> {
    Box::new(Allocator::new(os))
}

impl<'k, 'm> User<'k, 'm> {
    /// Runs a program of so many threads in a process that shows in the window. O(threads).
    ///
    /// # Panics
    /// If the machine has no window, or another process shows in it.
    #[must_use]
    pub fn new(kernel: &'k RefCell<Kernel<'m>>, pid: Pid, threads: usize) -> Self {
        let window = {
            let machine = kernel.borrow();
            assert!(machine.process(pid).is_some_and(|process| process.in_window), "no window");
            machine.window
        };
        let window = window.expect("a process in the window");
        let live = (window.behind() == Behind::Frames).then(|| Live::enter(kernel, pid, window));
        let alloc = boxed(SimOs::new(kernel, pid, window));
        let count = threads.max(1) as u32;
        let threads =
            (1..=count).map(|id| Thread { slot: Slot::new(), id: Cell::new(id) }).collect();
        let next_id = Cell::new(count + 1);
        Self { alloc, kernel, pid, threads, next_id, live }
    }

    /// Its process.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// How an access of the program ended it, if one has: SIGSEGV, SIGBUS, the OOM killer.
    #[must_use]
    pub fn ended(&self) -> Option<TouchError> {
        self.live.as_ref().and_then(Live::failure).or(self.alloc.os.ended.get())
    }

    fn slot(&self, thread: usize) -> &Slot {
        let thread = &self.threads[thread % self.threads.len()];
        self.alloc.os.run_thread(thread.id.get());
        &thread.slot
    }

    /// The cache of a thread, as the fast paths see it.
    #[must_use]
    pub fn cache(&self, thread: usize) -> *const Cache {
        std::ptr::with_exposed_provenance(self.slot(thread).0.get())
    }

    /// `malloc`, as a program calls it: the fast path, then the other. 0 is null.
    /// O(1) on the fast path, as the allocator else.
    pub fn malloc(&self, thread: usize, request: usize) -> usize {
        let cache = self.cache(thread);
        // SAFETY: the slot holds a cache, this thread's if it is open.
        match unsafe { malloc_either(cache, request) } {
            0 => self.alloc.malloc(self.slot(thread), request),
            pointer => pointer,
        }
    }

    /// `calloc`. As malloc, plus O(bytes).
    pub fn calloc(&self, thread: usize, count: usize, each: usize) -> usize {
        self.alloc.calloc(self.slot(thread), count, each)
    }

    /// `realloc`. As malloc, plus O(bytes) when it moves.
    pub fn realloc(&self, thread: usize, pointer: usize, request: usize) -> usize {
        self.alloc.realloc(self.slot(thread), pointer, request)
    }

    /// `memalign`. As malloc behind the fast path.
    pub fn memalign(&self, thread: usize, align: usize, request: usize) -> usize {
        self.alloc.memalign(self.slot(thread), align, request)
    }

    /// `free`. O(1) on the fast path, as the allocator else.
    pub fn free(&self, thread: usize, pointer: usize) {
        let cache = self.cache(thread);
        // SAFETY: the slot holds a cache, this thread's if it is open; a pointer that is
        // not ours is found by the range check before anything is read.
        match unsafe { free_either(cache, pointer) } {
            Waited::Done => {}
            Waited::Overflow(pointer) => self.alloc.overflow_at(self.slot(thread), pointer),
            Waited::Other(pointer) => self.alloc.free(self.slot(thread), pointer),
        }
    }

    /// A thread ends: what its cache has goes back. O(chunks in the cache).
    pub fn end_thread(&self, thread: usize) {
        self.alloc.detach(self.slot(thread));
    }

    /// After [`end_thread`](Self::end_thread): another thread begins in its place.
    pub fn next_thread(&self, thread: usize) {
        let thread = &self.threads[thread % self.threads.len()];
        thread.slot.0.set(Slot::new().0.get());
        thread.id.set(self.next_id.replace(self.next_id.get() + 1));
    }

    /// `malloc_trim`: whether anything went back. O(free chunks).
    pub fn trim(&self, thread: usize, pad: usize) -> bool {
        self.alloc.trim(self.slot(thread), pad)
    }

    /// The line with which the allocator ends the program while it does `this`; `None` if
    /// it does not.
    pub fn fatal_line(&self, this: impl FnOnce()) -> Option<String> {
        let end = catch_unwind(AssertUnwindSafe(this)).err()?;
        match end.downcast::<Fatal>() {
            Ok(fatal) => Some(fatal.0),
            Err(other) => resume_unwind(other),
        }
    }

    /// Writes `byte` to every page of a block, at its first byte there. O(pages).
    pub fn touch(&self, pointer: usize, bytes: usize, byte: u8) {
        let mut at = pointer;
        while at < pointer + bytes {
            let place: *mut u8 = std::ptr::with_exposed_provenance_mut(at);
            // SAFETY: inside of a block that the allocator gave to the caller.
            unsafe { place.write_volatile(byte) };
            at = (at & !4095) + 4096;
        }
    }

    /// As [`touch`](Self::touch), and with either backing the kernel learns of it at once.
    ///
    /// # Errors
    /// How one of these faults ended the program.
    pub fn write(&self, pointer: usize, bytes: usize, byte: u8) -> Result<(), TouchError> {
        if self.live.is_none() && bytes > 0 {
            let mut kernel = self.kernel.borrow_mut();
            let first = VirtAddr::new(pointer as u64).page().get();
            for page in (first..(pointer + bytes) as u64).step_by(4096) {
                let page = VirtAddr::new(page);
                if !kernel.mapped(self.pid, page).is_some_and(|(_, writable)| writable) {
                    kernel.touch(self.pid, page, Access::Write)?;
                }
            }
        }
        self.touch(pointer, bytes, byte);
        self.ended().map_or(Ok(()), Err)
    }

    /// Fast backing: tells the kernel which pages the program has touched since, as if
    /// it had faulted on each now, from the lowest up. Live backing: nothing to do.
    /// O(pages of the process).
    ///
    /// # Errors
    /// How one of these faults ended the program.
    pub fn settle(&self) -> Result<(), TouchError> {
        let mut kernel = self.kernel.borrow_mut();
        let Some(window) = kernel.window.filter(|window| window.behind() == Behind::Memory) else {
            return Ok(());
        };
        let spans: Vec<Span> = match kernel.process(self.pid) {
            None => return Err(TouchError::NoProcess),
            Some(process) => process
                .mm
                .vmas(&kernel.nodes)
                .filter(|vma| vma.is_anonymous() && vma.flags.has(VmFlags::WRITE))
                .filter(|vma| !vma.flags.has(VmFlags::GROWSDOWN))
                .map(|vma| vma.span)
                .collect(),
        };
        spans.into_iter().try_for_each(|span| os::settle(&mut kernel, window, self.pid, span))
    }
}
