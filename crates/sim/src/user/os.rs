//! The platform under the allocator: the simulated kernel's system calls.
//!
//! Invariants as of `Os`: nothing here allocates from that allocator; memory handed
//! out is the caller's alone, zeroed, readable and writable.

use super::Fatal;
use crate::event::Pid;
use crate::journey::HeapState;
use crate::kernel::Kernel;
use crate::window::{Behind, Window};
use heapwise_malloc::Allocator;
use heapwise_malloc::os::{Os, Span as Range};
use heapwise_pages::PAGE_SIZE;
use heapwise_vm::{Advice, MapFlags, MapRequest, Prot, RemapRequest, Span, VirtAddr, page_align};
use std::cell::{Cell, RefCell, RefMut};
use std::sync::atomic::AtomicU32;

/// One process's platform.
pub struct SimOs<'k, 'm> {
    kernel: &'k RefCell<Kernel<'m>>,
    pid: Pid,
    window: &'m Window,
    secret: u64,
    thread: Cell<u32>,
    /// Whether there can be a helper.
    pub helper_allowed: Cell<bool>,
    /// How often one was asked for.
    pub helper_starts: Cell<u32>,
    /// Whose heap is looked at on the way into each call; null for nobody's.
    watched: Cell<*const Allocator<Self>>,
    /// What was seen, with the number of events until then.
    heaps: RefCell<Vec<(usize, HeapState)>>,
}

// SAFETY: only one thread of the host uses a machine: `Kernel` is not `Sync`, so the
// reference here cannot have come from another one.
unsafe impl Sync for SimOs<'_, '_> {}

const fn at(address: usize) -> VirtAddr {
    VirtAddr::new(address as u64)
}

const fn span(range: Range) -> Span {
    Span::new(at(range.start), at(range.end))
}

impl<'k, 'm> SimOs<'k, 'm> {
    pub(super) fn new(kernel: &'k RefCell<Kernel<'m>>, pid: Pid, window: &'m Window) -> Self {
        let secret = kernel.borrow_mut().rng.word();
        Self {
            kernel,
            pid,
            window,
            secret,
            thread: Cell::new(1),
            helper_allowed: Cell::new(true),
            helper_starts: Cell::new(0),
            watched: Cell::new(std::ptr::null()),
            heaps: RefCell::default(),
        }
    }

    /// Takes the heap's state down on the way into each system call from now on.
    pub(crate) fn watch_heap(&self, alloc: &Allocator<Self>) {
        self.watched.set(alloc);
    }

    /// What was seen since the last time, with the number of events before it.
    pub(crate) fn take_heaps(&self) -> Vec<(usize, HeapState)> {
        self.heaps.take()
    }

    /// The machine, on the way into a system call.
    fn enter(&self) -> RefMut<'k, Kernel<'m>> {
        let watched = self.watched.get();
        if !watched.is_null() {
            let events = self.kernel.borrow().event_count();
            // SAFETY: the allocator that this platform is part of, so alive; its lists are
            // whole whenever it calls its platform.
            let heap = HeapState::of(unsafe { &*watched });
            self.heaps.borrow_mut().push((events, heap));
        }
        self.kernel.borrow_mut()
    }

    /// The program's thread of this number runs.
    pub fn run_thread(&self, thread: u32) {
        self.thread.set(thread);
    }

    /// The window where its memory is the host's own.
    fn fast(&self) -> Option<&Window> {
        (self.window.behind() == Behind::Memory).then_some(self.window)
    }
}

