//! Watermarks: how far a request may drain a zone.
//!
//! ```text
//!   free ── high ── low ──── min ──────── min/2 ─── 0
//!           reclaim  reclaim  ordinary     urgent    Exhaust
//!           stops    starts   requests     requests  takes all
//!                             end here     end here
//! ```
//! Linux: min = isqrt(16 × lowmem kB) clamped to 128…262144 kB, shared by size;
//! low = min + max(min / 4, managed / 1000), high one such step further
//! (`__setup_per_zone_wmarks`). A request that could have used a higher zone
//! leaves the lower zone's reserve alone (`lowmem_reserve`).

use crate::zone::{ZONES, Zone, ZoneKind};

/// The lower zone's reserve is the higher zones' frames over this (DMA, DMA32).
pub const LOWMEM_RESERVE_RATIO: [u32; ZONES] = [256, 256, 32];

/// A zone's watermarks, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Ordinary requests stop here.
    pub min: u32,
    /// Below it, reclaim should run.
    pub low: u32,
    /// Reclaim may stop here.
    pub high: u32,
    /// Kept from requests that may use the zone of this index.
    pub reserve: [u32; ZONES],
}

/// How deep a request may reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Urgency {
    /// Down to min: the caller can wait for reclaim.
    #[default]
    Normal,
    /// Down to half of min: the caller cannot sleep (interrupts).
    Atomic,
    /// To the last frame: the caller is freeing memory, or is the boot.
    Exhaust,
}

/// What a request asks for, besides its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// The highest zone that will do.
    pub zone: ZoneKind,
    /// What may be done with the block later.
    pub migrate: crate::migrate::MigrateType,
    /// How deep to reach.
    pub urgency: Urgency,
}

impl Request {
    /// The kernel's own: unmovable, any zone.
    pub const KERNEL: Self = Self::of(crate::migrate::MigrateType::Unmovable);
    /// A user's page: movable, any zone.
    pub const USER: Self = Self::of(crate::migrate::MigrateType::Movable);
    /// A cache that can be dropped.
    pub const RECLAIMABLE: Self = Self::of(crate::migrate::MigrateType::Reclaimable);

    const fn of(migrate: crate::migrate::MigrateType) -> Self {
        Self { zone: ZoneKind::Normal, migrate, urgency: Urgency::Normal }
    }

    /// The same, from this zone or below.
    pub const fn below(mut self, zone: ZoneKind) -> Self {
        self.zone = zone;
        self
    }

    /// The same, reaching deeper.
    pub const fn urgent(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }
}

/// Which mark to stop at: the first try spares what the second may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Low,
    Min,
}

/// `min_free_kbytes` for so many kB of memory.
pub const fn min_free_kbytes(lowmem_kbytes: u64) -> u64 {
    let min = (lowmem_kbytes * 16).isqrt();
    if min < 128 {
        128
    } else if min > 262_144 {
        262_144
    } else {
        min
    }
}

impl Watermarks {
    /// The marks of a zone of `managed` frames in a machine of `all`.
    pub const fn for_zone(managed: u32, all: u32) -> Self {
        if all == 0 {
            return Self { min: 0, low: 0, high: 0, reserve: [0; ZONES] };
        }
        let pages_min = min_free_kbytes(all as u64 * 4) / 4;
        let min = (pages_min * managed as u64 / all as u64) as u32;
        let quarter = min / 4;
        let thousandth = managed / 1000;
        let step = if quarter > thousandth { quarter } else { thousandth };
        Self { min, low: min + step, high: min + 2 * step, reserve: [0; ZONES] }
    }
}

impl Zone<'_> {
    /// Linux's `__zone_watermark_ok`: whether `1 << order` frames may go. O(1),
    /// O(orders) if the run has to be settled.
    pub(crate) fn watermark_ok(&mut self, order: usize, request: Request, mark: Mark) -> bool {
        if request.urgency == Urgency::Exhaust {
            return true;
        }
        if !self.above_mark(order, request, mark) {
            return false;
        }
        let has = |zone: &Self| zone.nonempty.iter().any(|orders| orders >> order != 0);
        has(self)
            || (!self.run.is_empty() && {
                self.settle();
                has(self)
            })
    }

    /// Whether the zone would stay above the mark. O(1).
    pub(crate) fn above_mark(&self, order: usize, request: Request, mark: Mark) -> bool {
        let mark = match (mark, request.urgency) {
            (Mark::Low, _) => self.marks.low,
            (Mark::Min, Urgency::Normal) => self.marks.min,
            (Mark::Min, _) => self.marks.min - self.marks.min / 2,
        };
        let kept = mark + self.marks.reserve[request.zone.index()];
        let after = self.free_frames().saturating_sub((1 << order) - 1);
        after > kept
    }

    /// How many single frames may go before the mark is reached.
    pub(crate) fn spare_frames(&self, request: Request, mark: Mark) -> u32 {
        let mark = match (mark, request.urgency) {
            (_, Urgency::Exhaust) => return self.free_frames(),
            (Mark::Low, _) => self.marks.low,
            (Mark::Min, Urgency::Normal) => self.marks.min,
            (Mark::Min, Urgency::Atomic) => self.marks.min - self.marks.min / 2,
        };
        self.free_frames().saturating_sub(mark + self.marks.reserve[request.zone.index()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_linux_s() {
        assert_eq!(min_free_kbytes(1 << 20), 4096);
        assert_eq!(min_free_kbytes(512), 128);
        assert_eq!(min_free_kbytes(1 << 40), 262_144);
        // One zone of 1 GiB: 4096 kB = 1024 pages, low = +max(256, 262).
        let marks = Watermarks::for_zone(1 << 18, 1 << 18);
        assert_eq!((marks.min, marks.low, marks.high), (1024, 1286, 1548));
    }
}
