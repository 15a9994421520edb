//! The zones together: which serves a request, and in which order.
//!
//! ```text
//!   request below Normal:   Normal ─► DMA32 ─► DMA      first at the low marks,
//!   request below DMA32:              DMA32 ─► DMA      then at the min marks
//! ```
//! This is what the caller's lock protects.

use crate::cpu::Colours;
use crate::error::{AllocError, BulkFreeError, ClaimError, FreeError, RegionError};
use crate::frame::{Order, Pfn};
use crate::migrate::MigrateType;
use crate::watermark::{LOWMEM_RESERVE_RATIO, Mark, Request, Urgency, Watermarks};
use crate::zone::{ZONES, Zone, ZoneKind};

/// Up to three zones.
pub struct Zones<'m> {
    zones: [Option<Zone<'m>>; ZONES],
    /// Of the fronts before these zones.
    pub(crate) colours: Colours,
}

impl Default for Zones<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'m> Zones<'m> {
    /// None yet.
    pub const fn new() -> Self {
        Self { zones: [const { None }; ZONES], colours: Colours::NEW }
    }

    /// Brings a zone in. O(1). [`RegionError::ZoneTaken`].
    pub fn add_zone(&mut self, zone: Zone<'m>) -> Result<(), RegionError> {
        let (start, end) = zone.span();
        let overlaps = |other: &Zone<'_>| {
            let (other_start, other_end) = other.span();
            start < other_end && other_start < end
        };
        let slot = zone.kind().index();
        if self.zones[slot].is_some() || self.iter().any(overlaps) {
            return Err(RegionError::ZoneTaken);
        }
        self.zones[slot] = Some(zone);
        self.set_watermarks();
        Ok(())
    }

    /// Brings memory in, cut at the zones' bounds. O(frames).
    ///
    /// [`RegionError::Empty`]; [`RegionError::Foreign`] or [`RegionError::Overlap`]
    /// if a frame of it has no zone or is there already: then nothing is added.
    pub fn add_region(&mut self, start: Pfn, end: Pfn) -> Result<(), RegionError> {
        if start >= end {
            return Err(RegionError::Empty);
        }
        let (mut spanned, mut at) = (0, [(start, start); ZONES]);
        for (zone, part) in self.zones.iter().zip(&mut at) {
            let Some(zone) = zone else { continue };
            let (first, last) = zone.span();
            *part = (start.max(first), end.min(last));
            if part.0 < part.1 {
                spanned += part.1.get() - part.0.get();
                let (from, to) = (zone.map.index(part.0), zone.map.index(part.1));
                if (from..to).any(|index| !zone.map.get(index).is_absent()) {
                    return Err(RegionError::Overlap);
                }
            }
        }
        if spanned != end.get() - start.get() {
            return Err(RegionError::Foreign);
        }
        for (zone, (first, last)) in self.zones.iter_mut().zip(at) {
            if let (Some(zone), true) = (zone, first < last) {
                zone.add_region(first, last)?;
            }
        }
        self.set_watermarks();
        Ok(())
    }

    /// Computes the watermarks and reserves from what is managed now.
    fn set_watermarks(&mut self) {
        let managed = [0, 1, 2].map(|z| self.zones[z].as_ref().map_or(0, Zone::managed_frames));
        let all = managed.iter().fold(0, |sum: u32, frames| sum.saturating_add(*frames));
        for (index, zone) in self.zones.iter_mut().enumerate() {
            let Some(zone) = zone else { continue };
            zone.marks = Watermarks::for_zone(managed[index], all);
            let mut above = 0;
            for (reserve, managed) in zone.marks.reserve.iter_mut().zip(managed).skip(index + 1) {
                above += managed;
                *reserve = above / LOWMEM_RESERVE_RATIO[index];
            }
        }
    }

    /// A zone.
    pub fn zone(&self, kind: ZoneKind) -> Option<&Zone<'m>> {
        self.zones[kind.index()].as_ref()
    }

    /// A zone, to be changed: watermarks aside, all of [`Zone`]'s operations.
    pub fn zone_mut(&mut self, kind: ZoneKind) -> Option<&mut Zone<'m>> {
        self.zones[kind.index()].as_mut()
    }

    /// The zones that exist, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &Zone<'m>> {
        self.zones.iter().flatten()
    }

    /// Frames free in all zones.
    pub fn free_frames(&self) -> u32 {
        self.iter().map(Zone::free_frames).sum()
    }

    /// Frames in all zones.
    pub fn managed_frames(&self) -> u32 {
        self.iter().map(Zone::managed_frames).sum()
    }

    /// Whether every zone that may serve the request is below its low mark: the
    /// moment to wake reclaim. O(1).
    pub fn needs_reclaim(&self, request: Request) -> bool {
        request.urgency != Urgency::Exhaust
            && !self.iter().any(|z| z.kind() <= request.zone && z.above_mark(0, request, Mark::Low))
    }

    /// A block, from the first zone of the request's list that has it above its
    /// mark. O(orders); O(pageblock) when a pageblock changes type.
    ///
    /// [`AllocError::OutOfMemory`], [`AllocError::TooLarge`].
    pub fn alloc(&mut self, order: Order, request: Request) -> Result<Pfn, AllocError> {
        let mut refusal = AllocError::OutOfMemory;
        for mark in [Mark::Low, Mark::Min] {
            for zone in self.candidates(request) {
                if !zone.watermark_ok(order.get(), request, mark) {
                    continue;
                }
                match zone.alloc(order, request.migrate) {
                    Ok(pfn) => return Ok(pfn),
                    Err(error) => refusal = error,
                }
            }
        }
        let too_large = self.iter().all(|zone| order.get() > zone.max_order);
        Err(if too_large { AllocError::TooLarge } else { refusal })
    }

    /// Up to `out.len()` blocks, all of one zone; how many there were. O(blocks).
    ///
    /// At order 0, whole words of 64 frames go at once.
    pub fn alloc_bulk(&mut self, order: Order, request: Request, out: &mut [Pfn]) -> usize {
        for mark in [Mark::Low, Mark::Min] {
            for zone in self.candidates(request) {
                if zone.watermark_ok(order.get(), request, mark) {
                    let got = zone.alloc_above(order, request, mark, out);
                    if got > 0 {
                        return got;
                    }
                }
            }
        }
        0
    }

    fn candidates(&mut self, request: Request) -> impl Iterator<Item = &mut Zone<'m>> {
        let below = request.zone.index();
        self.zones.iter_mut().take(below + 1).rev().flatten()
    }

    #[inline]
    fn zone_of(&mut self, pfn: Pfn) -> Option<&mut Zone<'m>> {
        self.zones.iter_mut().rev().flatten().find(|zone| zone.map.index(pfn) < zone.map.len())
    }

    /// Lets the fronts see what a zone gave out itself, around a frame; `false` if that one
    /// is none such.
    pub(crate) fn spell_out(&mut self, pfn: Pfn) -> bool {
        let Some(zone) = self.zone_of(pfn) else { return false };
        let index = zone.map.index(pfn);
        let spelled = zone.state_at(index) != zone.map.get(index);
        zone.spell_out(index);
        spelled
    }

    /// The very block at `pfn`. O(orders). All of [`ClaimError`].
    pub fn alloc_at(
        &mut self,
        pfn: Pfn,
        order: Order,
        migrate: MigrateType,
    ) -> Result<(), ClaimError> {
        self.zone_of(pfn).ok_or(ClaimError::Foreign)?.alloc_at(pfn, order, migrate)
    }

    /// Takes a block back. O(orders). All of [`FreeError`].
    #[inline]
    pub fn free(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.zone_of(pfn).ok_or(FreeError::Foreign)?.free(pfn, order)
    }

    /// Takes many blocks of one order back; faster where neighbours follow each
    /// other. O(blocks).
    ///
    /// [`BulkFreeError`]: those before the refused one are free.
    pub fn free_bulk(&mut self, blocks: &[Pfn], order: Order) -> Result<(), BulkFreeError> {
        let mut freed = 0;
        while let Some(first) = blocks.get(freed) {
            let foreign = BulkFreeError { freed, cause: FreeError::Foreign };
            let zone = self.zone_of(*first).ok_or(foreign)?;
            let run = blocks[freed..]
                .iter()
                .position(|pfn| zone.map.index(*pfn) >= zone.map.len())
                .unwrap_or(blocks.len() - freed);
            zone.free_bulk(&blocks[freed..freed + run], order)
                .map_err(|error| BulkFreeError { freed: freed + error.freed, ..error })?;
            freed += run;
        }
        Ok(())
    }

    /// A block in use becomes single frames. O(frames). All of [`FreeError`].
    pub fn split_block(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.zone_of(pfn).ok_or(FreeError::Foreign)?.split_block(pfn, order)
    }
}
