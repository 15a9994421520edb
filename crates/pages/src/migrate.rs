//! Migrate types: what can be moved lives apart from what cannot.
//!
//! ```text
//!   pageblock (2 MiB)   U U . U     M M M .     R . R .
//!   wanted              first        then          last
//!   Unmovable           Unmovable    Reclaimable   Movable
//!   Movable             Movable      Reclaimable   Unmovable
//!   Reclaimable         Reclaimable  Unmovable     Movable
//! ```
//! The table is Linux's `fallbacks[]` (mm/page_alloc.c).

use crate::frame::{Order, PAGEBLOCK_ORDER};

/// Number of types.
pub const MIGRATE_TYPES: usize = 3;

/// What may be done with an allocated block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum MigrateType {
    /// Stays where it is: the kernel's own.
    #[default]
    Unmovable = 0,
    /// Can be copied elsewhere by the compactor's callback: user memory.
    Movable = 1,
    /// Cannot move, but its owner can drop it: caches.
    Reclaimable = 2,
}

impl MigrateType {
    /// All of them, in Linux's order.
    pub const ALL: [Self; MIGRATE_TYPES] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// As an index.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        // A table, not a choice: one load instead of two compares.
        const OF: [MigrateType; 4] = [
            MigrateType::Unmovable,
            MigrateType::Movable,
            MigrateType::Reclaimable,
            MigrateType::Unmovable,
        ];
        OF[(bits & 3) as usize]
    }

    /// Whose blocks to take when the own ones have run out, first choice first.
    #[inline]
    pub const fn fallbacks(self) -> [Self; MIGRATE_TYPES - 1] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }

    /// Whether a fallback that found a block of `found` may try to take over the
    /// whole pageblock (Linux's `can_steal_fallback`). Movable requests leave small
    /// foreign blocks alone: they can be moved out again later, the others cannot.
    #[inline]
    pub fn may_steal(self, found: Order) -> bool {
        found.get() >= PAGEBLOCK_ORDER.get() / 2 || self != Self::Movable
    }

    /// As `/proc/pagetypeinfo` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
        }
    }
}
