//! The simulated kernel below the allocator: it gives memory out of one reservation of ours,
//! counts calls and faults, prices them, and knows what is resident.
//!
//! ```text
//! reservation, 4 TiB of address space
//! ┌───────────────────────────┬──────────────────────────────────────────────┐
//! │ the break, up from below  │             mappings, down from above        │
//! └───────────────────────────┴──────────────────────────────────────────────┘
//! ```
//! The pages behind it are real, so the allocator's own stores count as they
//! would: a page is resident from the first store on. Whoever gives pages back
//! has them looked up (`mincore`) and dropped. Huge pages are off, so what is
//! resident depends on the stores alone; those that the allocator asks for are granted, all their
//! pages at once for the price of a huge one.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use heapwise_malloc::os::{Os, Span};

use super::space::Space;
use crate::figures::Figures;
use crate::script::{Calls, Op, Step};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of a huge page.
const HUGE_BYTES: usize = 2 << 20;
const SPACE_BYTES: usize = 4 << 40;
/// Where it begins: what the allocator does may depend on the place in its own heaps' alignment.
const ALIGN_BYTES: usize = 1 << 30;
/// Half for the break, half for mappings.
const BREAK_BYTES: usize = SPACE_BYTES / 2;
/// Room to align it in.
const MAPPING_BYTES: usize = SPACE_BYTES + ALIGN_BYTES;
/// The high-water mark is looked up again once so much of it may have been added: the
/// mark is exact to a five-hundredth.
const PEAK_PART: usize = 512;
/// And not before so much.
const PEAK_MIN_BYTES: usize = 256 << 10;
/// A thread counts as asleep when it has done nothing for so long.
const ASLEEP_NS: u64 = 100_000_000;

/// What things cost, ns. Measured on a virtual machine of two cores, Linux 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// Into the kernel and back.
    pub call_ns: u64,
    /// A page fault: the page is cleared and mapped.
    pub fault_ns: u64,
    /// A page that is given back.
    pub give_back_ns: u64,
    /// A step of the program that stays out of the kernel.
    pub step_ns: u64,
    /// A KiB that the program writes.
    pub write_ns_a_kib: u64,
    /// A huge page that is asked for.
    pub huge_ns: u64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            call_ns: 700,
            fault_ns: 700,
            give_back_ns: 120,
            step_ns: 40,
            write_ns_a_kib: 60,
            huge_ns: 110_000,
        }
    }
}

/// The kernel.
pub struct SimOs {
    mapping: usize,
    base: usize,
    cores: usize,
    prices: Prices,
    brk: Cell<usize>,
    space: RefCell<Space>,
    calls: Cell<Calls>,
    clock_ns: Cell<u64>,
    kernel_ns: Cell<u64>,
    thread: Cell<u16>,
    /// When each thread did something last.
    seen_ns: RefCell<Vec<u64>>,
    helper: Cell<bool>,
    /// Huge pages granted.
    huge: Cell<usize>,
    /// Pages given back that were resident.
    given_back: Cell<usize>,
    peak: Cell<usize>,
    /// Bytes that may have become resident since the peak was looked up.
    unseen: Cell<usize>,
}

// SAFETY: one thread plays all: the simulation never shares it.
unsafe impl Sync for SimOs {}

