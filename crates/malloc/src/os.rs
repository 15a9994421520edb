//! What the allocator asks of its platform: the one interface below it.
//!
//! Real Linux implements it ([`crate::linux`]), so does the in-memory kernel of
//! the tests. Invariant: no method allocates from this allocator and none
//! touches errno.

use core::sync::atomic::AtomicU32;
use heapwise_layout::record::KernelOp;

/// A range of addresses, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First address.
    pub start: usize,
    /// Address behind the last.
    pub end: usize,
}

impl Span {
    /// The range `start..end`, empty if `end < start`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.end - self.start
    }

    /// What both ranges cover.
    #[must_use]
    pub fn overlap(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// A call to the kernel that was made, for whoever records them.
#[derive(Clone, Copy, Debug)]
pub struct KernelNote {
    /// Which.
    pub op: KernelOp,
    /// Where; for brk the old break.
    pub address: usize,
    /// How much; for brk by how much it moved.
    pub bytes: isize,
    /// mremap: where it went.
    pub new_address: usize,
    /// mremap: how much it is now.
    pub new_bytes: usize,
    /// Whether the kernel refused.
    pub failed: bool,
}

/// The kernel, the clock and the threads below the allocator.
///
/// # Safety
/// The memory handed out must be exclusively the caller's, readable and
/// writable (after [`Os::commit`] for reserved memory), zeroed, and stay so
/// until given back through this trait.
pub unsafe trait Os: Sync {
    /// Bytes of a page, a power of two.
    fn page_bytes(&self) -> usize;

    /// Moves the program break by `delta` bytes; the old break, or `None` if it did not move.
    fn sbrk(&self, delta: isize) -> Option<usize>;

    /// Maps `bytes` (whole pages) of zeroed memory.
    fn map(&self, bytes: usize) -> Option<usize>;

    /// Reserves `bytes` of address space without memory behind it.
    fn reserve(&self, bytes: usize) -> Option<usize>;

    /// Makes reserved pages usable.
    ///
    /// # Safety
    /// The range lies in one reservation of this caller.
    unsafe fn commit(&self, range: Span) -> bool;

    /// Gives a mapping, or whole pages of one, back for good.
    ///
    /// # Safety
    /// The range is the caller's and nothing in it is in use.
    unsafe fn unmap(&self, range: Span) -> bool;

    /// Grows, shrinks or moves a mapping, contents kept; its new address.
    ///
    /// # Safety
    /// `old` is a whole mapping of the caller; on success it is gone.
    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize>;

    /// Gives the pages of `ranges` back but keeps the addresses: they read as zero afterwards,
    /// also where the kernel refused. Then it returns false.
    ///
    /// # Safety
    /// Nothing in the ranges is in use.
    unsafe fn purge(&self, ranges: &[Span]) -> bool;

    /// Asks for huge pages behind a mapping; the kernel may ignore it.
    fn advise_huge(&self, range: Span);

    /// Puts huge pages behind the whole aligned blocks of 2 MiB in a range; false if there
    /// are none. What the range holds stays.
    ///
    /// # Safety
    /// The range is the caller's, whole pages, mapped, and nobody writes to it meanwhile.
    unsafe fn populate_huge(&self, _range: Span) -> bool {
        false
    }

    /// Whether the page at `page`, a mapped one of the caller's, has memory.
    fn resident(&self, _page: usize) -> bool {
        false
    }

    /// A monotonic clock, ns. Coarse is enough.
    fn now_ns(&self) -> u64;

    /// Cores that this process may use: affinity ∩ cgroup quota, at least 1.
    fn usable_cores(&self) -> usize;

    /// Whether this process may map only so much address space, used or not.
    fn address_space_limited(&self) -> bool {
        false
    }

    /// A secret.
    fn random(&self) -> u64;

    /// The calling thread, as [`Os::parked`] knows it.
    fn thread_id(&self) -> u32;

    /// The calling thread has a cache now: see to it that it gives it back when it ends.
    fn thread_attached(&self);

    /// Whether that thread is blocked in a system call right now, not in a page fault
    /// and not in a handler that interrupted a fast path. False if in doubt.
    fn parked(&self, thread_id: u32) -> bool;

    /// Sleeps while `word` holds `value`; may wake for no reason.
    fn wait(&self, word: &AtomicU32, value: u32);

    /// Wakes one sleeper on `word`.
    fn wake(&self, word: &AtomicU32);

    /// Lets other threads run for about a millisecond, where there are any.
    fn pause(&self) {}

    /// Asks for the idle helper, which calls [`crate::Allocator::tick`] until that returns false.
    /// False if there can be none.
    fn start_helper(&self) -> bool;

    /// Writes what the kernel knows of this process (RSS, faults, time) into its record.
    fn sample(&self, record: &heapwise_layout::report::ProcessRecord);

    /// A call to the kernel was made; the arena's lock may be held.
    fn note_kernel_call(&self, _: KernelNote) {}

    /// A block that a profile watches is freed, or one that may be watched.
    fn note_sampled_free(&self, _: usize) {}

    /// A block that a profile watches has another size now, in the room that it had.
    fn note_sampled_resize(&self, _pointer: usize, _request: usize) {}

    /// Joins the recording whose memory the process `pid` has open as `descriptor`; false if
    /// that cannot be.
    fn join_recording(&self, _pid: u32, _descriptor: u32) -> bool {
        false
    }

    /// One line on stderr, then abort.
    fn fatal(&self, line: &str) -> !;
}
