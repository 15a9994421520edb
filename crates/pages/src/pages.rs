//! The page allocator: fronts without a lock, zones behind one.
//!
//! ```text
//!   alloc ─► this CPU's stack ──────────────────────────► a block
//!                 │ empty                                  ▲
//!                 └─► lock: zone above its mark? ─► 64 ────┘
//!   free  ─► the frame's byte says: in use, this order? ─► this CPU's stack
//!                 │ no: a typed error, nothing changed         │ full
//!                                                 lock: older half back, merged
//! ```
//! The checks are exact for whoever frees a block twice, on whichever CPU. Only two CPUs
//! that free one block *at the very same moment* may both pass: the byte is loaded, then
//! stored. When the second copy reaches the zone it is found and dropped
//! ([`Pages::raced_frees`]), but not if the first one came home, and its mark was
//! written over, between that load and that store. [`Pages::with_exact_frees`] closes this
//! by a compare-and-swap, for about a nanosecond a free.

use crate::atomic::{AtomicU32, Relaxed};
use crate::cpu::{BATCH, Colour, CpuFront, LISTED_ORDER, ZoneLists, batch, flush_batch};
use crate::error::{AllocError, BulkFreeError, ClaimError, FreeError};
use crate::frame::{DirectMap, Order, Pfn, Virt};
use crate::lock::Lock;
use crate::migrate::{MIGRATE_TYPES, MigrateType};
use crate::state::{self, FrameMap, State};
use crate::warm::{Keep, Warm};
use crate::watermark::{Mark, Request};
use crate::zone::{ZONES, Zone, ZoneKind};
use crate::zones::Zones;
use core::marker::PhantomData;

/// The page allocator of a machine.
pub struct Pages<'m, L> {
    exact: bool,
    /// The frames' bytes, highest zone that exists first: where most blocks are.
    maps: [FrameMap<'m>; ZONES],
    /// Which zone each of these is.
    kinds: [ZoneKind; ZONES],
    /// For each highest zone of a request, the first of these that will do.
    preferred: [u8; ZONES],
    direct: Option<DirectMap>,
    raced: AtomicU32,
    lock: L,
    zones: PhantomData<Zones<'m>>,
}

