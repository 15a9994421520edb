//! The platform under the allocator: the simulated kernel's system calls.
//!
//! Invariants as of `Os`: nothing here allocates from that allocator; memory handed
//! out is the caller's alone, zeroed, readable and writable.

use super::Fatal;
use crate::event::Pid;
use crate::journey::HeapState;
use crate::kernel::Kernel;
use crate::touch::TouchError;
use crate::window::{Behind, Window};
use heapwise_malloc::Allocator;
use heapwise_malloc::os::{Os, Span as Range};
use heapwise_pages::PAGE_SIZE;
use heapwise_vm::{
    Access, Advice, MapFlags, MapRequest, Prot, RemapRequest, Span, VirtAddr, page_align,
};
use std::cell::{Cell, RefCell, RefMut};
use std::sync::atomic::AtomicU32;

/// Ranges that Linux takes in one call, as the allocator makes it.
const RANGES_A_CALL: usize = 64;
/// Bytes of a huge page.
const HUGE_BYTES: usize = 2 << 20;

/// One process's platform.
pub struct SimOs<'k, 'm> {
    kernel: &'k RefCell<Kernel<'m>>,
    pid: Pid,
    window: &'m Window,
    secret: u64,
    thread: Cell<u32>,
    /// When each thread ran last; by number.
    ran_ns: RefCell<Vec<u64>>,
    /// Another thread counts as asleep once it has not run for so long.
    pub asleep_ns: Cell<u64>,
    /// How a page fault ended the program that was taken on the way into a call.
    pub(super) ended: Cell<Option<TouchError>>,
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
            ran_ns: RefCell::default(),
            asleep_ns: Cell::new(0),
            ended: Cell::new(None),
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
        let mut ran = self.ran_ns.borrow_mut();
        let index = thread as usize;
        if ran.len() <= index {
            ran.resize(index + 1, 0);
        }
        ran[index] = self.kernel.borrow().now_ns();
    }

    /// Whether a first touch can take a huge page.
    fn has_huge_pages(&self) -> bool {
        self.kernel.borrow().huge_pages
    }

    /// Fast backing: before a range's memory goes, the faults by which it came.
    fn settle(&self, span: Span) {
        if let Some(window) = self.fast()
            && let Err(error) = settle(&mut self.kernel.borrow_mut(), window, self.pid, span)
        {
            self.ended.set(self.ended.get().or(Some(error)));
        }
    }

    /// The window where its memory is the host's own.
    fn fast(&self) -> Option<&Window> {
        (self.window.behind() == Behind::Memory).then_some(self.window)
    }
}

/// Tells the kernel which pages of a range the program has touched, as if it had faulted on each
/// now, from the lowest up (fast backing).
pub(super) fn settle(
    kernel: &mut Kernel<'_>,
    window: &Window,
    pid: Pid,
    span: Span,
) -> Result<(), TouchError> {
    for page in window.touched(span) {
        if !kernel.mapped(pid, page).is_some_and(|(_, writable)| writable) {
            kernel.touch(pid, page, Access::Write)?;
        }
    }
    Ok(())
}

// SAFETY: the kernel gives each mapping to one caller, zeroed: its VMAs do not overlap,
// and what is behind them is either frames, zeroed by the fault, or memory of the
// host's that was closed, and so dropped, when the mapping before it went.
unsafe impl Os for SimOs<'_, '_> {
    fn page_bytes(&self) -> usize {
        PAGE_SIZE as usize
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        let now = self.kernel.borrow().process(self.pid)?.mm.bounds.brk;
        if delta == 0 {
            return Some(now.get() as usize);
        }
        if delta < 0 {
            let new = now.get().wrapping_add_signed(delta as i64);
            self.settle(Span::new(
                VirtAddr::new(page_align(new)),
                VirtAddr::new(page_align(now.get())),
            ));
        }
        let mut kernel = self.enter();
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
        self.settle(span(range));
        let (start, bytes) = (at(range.start), range.bytes() as u64);
        let result = self.enter().munmap(self.pid, start, bytes);
        if let Some(window) = self.fast().filter(|_| result.is_ok()) {
            window.close(span(range));
        }
        result.is_ok()
    }

    unsafe fn remap(&self, old: Range, new_bytes: usize) -> Option<usize> {
        self.settle(span(old));
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
        // Several in one call, as on Linux; then one by one what that did not do.
        let spans: Vec<Span> = ranges.iter().map(|range| span(*range)).collect();
        spans.iter().for_each(|span| self.settle(*span));
        let mut done = 0;
        if (2..=RANGES_A_CALL).contains(&spans.len()) {
            let advised = self.enter().process_madvise(self.pid, &spans, Advice::DontNeed);
            done = advised.unwrap_or(0);
        }
        let mut all = true;
        for span in spans {
            let by_then = done >= span.bytes();
            done = done.saturating_sub(span.bytes());
            let alone =
                || self.enter().madvise(self.pid, span.start, span.bytes(), Advice::DontNeed);
            if by_then || alone().is_ok() {
                if let Some(window) = self.fast() {
                    window.wipe(span);
                }
            } else {
                let place: *mut u8 =
                    std::ptr::with_exposed_provenance_mut(span.start.get() as usize);
                // SAFETY: the caller's, and nothing in it is in use.
                unsafe { place.write_bytes(0, span.bytes() as usize) };
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

    unsafe fn populate_huge(&self, range: Range) -> bool {
        let span = Span::new(
            VirtAddr::new(range.start.next_multiple_of(HUGE_BYTES) as u64),
            VirtAddr::new((range.end & !(HUGE_BYTES - 1)) as u64),
        );
        if !self.has_huge_pages() || span.is_empty() {
            return false;
        }
        // What is there already came by faults of its own.
        self.settle(span);
        let (start, bytes) = (at(range.start), range.bytes() as u64);
        if self.enter().madvise(self.pid, start, bytes, Advice::HugePage).is_err() {
            return false;
        }
        for block in (span.start.get()..span.end.get()).step_by(HUGE_BYTES) {
            let touched =
                self.kernel.borrow_mut().touch(self.pid, VirtAddr::new(block), Access::Write);
            if let Err(error) = touched {
                self.ended.set(self.ended.get().or(Some(error)));
                return false;
            }
        }
        // The mark goes again, as on Linux.
        let _ = self.enter().madvise(self.pid, start, bytes, Advice::NoHugePage);
        true
    }

    fn resident(&self, page: usize) -> bool {
        if !self.has_huge_pages() {
            return false;
        }
        let page = Span::page_of(at(page));
        self.settle(page);
        let mut kernel = self.kernel.borrow_mut();
        let price = kernel.prices.system_call;
        kernel.pass_ns(price);
        kernel.mapped(self.pid, page.start).is_some()
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
        let last = self.ran_ns.borrow().get(thread_id as usize).copied().unwrap_or(0);
        let since = self.kernel.borrow().now_ns() - last;
        thread_id != self.thread.get() && since >= self.asleep_ns.get()
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
