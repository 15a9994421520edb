//! What the processor walks: one page table, as a trait.
//!
//! ```text
//!   Mm ─┐                       ┌─ SoftTable: a radix tree in lent memory
//!       ├─► trait PageTable ◄───┤
//!   vmalloc                     └─ yours: x86-64 in frames, a hypervisor's second stage
//! ```
//! The bits that no processor knows ([`EntryBits::ZERO`] to [`EntryBits::LAZY`])
//! fit in those that x86-64 (9–11, 52–58) and AArch64 (55–58) leave to software.

use crate::addr::{Span, VirtAddr};
use crate::flags::{Access, Prot};
use core::fmt;
use heapwise_pages::Pfn;

/// Which accesses an entry lets pass, and what its frame is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct EntryBits(u16);

impl EntryBits {
    /// Loads pass.
    pub const READ: Self = Self(1);
    /// Stores pass.
    pub const WRITE: Self = Self(2);
    /// Fetches pass.
    pub const EXEC: Self = Self(4);
    /// Loaded, stored or fetched through since the bit was cleared.
    pub const ACCESSED: Self = Self(8);
    /// Stored through since the bit was cleared.
    pub const DIRTY: Self = Self(16);
    /// The one shared page of zeros: nobody's memory, not counted.
    pub const ZERO: Self = Self(32);
    /// A private copy, counted as anonymous memory.
    pub const ANON: Self = Self(64);
    /// A page of shared memory, counted so; without it and ANON, of a file.
    pub const SHMEM: Self = Self(128);
    /// May go when memory is short (`MADV_FREE`), unless it is dirty again.
    pub const LAZY: Self = Self(256);

    /// These very bits.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// As a number.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The access bits of a protection. As on x86, whatever allows a store or a
    /// fetch allows a load.
    #[inline]
    pub const fn of_prot(prot: Prot) -> Self {
        let bits = (prot.bits() & 7) as u16;
        Self(if bits == 0 { 0 } else { bits | 1 })
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// With these access bits in place of its own.
    #[inline]
    pub const fn allowing(self, prot: Prot) -> Self {
        Self((self.0 & !7) | Self::of_prot(prot).0)
    }
}

impl fmt::Debug for EntryBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in "rwxadzasl".chars().enumerate() {
            write!(f, "{}", if self.0 >> bit & 1 != 0 { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// What stands for one page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Its frame.
    pub pfn: Pfn,
    /// What passes, and what the frame is.
    pub bits: EntryBits,
}

impl Entry {
    /// Whether an access goes through without a fault.
    #[inline]
    pub const fn allows(self, access: Access) -> bool {
        self.bits.has(match access {
            Access::Read => EntryBits::READ,
            Access::Write => EntryBits::WRITE,
            Access::Execute => EntryBits::EXEC,
        })
    }

    /// With these bits in place of its own.
    #[inline]
    pub const fn with_bits(self, bits: EntryBits) -> Self {
        Self { bits, ..self }
    }
}

/// No memory for another table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfTables;

impl fmt::Display for OutOfTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for another page table")
    }
}
impl core::error::Error for OutOfTables {}

/// One address space's page table.
///
/// Addresses are page starts. Costs are those of [`SoftTable`](crate::SoftTable);
/// a table of yours should do as well.
pub trait PageTable {
    /// The entry of a page. O(levels).
    fn get(&self, at: VirtAddr) -> Option<Entry>;

    /// Writes the entry of a page. O(levels).
    ///
    /// [`OutOfTables`] if a table was missing and there is no memory for it, or the
    /// address is beyond what the table covers; never where an entry stands already.
    fn set(&mut self, at: VirtAddr, entry: Entry) -> Result<(), OutOfTables>;

    /// Takes the entry of a page away; the tables above it stay. O(levels).
    fn clear(&mut self, at: VirtAddr) -> Option<Entry>;

    /// The first page with an entry in a span. O(levels + tables skipped).
    fn first(&self, span: Span) -> Option<(VirtAddr, Entry)>;

    /// Gives back tables under a span that hold nothing any more. O(tables).
    fn prune(&mut self, span: Span);

    /// Makes every processor forget what it remembers of a span: called after
    /// entries were taken away or allow less, before their frames are released.
    fn flush(&mut self, span: Span);

    /// How many tables it has. O(1).
    fn tables(&self) -> u64;
}
