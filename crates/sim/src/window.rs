//! A stretch of the host's address space in which a simulated program's addresses are real.
//!
//! ```text
//!   window  │ nothing │ frame │ nothing │ frame, read-only │ …    loads and stores go through,
//!                                                                 or the host says SIGSEGV
//! ```
//! What is mapped here is to the simulated kernel what a TLB is to a real one: it
//! may forget anything at any time, and must forget what it is told to.

use crate::ram::Ram;
use heapwise_pages::{PAGE_SIZE, Pfn};
use heapwise_vm::{Span, VirtAddr};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Address space of a window.
pub const WINDOW_BYTES: u64 = 64 << 30;
/// The first place; others follow. Far from what the host itself uses.
const FIRST_PLACE: usize = 0x2000_0000_0000;
const PLACES: usize = 64;
/// Pages mapped at once: each may cost the host a mapping of its own, of which it has 65,530.
const MOST_MAPPED: usize = 30_000;

static TAKEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// What the host does behind the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// The simulated frames themselves: every first touch of a page is a fault.
    Frames,
    /// Memory of the host's own wherever the program has mapped something: fast, and
    /// the simulated page table learns afterwards what was touched.
    Memory,
}

/// The stretch.
#[derive(Debug)]
pub struct Window {
    place: usize,
    behind: Behind,
    mapped: Cell<usize>,
    /// Which address space it shows.
    owner: Cell<u32>,
}

impl Window {
    /// Reserves one, at the first free place: a program alone gets the same addresses
    /// each time. O(1).
    ///
    /// # Errors
    /// The host has no such address space.
    pub fn new(behind: Behind) -> io::Result<Self> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        for place in 0..PLACES {
            if taken.contains(&place) {
                continue;
            }
            let base = FIRST_PLACE + place * WINDOW_BYTES as usize;
            if map_nothing(base, WINDOW_BYTES as usize, libc::MAP_FIXED_NOREPLACE) == base {
                taken.insert(place);
                let window = Self { place, behind, mapped: Cell::new(0), owner: Cell::new(0) };
                window.small_pages(window.span());
                return Ok(window);
            }
        }
        Err(io::Error::other("no room for a simulated address space in this process"))
    }

    /// Its addresses.
    #[must_use]
    pub fn span(&self) -> Span {
        let base = FIRST_PLACE as u64 + self.place as u64 * WINDOW_BYTES;
        Span::at(VirtAddr::new(base), WINDOW_BYTES)
    }

    /// What is behind it.
    #[must_use]
    pub const fn behind(&self) -> Behind {
        self.behind
    }

    /// Shows this address space from now on; forgets the one before.
    /// One system call of the host.
    pub fn show(&self, owner: u32) {
        if self.owner.replace(owner) != owner && self.behind == Behind::Frames {
            self.nothing(self.span());
            self.mapped.set(0);
        }
    }

    /// Whether it shows this address space.
    #[must_use]
    pub fn shows(&self, owner: u32) -> bool {
        self.owner.get() == owner
    }

    /// Maps a frame. One system call of the host.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn fill(&self, ram: &Ram, page: VirtAddr, pfn: Pfn, writable: bool) {
        let at = Span::page_of(page);
        assert!(self.span().contains(page), "{page:x} is not in the window");
        if self.mapped.get() >= MOST_MAPPED {
            self.nothing(self.span());
            self.mapped.set(0);
        }
        let prot = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let offset = i64::from(pfn.get()) * PAGE_SIZE as i64;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: a page of this window, which is ours alone; a frame of the memory file.
        let result = unsafe {
            libc::mmap(address(at.start), PAGE_SIZE as usize, prot, flags, ram.file(), offset)
        };
        assert_ne!(result, libc::MAP_FAILED, "the host refuses {page:x}");
        self.mapped.set(self.mapped.get() + 1);
    }

    /// Forgets a range (live backing). One system call of the host.
    pub fn forget(&self, span: Span) {
        let span = span.clip(self.span());
        if self.behind == Behind::Frames && !span.is_empty() {
            self.nothing(span);
        }
    }

    /// Makes a range memory, or nothing (fast backing). One system call of the host.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn open(&self, span: Span, readable: bool, writable: bool) {
        let span = span.clip(self.span());
        if span.is_empty() {
            return;
        }
        let prot = if readable { libc::PROT_READ } else { libc::PROT_NONE }
            | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: pages of this window.
        let result = unsafe { libc::mprotect(address(span.start), span.bytes() as usize, prot) };
        assert_eq!(result, 0, "the host refuses {span:?}");
    }

    /// Takes a range's memory away: closed, and zeros when opened again (fast backing).
    /// One system call of the host.
    pub fn close(&self, span: Span) {
        let span = span.clip(self.span());
        if !span.is_empty() {
            self.nothing(span);
        }
    }

    /// Zeros an open range by giving its pages back (fast backing).
    /// One system call of the host.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn wipe(&self, span: Span) {
        let span = span.clip(self.span());
        if span.is_empty() {
            return;
        }
        let (at, bytes) = (address(span.start), span.bytes() as usize);
        // SAFETY: pages of this window.
        let result = unsafe { libc::madvise(at, bytes, libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "the host refuses {span:?}");
    }

    /// Moves the memory of a range (fast backing); what it leaves is closed.
    /// One system call of the host.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn carry(&self, from: Span, to: VirtAddr) {
        let bytes = from.bytes() as usize;
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: both ranges are of this window, and do not overlap.
        let result = unsafe { libc::mremap(address(from.start), bytes, bytes, how, address(to)) };
        assert_ne!(result, libc::MAP_FAILED, "the host refuses to move {from:?}");
        self.nothing(from);
    }

    /// Pages of a range with host memory behind them, from the lowest up (fast backing).
    /// O(pages).
    #[must_use]
    pub fn touched(&self, span: Span) -> Vec<VirtAddr> {
        let pages = span.pages() as usize;
        let mut map = vec![0_u8; pages];
        let bytes = span.bytes() as usize;
        // SAFETY: one byte a page to write to.
        if unsafe { libc::mincore(address(span.start), bytes, map.as_mut_ptr()) } != 0 {
            return Vec::new();
        }
        let resident = map.iter().enumerate().filter(|(_, byte)| **byte & 1 == 1);
        resident.map(|(nth, _)| span.start.up(nth as u64 * PAGE_SIZE)).collect()
    }

    fn nothing(&self, span: Span) {
        let base = span.start.get() as usize;
        let result = map_nothing(base, span.bytes() as usize, libc::MAP_FIXED);
        assert_eq!(result, base, "the host refuses {span:?}");
        self.small_pages(span);
    }

    /// What is touched is told page by page (fast backing): no huge pages of the host's.
    fn small_pages(&self, span: Span) {
        if self.behind == Behind::Memory {
            // SAFETY: advice on pages of this window; a host without huge pages refuses it.
            unsafe {
                libc::madvise(address(span.start), span.bytes() as usize, libc::MADV_NOHUGEPAGE)
            };
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the whole reservation; its program is gone.
        unsafe { libc::munmap(address(self.span().start), WINDOW_BYTES as usize) };
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

fn address(at: VirtAddr) -> *mut libc::c_void {
    std::ptr::with_exposed_provenance_mut(at.get() as usize)
}

fn map_nothing(base: usize, bytes: usize, how: i32) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | how;
    let at = std::ptr::with_exposed_provenance_mut(base);
    // SAFETY: a free range (NOREPLACE), or pages of a reservation of ours (FIXED).
    unsafe { libc::mmap(at, bytes, libc::PROT_NONE, flags, -1, 0) }.expose_provenance()
}
