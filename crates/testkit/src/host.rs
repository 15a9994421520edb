//! Real pages behind the simulated kernel: one reservation of the host a world.
//!
//! Reservations stand at fixed addresses: at the place that is asked for, or the
//! next free one, so that a seed sees the same addresses each time.

use heapwise_malloc::os::Span;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Address space of one world.
pub const WORLD_BYTES: usize = 64 << 30;
/// Where the first world stands: far from what the host itself uses.
const FIRST_BASE: usize = 0x1000_0000_0000;
/// Most worlds at once.
const WORLDS: usize = 256;

static TAKEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

fn taken() -> MutexGuard<'static, BTreeSet<usize>> {
    // A failed test poisons the lock, the set is whole all the same.
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stretch of the host's address space, without memory until asked for.
#[derive(Debug)]
pub struct Host {
    base: usize,
}

impl Host {
    /// Reserves [`WORLD_BYTES`] at one of 256 places, `place` if it is free.
    ///
    /// # Panics
    /// If the host gives no address space.
    #[must_use]
    pub fn new(place: usize) -> Self {
        let mut taken = taken();
        for index in (0..WORLDS).map(|i| (place + i) % WORLDS) {
            if !taken.insert(index) {
                continue;
            }
            let base = FIRST_BASE + index * WORLD_BYTES;
            if map_nothing(base, WORLD_BYTES, libc::MAP_FIXED_NOREPLACE) == base {
                return Self { base };
            }
            // Somebody else's mapping: the next place.
        }
        panic!("the host has no room for one more world");
    }

    /// The reservation.
    #[must_use]
    pub const fn span(&self) -> Span {
        Span::new(self.base, self.base + WORLD_BYTES)
    }

    /// Makes pages readable and writable; they are zero.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn open(&self, span: Span) {
        self.assert_inside(span);
        // SAFETY: pages of this reservation, which is ours alone.
        let result = unsafe {
            libc::mprotect(address(span.start), span.bytes(), libc::PROT_READ | libc::PROT_WRITE)
        };
        assert_eq!(result, 0, "the host refuses {span:x?}");
    }

    /// Takes pages away: touching them ends the test, reopened they are zero.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn close(&self, span: Span) {
        self.assert_inside(span);
        let base = map_nothing(span.start, span.bytes(), libc::MAP_FIXED);
        assert_eq!(base, span.start, "the host refuses {span:x?}");
    }

    /// Zeroes open pages by giving them back.
    ///
    /// # Panics
    /// If the host refuses.
    pub fn purge(&self, span: Span) {
        self.assert_inside(span);
        // SAFETY: pages of this reservation.
        let result =
            unsafe { libc::madvise(address(span.start), span.bytes(), libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "the host refuses {span:x?}");
    }

    /// Zeroes open pages by writing, as a kernel that will not give them back.
    pub fn wipe(&self, span: Span) {
        self.assert_inside(span);
        // SAFETY: open pages of this reservation.
        unsafe { address::<u8>(span.start).write_bytes(0, span.bytes()) };
    }

    /// Copies bytes between open pages.
    pub fn copy(&self, from: usize, to: usize, bytes: usize) {
        self.assert_inside(Span::new(from, from + bytes));
        self.assert_inside(Span::new(to, to + bytes));
        // SAFETY: open pages of this reservation.
        unsafe { std::ptr::copy_nonoverlapping(address::<u8>(from), address(to), bytes) };
    }

    fn assert_inside(&self, span: Span) {
        let all = self.span();
        assert!(all.start <= span.start && span.end <= all.end, "{span:x?} is not in this world");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: the whole reservation; the world is gone.
        unsafe { libc::munmap(address(self.base), WORLD_BYTES) };
        taken().remove(&((self.base - FIRST_BASE) / WORLD_BYTES));
    }
}

/// The pages of `span` (whole host pages) that have memory behind them, as spans.
#[must_use]
pub fn resident(span: Span) -> Vec<Span> {
    const PAGE: usize = 4096;
    let first = span.start & !(PAGE - 1);
    let pages = (span.end - first).div_ceil(PAGE);
    let mut map = vec![0u8; pages];
    // SAFETY: a byte a page to write to; an unmapped range only gives an error.
    if unsafe { libc::mincore(address(first), pages * PAGE, map.as_mut_ptr()) } != 0 {
        return vec![span];
    }
    let mut spans: Vec<Span> = Vec::new();
    for (index, _) in map.iter().enumerate().filter(|(_, byte)| *byte & 1 == 1) {
        let start = first + index * PAGE;
        match spans.last_mut() {
            Some(last) if last.end == start => last.end += PAGE,
            _ => spans.push(Span::new(start, start + PAGE)),
        }
    }
    spans.iter().map(|s| s.overlap(span)).collect()
}

/// Bytes of `span` that have memory behind them.
#[must_use]
pub fn resident_bytes(span: Span) -> usize {
    resident(span).iter().map(|s| s.bytes()).sum()
}

/// A pointer to `address`.
#[must_use]
pub fn address<T>(address: usize) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address)
}

fn map_nothing(base: usize, bytes: usize, how: i32) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | how;
    // SAFETY: a free range (NOREPLACE), or pages of a reservation of ours (FIXED).
    unsafe { libc::mmap(address(base), bytes, libc::PROT_NONE, flags, -1, 0) }.expose_provenance()
}