// SAFETY: the kernel gives each mapping to one caller, zeroed: its VMAs do not overlap,
// and what is behind them is either frames, zeroed by the fault, or memory of the
// host's that was closed, and so dropped, when the mapping before it went.
unsafe impl Os for SimOs<'_, '_> {
    fn page_bytes(&self) -> usize {
        PAGE_SIZE as usize
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        let mut kernel = self.enter();
        if delta == 0 {
            return Some(kernel.process(self.pid)?.mm.bounds.brk.get() as usize);
        }
        let old = kernel.sbrk(self.pid, delta as i64)?;
        let new = old.get().wrapping_add_signed(delta as i64);
        if let Some(window) = self.fast() {
            if delta > 0 {
                window.open(Span::new(old.page(), VirtAddr::new(page_align(new))), true, true);
            } else {
                let (low, high) = (page_align(new), page_align(old.get()));
                window.close(Span::new(VirtAddr::new(low), VirtAddr::new(high)));
            }
        }
        Some(old.get() as usize)
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        let request = MapRequest::anonymous(bytes as u64, Prot::RW);
        let start = self.enter().mmap(self.pid, request).ok()?;
        if let Some(window) = self.fast() {
            window.open(Span::at(start, bytes as u64), true, true);
        }
        Some(start.get() as usize)
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        let request = MapRequest::anonymous(bytes as u64, Prot::NONE).with(MapFlags::NORESERVE);
        let start = self.enter().mmap(self.pid, request).ok()?;
        Some(start.get() as usize)
    }

    unsafe fn commit(&self, range: Range) -> bool {
        let (start, bytes) = (at(range.start), range.bytes() as u64);
        let result = self.enter().mprotect(self.pid, start, bytes, Prot::RW);
        if let Some(window) = self.fast().filter(|_| result.is_ok()) {
            window.open(span(range), true, true);
        }
        result.is_ok()
    }

    unsafe fn unmap(&self, range: Range) -> bool {
        let (start, bytes) = (at(range.start), range.bytes() as u64);
        let result = self.enter().munmap(self.pid, start, bytes);
        if let Some(window) = self.fast().filter(|_| result.is_ok()) {
            window.close(span(range));
        }
        result.is_ok()
    }

    unsafe fn remap(&self, old: Range, new_bytes: usize) -> Option<usize> {
        let request = RemapRequest::resize(at(old.start), old.bytes() as u64, new_bytes as u64);
        let start = self.enter().mremap(self.pid, request).ok()?;
        if let Some(window) = self.fast() {
            let kept = Span::at(at(old.start), old.bytes().min(new_bytes) as u64);
            if start != at(old.start) {
                window.open(Span::at(start, new_bytes as u64), true, true);
                window.carry(kept, start);
            } else if new_bytes > old.bytes() {
                window.open(Span::new(at(old.end), start.up(new_bytes as u64)), true, true);
            }
            window.close(Span::new(kept.end, at(old.end)));
        }
        Some(start.get() as usize)
    }

    unsafe fn purge(&self, ranges: &[Range]) -> bool {
        let mut all = true;
        for range in ranges {
            let (start, bytes) = (at(range.start), range.bytes() as u64);
            let result = self.enter().madvise(self.pid, start, bytes, Advice::DontNeed);
            if result.is_ok() {
                if let Some(window) = self.fast() {
                    window.wipe(span(*range));
                }
            } else {
                let place: *mut u8 = std::ptr::with_exposed_provenance_mut(range.start);
                // SAFETY: the caller's, and nothing in it is in use.
                unsafe { place.write_bytes(0, range.bytes()) };
                all = false;
            }
        }
        all
    }

    fn advise_huge(&self, range: Range) {
        let (start, bytes) = (at(range.start), range.bytes() as u64);
        // Advice: it may be ignored.
        let _ = self.enter().madvise(self.pid, start, bytes, Advice::HugePage);
    }

    fn now_ns(&self) -> u64 {
        self.kernel.borrow().now_ns()
    }

    fn usable_cores(&self) -> usize {
        self.kernel.borrow().cpus()
    }

    fn random(&self) -> u64 {
        self.secret
    }

    fn thread_id(&self) -> u32 {
        self.thread.get()
    }

    fn thread_attached(&self) {}

    fn parked(&self, thread_id: u32) -> bool {
        // The others wait for their turn, between two calls.
        thread_id != self.thread.get()
    }

    fn wait(&self, _: &AtomicU32, _: u32) {
        panic!("the only thread that runs waits for a lock: nobody would open it");
    }

    fn wake(&self, _: &AtomicU32) {}

    fn start_helper(&self) -> bool {
        self.helper_starts.set(self.helper_starts.get() + 1);
        self.helper_allowed.get()
    }

    fn sample(&self, _: &heapwise_layout::report::ProcessRecord) {}

    fn fatal(&self, line: &str) -> ! {
        std::panic::panic_any(Fatal(line.to_owned()))
    }
}