impl SimOs {
    /// A kernel that has given nothing out; `None` if the host has no address space.
    pub fn new(cores: usize, prices: Prices) -> Option<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping where the kernel likes.
        let mapping =
            unsafe { libc::mmap(std::ptr::null_mut(), MAPPING_BYTES, access, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: advice on the fresh mapping.
        unsafe { libc::madvise(mapping, MAPPING_BYTES, libc::MADV_NOHUGEPAGE) };
        let mapping = mapping.expose_provenance();
        let base = mapping.next_multiple_of(ALIGN_BYTES);
        Some(Self {
            mapping,
            base,
            cores,
            prices,
            brk: Cell::new(base + PAGE_BYTES),
            space: RefCell::new(Space::new(base + BREAK_BYTES, base + SPACE_BYTES - PAGE_BYTES)),
            calls: Cell::default(),
            clock_ns: Cell::new(1),
            kernel_ns: Cell::new(0),
            thread: Cell::new(0),
            seen_ns: RefCell::new(Vec::new()),
            helper: Cell::new(false),
            huge: Cell::new(0),
            given_back: Cell::new(0),
            peak: Cell::new(0),
            unseen: Cell::new(0),
        })
    }

    /// Thread `thread` runs from now on.
    pub fn enter(&self, thread: u16) {
        self.thread.set(thread);
        let mut seen = self.seen_ns.borrow_mut();
        let index = usize::from(thread);
        if seen.len() <= index {
            seen.resize(index + 1, 0);
        }
        seen[index] = self.clock_ns.get();
    }

    /// Nanoseconds since the beginning.
    pub fn clock(&self) -> u64 {
        self.clock_ns.get()
    }

    /// It is `ns`; never earlier than before.
    pub fn set_clock(&self, ns: u64) {
        self.clock_ns.set(self.clock_ns.get().max(ns));
    }

    /// A step of the program has been done.
    pub fn pass_step(&self, step: &Step) {
        let written = match step.op {
            Op::Malloc | Op::Calloc | Op::Aligned | Op::Realloc => step.size >> 10,
            Op::Free => 0,
            _ => return,
        };
        self.pass(self.prices.step_ns + written * self.prices.write_ns_a_kib);
    }

    fn pass(&self, ns: u64) {
        self.clock_ns.set(self.clock_ns.get() + ns);
    }

    /// Whether the idle helper runs.
    pub fn helper_runs(&self) -> bool {
        self.helper.get()
    }

    /// Whether it goes on.
    pub fn keep_helper(&self, goes_on: bool) {
        self.helper.set(goes_on);
    }

    /// The program has written `bytes` somewhere: pages may have become resident.
    pub fn touched(&self, bytes: usize) {
        self.unseen.set(self.unseen.get() + bytes + PAGE_BYTES);
    }

    /// What is resident now.
    pub fn resident_bytes(&self) -> usize {
        let mut bytes = resident(self.base, self.page_up(self.brk.get()));
        for (start, end) in self.space.borrow().areas() {
            bytes += resident(start, end);
        }
        self.peak.set(self.peak.get().max(bytes));
        self.unseen.set(0);
        bytes
    }

    /// Calls, faults, prices, and the peak.
    pub fn figures(&self) -> Figures {
        // Of a huge page's pages one is a fault.
        let granted = self.huge.get() * (HUGE_BYTES / PAGE_BYTES - 1);
        let pages = self.resident_bytes() / PAGE_BYTES + self.given_back.get();
        let faults = pages.saturating_sub(granted) as u64;
        Figures {
            wall_ns: self.clock_ns.get(),
            system_ns: self.kernel_ns.get() + faults * self.prices.fault_ns,
            rss_peak_bytes: self.peak.get() as u64,
            faults,
            calls: Some(self.calls.get()),
            ..Figures::default()
        }
    }

    fn page_up(&self, address: usize) -> usize {
        address.next_multiple_of(PAGE_BYTES)
    }

    fn call(&self, count: impl FnOnce(&mut Calls)) {
        let mut calls = self.calls.get();
        count(&mut calls);
        self.calls.set(calls);
        self.charge(self.prices.call_ns);
    }

    fn charge(&self, ns: u64) {
        self.kernel_ns.set(self.kernel_ns.get() + ns);
        self.pass(ns);
    }

    /// The pages of a range go back and read as zero from now on.
    fn drop_pages(&self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let unseen = self.unseen.get();
        if unseen >= PEAK_MIN_BYTES && unseen >= self.peak.get() / PEAK_PART {
            // Now is the most that there has been since the last look.
            self.resident_bytes();
        }
        let pages = resident(start, end) / PAGE_BYTES;
        // SAFETY: pages of our reservation that the allocator gives back.
        unsafe { libc::madvise(at(start), end - start, libc::MADV_DONTNEED) };
        self.given_back.set(self.given_back.get() + pages);
        self.charge(pages as u64 * self.prices.give_back_ns);
    }
}

impl Drop for SimOs {
    fn drop(&mut self) {
        // SAFETY: the whole reservation; the allocator over it is gone.
        unsafe { libc::munmap(at(self.mapping), MAPPING_BYTES) };
    }
}

// SAFETY: memory is pages of our reservation, given to one caller each (the break's half by the
// break, the other by the space), zero since they are fresh or were dropped.
unsafe impl Os for SimOs {
    fn page_bytes(&self) -> usize {
        PAGE_BYTES
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        let old = self.brk.get();
        if delta == 0 {
            return Some(old);
        }
        self.call(|calls| calls.brk += 1);
        let new = old.checked_add_signed(delta)?;
        if new > self.base + BREAK_BYTES - PAGE_BYTES || new < self.base + PAGE_BYTES {
            return None;
        }
        if new < old {
            self.drop_pages(self.page_up(new), self.page_up(old));
        }
        self.brk.set(new);
        Some(old)
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        self.call(|calls| calls.mmap += 1);
        self.space.borrow_mut().place(bytes)
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        self.map(bytes)
    }