impl<'m, L: Lock<Zones<'m>>> Pages<'m, L> {
    /// Puts zones behind a lock: `Pages::new(zones, SpinLock::new)`. O(1).
    pub fn new(zones: Zones<'m>, lock: impl FnOnce(Zones<'m>) -> L) -> Self {
        let mut maps = [FrameMap::empty(); ZONES];
        let mut kinds = [ZoneKind::Dma; ZONES];
        let mut found = 0;
        for kind in ZoneKind::ALL.into_iter().rev() {
            if let Some(zone) = zones.zone(kind) {
                (maps[found], kinds[found]) = (zone.map, kind);
                found += 1;
            }
        }
        let first = |highest| (0..found).find(|place| kinds[*place] <= highest);
        let preferred = ZoneKind::ALL.map(|highest| first(highest).unwrap_or(ZONES) as u8);
        let (direct, raced) = (None, AtomicU32::new(0));
        Self {
            exact: false,
            maps,
            kinds,
            preferred,
            direct,
            raced,
            lock: lock(zones),
            zones: PhantomData,
        }
    }

    /// With a direct map, for [`get_free_pages`](Self::get_free_pages).
    pub fn with_direct_map(mut self, direct: DirectMap) -> Self {
        self.direct = Some(direct);
        self
    }

    /// From now on, of two CPUs that [`free`](Self::free) one block at the same moment,
    /// one is refused, for about a nanosecond a free.
    pub fn with_exact_frees(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The direct map it was given.
    pub const fn direct_map(&self) -> Option<DirectMap> {
        self.direct
    }

    /// The zones, under the lock: figures, compaction, more memory. Do not add
    /// zones here: the fronts know those that [`new`](Self::new) saw.
    pub fn zones<R>(&self, work: impl FnOnce(&mut Zones<'m>) -> R) -> R {
        self.lock.with(work)
    }

    /// Double frees by two CPUs at the same moment that were found at a flush.
    pub fn raced_frees(&self) -> u32 {
        self.raced.load(Relaxed)
    }

    /// A block of `order`. O(1) from the front, O(batch) when it refills, orders 4
    /// and up O(orders) under the lock.
    ///
    /// [`AllocError::OutOfMemory`] (other CPUs' fronts may still hold frames: drain
    /// them, reclaim, compact), [`AllocError::TooLarge`].
    #[inline]
    pub fn alloc(
        &self,
        cpu: &mut CpuFront<'m>,
        order: Order,
        request: Request,
    ) -> Result<Pfn, AllocError> {
        let used = State::used(order, request.migrate);
        let place = match request.zone {
            ZoneKind::Normal => 0,
            lower => self.preferred[lower.index()] as usize,
        };
        if place == 0
            && let Some(warm) = cpu.warm.get(order.get())
            && let Some(pfn) = warm.take(used)
        {
            return Ok(pfn);
        }
        if order != Order::ZERO {
            return self.alloc_larger(cpu, order, request, place);
        }
        if let (Some(lists), Some(map)) = (cpu.zones.get_mut(place), self.maps.get(place))
            && let Some(pfn) = lists.single[request.migrate.index()].pop()
        {
            map.set(map.index(pfn), used);
            return Ok(pfn);
        }
        self.alloc_slow(cpu, order, request)
    }

    #[inline(always)]
    fn alloc_larger(
        &self,
        cpu: &mut CpuFront<'m>,
        order: Order,
        request: Request,
        place: usize,
    ) -> Result<Pfn, AllocError> {
        if let (Some(lists), Some(map)) = (cpu.zones.get_mut(place), self.maps.get(place))
            && let Some(stack) = lists.larger(order.get(), request.migrate.index())
            && let Some(pfn) = stack.pop()
        {
            map.set(map.index(pfn), State::used(order, request.migrate));
            return Ok(pfn);
        }
        self.alloc_slow(cpu, order, request)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(
        &self,
        cpu: &mut CpuFront<'m>,
        order: Order,
        request: Request,
    ) -> Result<Pfn, AllocError> {
        if order.get() > LISTED_ORDER {
            return self.lock.with(|zones| zones.alloc(order, request));
        }
        self.lock.with(|zones| {
            Self::colour(cpu, zones);
            for mark in [Mark::Low, Mark::Min] {
                for (place, kind) in self.kinds.into_iter().enumerate() {
                    if kind > request.zone || self.maps[place].len() == 0 {
                        continue;
                    }
                    let Some(zone) = zones.zone_mut(kind) else { continue };
                    if let Some(pfn) = self.refill(cpu, place, zone, order, request, mark) {
                        return Ok(pfn);
                    }
                }
            }
            // The last frames above the marks, or the exact reason.
            zones.alloc(order, request)
        })
    }

    /// One block for the caller, the rest of a batch for its (empty) list.
    fn refill(
        &self,
        cpu: &mut CpuFront<'m>,
        place: usize,
        zone: &mut Zone<'_>,
        order: Order,
        request: Request,
        mark: Mark,
    ) -> Option<Pfn> {
        let lists = cpu.zones.get_mut(place)?;
        let mut stack = lists.stack(order.get(), request.migrate.index())?;
        let used = State::used(order, request.migrate);
        // A zone further down the request's list may still have some.
        if place == 0
            && let Some(pfn) = cpu.warm[order.get()].take(used)
        {
            return Some(pfn);
        }
        if let Some(pfn) = stack.pop() {
            zone.map.set(zone.map.index(pfn), used);
            return Some(pfn);
        }
        if !zone.watermark_ok(order.get(), request, mark) {
            return None;
        }
        let mut blocks = [Pfn::default(); BATCH];
        let want = batch(order).min(stack.capacity());
        let got = zone.alloc_batch(order, request, mark, &mut blocks[..want]);
        let (first, rest) = blocks[..got].split_first()?;
        for pfn in rest {
            zone.map.set(zone.map.index(*pfn), State::waiting(order, Colour::NONE));
        }
        stack.refill(rest);
        Some(*first)
    }

    /// Takes a block back. O(1); O(batch) when the front flushes; orders 4 and up
    /// O(orders) under the lock. Any CPU may free any block.
    ///
    /// All of [`FreeError`]; nothing has changed then.
    #[inline(always)]
    pub fn free(&self, cpu: &mut CpuFront<'m>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        // A block of the highest zone, where most are, of the kind freed before.
        if let Some(warm) = cpu.warm.get_mut(order.get()) {
            match warm.keep(pfn, &self.maps[0]) {
                Keep::Kept => return Ok(()),
                Keep::Full(byte, used) if cpu.push(pfn, 0, order, used) => {
                    state::store(byte, State::waiting(order, Colour::NONE));
                    return Ok(());
                }
                _ => {}
            }
        }
        self.free_listed(cpu, pfn, order)
    }

    #[inline(never)]
    fn free_listed(&self, cpu: &mut CpuFront<'m>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        for (place, map) in self.maps.iter().enumerate() {
            let Some(byte) = map.byte(map.index(pfn)) else { continue };
            let state = state::load(byte);
            if !state.is_used_as(order) {
                break;
            }
            if order.get() > LISTED_ORDER {
                return self.free_unlisted(pfn, order);
            }
            let warm = &mut cpu.warm[order.get()];
            let keeps = place == 0 && warm.get().is_none();
            let colour = if keeps { cpu.colour } else { Colour::NONE };
            let waiting = State::waiting(order, colour);
            if !self.exact {
                state::store(byte, waiting);
            } else if !state::exchange(byte, state, waiting) {
                break;
            }
            if colour != Colour::NONE {
                warm.set(pfn, byte, state, colour, self.exact);
            } else if !cpu.push(pfn, place, order, state) {
                self.make_room(cpu, pfn, place, order, state);
            }
            return Ok(());
        }
        if self.spell_out(pfn) {
            self.free_listed(cpu, pfn, order)
        } else {
            Err(self.refuse(pfn, order))
        }
    }

    /// A frame that a zone gave out itself gets its byte; `false` if it is none such.
    #[cold]
    #[inline(never)]
    fn spell_out(&self, pfn: Pfn) -> bool {
        self.lock.with(|zones| zones.spell_out(pfn))
    }

    /// Gives a front a colour, if it has none and there is one.
    fn colour(cpu: &mut CpuFront<'m>, zones: &mut Zones<'_>) {
        if cpu.colour == Colour::NONE {
            cpu.colour = zones.colours.take();
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, pfn: Pfn, order: Order) -> FreeError {
        self.lock.with(|zones| {
            let zone = zones.iter().find(|zone| zone.map.index(pfn) < zone.map.len());
            zone.map_or(FreeError::Foreign, |zone| zone.refuse(pfn, order))
        })
    }

    #[cold]
    #[inline(never)]
    fn free_unlisted(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.lock.with(|zones| zones.free(pfn, order))
    }

    /// The stack is full: its older half goes back, then the block has a place.
    #[cold]
    #[inline(never)]
    fn make_room(&self, cpu: &mut CpuFront<'m>, pfn: Pfn, place: usize, order: Order, used: State) {
        self.lock.with(|zones| {
            Self::colour(cpu, zones);
            let Some(zone) = zones.zone_mut(self.kinds[place]) else { return };
            let lists = &mut cpu.zones[place];
            self.flush(lists, zone, order.get(), used.type_index(), flush_batch(order));
        });
        cpu.push(pfn, place, order, used);
    }

    /// Gives the oldest `count` blocks of a list back.
    fn flush(
        &self,
        lists: &mut ZoneLists,
        zone: &mut Zone<'m>,
        order: usize,
        migrate: usize,
        count: usize,
    ) {
        let Some(mut stack) = lists.stack(order, migrate) else { return };
        let mut blocks = stack.oldest(count);
        while let Err(error) = zone.free_many(blocks, Order::of(order), true) {
            self.raced.fetch_add(1, Relaxed);
            blocks = &blocks[error.freed + 1..];
        }
        stack.forget_oldest(count);
    }

    /// Empties a CPU's lists into the zones: before its memory is counted, compacted
    /// or claimed, and when the CPU goes away. O(frames in the lists).
    pub fn drain(&self, cpu: &mut CpuFront<'m>) {
        self.lock.with(|zones| {
            for (pfn, used) in cpu.warm.iter().filter_map(Warm::get) {
                if let Some(zone) = zones.zone_mut(self.kinds[0])
                    && zone.free_waiting(pfn, used.order()).is_err()
                {
                    self.raced.fetch_add(1, Relaxed);
                }
            }
            cpu.warm.iter_mut().for_each(Warm::clear);
            zones.colours.give(core::mem::replace(&mut cpu.colour, Colour::NONE));
            for (lists, kind) in cpu.zones.iter_mut().zip(self.kinds) {
                let Some(zone) = zones.zone_mut(kind) else { continue };
                for order in 0..=LISTED_ORDER {
                    for migrate in 0..MIGRATE_TYPES {
                        self.flush(lists, zone, order, migrate, usize::MAX);
                    }
                }
            }
        });
    }

    /// Up to `out.len()` blocks under one lock; how many there were. O(blocks).
    pub fn alloc_bulk(&self, order: Order, request: Request, out: &mut [Pfn]) -> usize {
        self.lock.with(|zones| {
            let mut got = 0;
            while got < out.len() {
                match zones.alloc_bulk(order, request, &mut out[got..]) {
                    0 => break,
                    more => got += more,
                }
            }
            got
        })
    }

    /// Takes many blocks of one order back under one lock. O(blocks).
    ///
    /// [`BulkFreeError`]: those before the refused one are free.
    pub fn free_bulk(&self, blocks: &[Pfn], order: Order) -> Result<(), BulkFreeError> {
        self.lock.with(|zones| zones.free_bulk(blocks, order))
    }

    /// The very block at `pfn`. O(orders). All of [`ClaimError`]; frames in a CPU's
    /// lists count as in use.
    pub fn alloc_at(&self, pfn: Pfn, order: Order, of: MigrateType) -> Result<(), ClaimError> {
        self.lock.with(|zones| zones.alloc_at(pfn, order, of))
    }

    /// `__get_free_pages`: a block, by where the direct map shows it. O(1), as
    /// [`alloc`](Self::alloc).
    ///
    /// As [`alloc`](Self::alloc); [`AllocError::OutOfMemory`] too if the direct map
    /// does not reach that far.
    pub fn get_free_pages(
        &self,
        cpu: &mut CpuFront<'m>,
        order: Order,
        request: Request,
    ) -> Result<Virt, AllocError> {
        let pfn = self.alloc(cpu, order, request)?;
        if let Some(virt) = self.direct.and_then(|direct| direct.frame_to_virt(pfn)) {
            return Ok(virt);
        }
        let _ = self.free(cpu, pfn, order);
        Err(AllocError::OutOfMemory)
    }

    /// `free_pages`: takes such a block back. O(1).
    ///
    /// All of [`FreeError`]; [`FreeError::Misaligned`] also inside a frame.
    pub fn free_pages(
        &self,
        cpu: &mut CpuFront<'m>,
        at: Virt,
        order: Order,
    ) -> Result<(), FreeError> {
        let phys = self.direct.and_then(|direct| direct.phys(at)).ok_or(FreeError::Foreign)?;
        let pfn = Pfn::containing(phys).ok_or(FreeError::Foreign)?;
        if pfn.phys() != phys {
            return Err(FreeError::Misaligned);
        }
        self.free(cpu, pfn, order)
    }
}
