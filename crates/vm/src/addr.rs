//! User addresses, and ranges of them in whole pages.
//!
//! ```text
//!   VirtAddr   63 … 48 │ 47 … 39 │ 38 … 30 │ 29 … 21 │ 20 … 12 │ 11 … 0
//!              sign      level 4   level 3   level 2   level 1   in the page
//!   Span       [start, end), both multiples of 4096
//! ```

use core::fmt;
use heapwise_pages::{PAGE_SHIFT, PAGE_SIZE, Virt};

/// Bytes of a huge page, to which large anonymous mappings are aligned.
pub const HUGE_SIZE: u64 = PAGE_SIZE << 9;

/// A virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// Address 0.
    pub const NULL: Self = Self(0);

    /// The address of this number.
    #[inline]
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether a page starts here.
    #[inline]
    pub const fn is_page(self) -> bool {
        self.0 & (PAGE_SIZE - 1) == 0
    }

    /// The start of its page.
    #[inline]
    pub const fn page(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }

    /// The number of its page.
    #[inline]
    pub const fn page_number(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }

    /// So many bytes further up; stops at the end of the address space.
    #[inline]
    pub const fn up(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// So many bytes further down; stops at 0.
    #[inline]
    pub const fn down(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }

    /// Bytes from `other` up to here; 0 if that lies above.
    #[inline]
    pub const fn since(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl From<Virt> for VirtAddr {
    fn from(kernel: Virt) -> Self {
        Self(kernel.0)
    }
}

impl From<VirtAddr> for Virt {
    fn from(address: VirtAddr) -> Self {
        Self(address.0)
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// Rounds up to whole pages; wraps to 0 at the end of the address space, as
/// Linux's `PAGE_ALIGN` does and its checks expect.
#[inline]
pub const fn page_align(bytes: u64) -> u64 {
    bytes.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}

/// Whole pages from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: VirtAddr,
    /// The byte after the last.
    pub end: VirtAddr,
}

impl Span {
    /// From `start` up to `end`.
    #[inline]
    pub const fn new(start: VirtAddr, end: VirtAddr) -> Self {
        Self { start, end }
    }

    /// `bytes` from `start` on.
    #[inline]
    pub const fn at(start: VirtAddr, bytes: u64) -> Self {
        Self { start, end: start.up(bytes) }
    }

    /// The one page that holds an address.
    #[inline]
    pub const fn page_of(address: VirtAddr) -> Self {
        Self::at(address.page(), PAGE_SIZE)
    }

    /// Its bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self.end.since(self.start)
    }

    /// Its pages.
    #[inline]
    pub const fn pages(self) -> u64 {
        self.bytes() >> PAGE_SHIFT
    }

    /// Whether nothing lies in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.start.0 >= self.end.0
    }

    /// Whether an address lies in it.
    #[inline]
    pub const fn contains(self, address: VirtAddr) -> bool {
        self.start.0 <= address.0 && address.0 < self.end.0
    }

    /// Whether the two share a byte.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// What the two share; may be empty.
    #[inline]
    pub fn clip(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.start.0, self.end.0)
    }
}