    unsafe fn commit(&self, _: Span) -> bool {
        self.call(|calls| calls.mprotect += 1);
        true
    }

    unsafe fn unmap(&self, range: Span) -> bool {
        self.call(|calls| calls.munmap += 1);
        self.drop_pages(range.start, range.end);
        self.space.borrow_mut().remove(range.start, range.end);
        true
    }

    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        self.call(|calls| calls.mremap += 1);
        let end = old.start + new_bytes;
        if self.space.borrow_mut().stretch(old.start, old.end, end) {
            self.drop_pages(end, old.end);
            return Some(old.start);
        }
        let start = self.space.borrow_mut().place(new_bytes)?;
        // Pages move with the mapping at no cost worth a price; here they are copied where
        // they are resident, and the old ones dropped without being counted as given back.
        for page in (old.start..old.end).step_by(PAGE_BYTES) {
            if resident(page, page + PAGE_BYTES) > 0 {
                // SAFETY: both pages are in mappings of the reservation and do not overlap.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        at::<u8>(page),
                        at::<u8>(start + (page - old.start)),
                        PAGE_BYTES,
                    );
                }
            }
        }
        // SAFETY: pages of our reservation, moved away.
        unsafe { libc::madvise(at(old.start), old.bytes(), libc::MADV_DONTNEED) };
        self.space.borrow_mut().remove(old.start, old.end);
        Some(start)
    }

    unsafe fn purge(&self, ranges: &[Span]) -> bool {
        // One process_madvise for all, as under Linux.
        self.call(|calls| calls.madvise += 1);
        for range in ranges {
            self.drop_pages(range.start, range.end);
        }
        true
    }

    fn advise_huge(&self, _: Span) {
        self.call(|calls| calls.madvise += 1);
    }

    unsafe fn populate_huge(&self, range: Span) -> bool {
        self.call(|calls| calls.madvise += 1);
        self.charge(self.prices.huge_ns);
        for page in (range.start..range.end).step_by(PAGE_BYTES) {
            // SAFETY: the caller's pages, zero and in nobody's use. Volatile: nobody reads it.
            unsafe { at::<u8>(page).write_volatile(0) };
        }
        self.huge.set(self.huge.get() + range.bytes() / HUGE_BYTES);
        self.touched(range.bytes());
        true
    }

    fn resident(&self, page: usize) -> bool {
        self.charge(self.prices.call_ns);
        resident(page, page + PAGE_BYTES) > 0
    }

    fn now_ns(&self) -> u64 {
        self.clock_ns.get()
    }

    fn usable_cores(&self) -> usize {
        self.cores
    }

    fn random(&self) -> u64 {
        0x9e37_79b9_7f4a_7c15
    }

    fn thread_id(&self) -> u32 {
        u32::from(self.thread.get()) + 1
    }

    fn thread_attached(&self) {}

    fn parked(&self, thread_id: u32) -> bool {
        let seen = self.seen_ns.borrow();
        let last = thread_id.checked_sub(1).and_then(|index| seen.get(index as usize));
        last.is_some_and(|&last| self.clock_ns.get() - last >= ASLEEP_NS)
    }

    fn wait(&self, word: &AtomicU32, value: u32) {
        // One thread plays all: nobody would ever wake this one.
        assert_ne!(word.load(SeqCst), value, "the allocator waits for a lock that nobody holds");
    }

    fn wake(&self, _: &AtomicU32) {}

    fn start_helper(&self) -> bool {
        self.helper.set(true);
        true
    }

    fn sample(&self, _: &heapwise_layout::report::ProcessRecord) {}

    fn fatal(&self, line: &str) -> ! {
        panic!("the allocator ends the simulated program: {line}")
    }
}

/// Bytes of a range of whole pages that have memory behind them.
fn resident(start: usize, end: usize) -> usize {
    const CHUNK: usize = 4096 * PAGE_BYTES;
    let mut map = [0u8; 4096];
    let mut pages = 0;
    for from in (start..end).step_by(CHUNK) {
        let bytes = CHUNK.min(end - from);
        // SAFETY: a byte a page to write to; the range is part of the reservation.
        if unsafe { libc::mincore(at(from), bytes, map.as_mut_ptr()) } == 0 {
            let told = &map[..bytes.div_ceil(PAGE_BYTES)];
            pages += told.iter().filter(|&&page| page & 1 == 1).count();
        }
    }
    pages * PAGE_BYTES
}

/// A pointer to `address`.
pub fn at<T>(address: usize) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address)
}
