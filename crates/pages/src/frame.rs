//! Frame numbers, orders, and the direct map between physical and virtual.
//!
//! ```text
//!   phys   0        4096      8192          virt = phys + PAGE_OFFSET
//!          ├── 0 ───┼── 1 ────┼── 2 ─ …
//!   order 1 block: frames 2n, 2n+1;  its buddy: first frame ^ (1 << order)
//! ```

use core::fmt;

/// Bits of an address below the frame number.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a frame.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Orders that exist at most: 0 to 10, 4 KiB to 4 MiB.
pub const ORDERS: usize = 11;
/// Order of a pageblock, the unit that has one migrate type (2 MiB, a huge page).
pub const PAGEBLOCK_ORDER: Order = Order(9);

/// The number of a page frame: physical address / 4096.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u32);

impl Pfn {
    /// The frame of this number.
    #[inline]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The frame that holds a physical address; `None` past 16 TiB.
    #[inline]
    pub const fn containing(phys: Phys) -> Option<Self> {
        let number = phys.0 >> PAGE_SHIFT;
        if number > u32::MAX as u64 { None } else { Some(Self(number as u32)) }
    }

    /// Its first byte.
    #[inline]
    pub const fn phys(self) -> Phys {
        Phys((self.0 as u64) << PAGE_SHIFT)
    }

    /// The other half of the block of the next order.
    #[inline]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ (1 << order.0))
    }

    /// Whether a block of `order` may start here.
    #[inline]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & ((1 << order.0) - 1) == 0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}

/// The binary logarithm of a block's frames: 0 to 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One frame.
    pub const ZERO: Self = Self(0);
    /// 1024 frames, 4 MiB.
    pub const MAX: Self = Self(ORDERS as u8 - 1);

    /// `None` above 10.
    #[inline]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 { Some(Self(order)) } else { None }
    }

    /// Without the check that the callers in this crate have already made.
    #[inline]
    pub(crate) const fn of(order: usize) -> Self {
        debug_assert!(order < ORDERS);
        Self(order as u8)
    }

    /// The smallest order that holds so many bytes (at least one frame);
    /// `None` above 4 MiB.
    #[inline]
    pub const fn for_bytes(bytes: u64) -> Option<Self> {
        if bytes <= PAGE_SIZE {
            return Some(Self::ZERO);
        }
        let pages = (bytes - 1) >> PAGE_SHIFT;
        let order = u64::BITS - pages.leading_zeros();
        if order < ORDERS as u32 { Some(Self(order as u8)) } else { None }
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// Frames of a block.
    #[inline]
    pub const fn frames(self) -> u32 {
        1 << self.0
    }

    /// Bytes of a block.
    #[inline]
    pub const fn bytes(self) -> u64 {
        PAGE_SIZE << self.0
    }

    /// All orders, from 0.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..ORDERS as u8).map(Self)
    }
}

/// A physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Phys(pub u64);

/// A kernel virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Virt(pub u64);

/// Where x86-64 Linux maps all memory (four page-table levels, no KASLR).
pub const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;

/// The direct map: all of memory, at one fixed distance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectMap {
    offset: u64,
    end: Phys,
}

impl DirectMap {
    /// Physical `0..end` appear at `offset`. `None` if that passes the end of
    /// the address space.
    pub const fn new(offset: u64, end: Phys) -> Option<Self> {
        match offset.checked_add(end.0) {
            Some(_) => Some(Self { offset, end }),
            None => None,
        }
    }

    /// `__va`: where a physical address can be touched. O(1).
    #[inline]
    pub const fn virt(&self, phys: Phys) -> Option<Virt> {
        if phys.0 < self.end.0 { Some(Virt(phys.0 + self.offset)) } else { None }
    }

    /// `__pa`: what a direct-map address stands for. O(1).
    #[inline]
    pub const fn phys(&self, virt: Virt) -> Option<Phys> {
        let phys = virt.0.wrapping_sub(self.offset);
        if phys < self.end.0 { Some(Phys(phys)) } else { None }
    }

    /// Where a frame can be touched. O(1).
    #[inline]
    pub const fn frame_to_virt(&self, pfn: Pfn) -> Option<Virt> {
        self.virt(pfn.phys())
    }

    /// The frame behind a direct-map address. O(1).
    #[inline]
    pub const fn virt_to_frame(&self, virt: Virt) -> Option<Pfn> {
        match self.phys(virt) {
            Some(phys) => Pfn::containing(phys),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_hold_what_they_say() {
        assert_eq!(Order::for_bytes(0), Some(Order::ZERO));
        assert_eq!(Order::for_bytes(4096), Some(Order::ZERO));
        assert_eq!(Order::for_bytes(4097), Order::new(1));
        assert_eq!(Order::for_bytes(4 << 20), Some(Order::MAX));
        assert_eq!(Order::for_bytes((4 << 20) + 1), None);
        assert_eq!(Order::for_bytes(u64::MAX), None);
        assert_eq!(Order::new(11), None);
    }

    #[test]
    fn the_direct_map_goes_both_ways_and_ends() {
        let map = DirectMap::new(PAGE_OFFSET, Phys(1 << 31)).unwrap();
        let virt = map.virt(Phys(0x1234_5678)).unwrap();
        assert_eq!(virt.0, PAGE_OFFSET + 0x1234_5678);
        assert_eq!(map.phys(virt), Some(Phys(0x1234_5678)));
        assert_eq!(map.virt_to_frame(virt), Some(Pfn::new(0x12345)));
        assert_eq!(map.virt(Phys(1 << 31)), None);
        assert_eq!(map.phys(Virt(PAGE_OFFSET - 1)), None);
        assert_eq!(DirectMap::new(u64::MAX, Phys(2)), None);
    }
}
