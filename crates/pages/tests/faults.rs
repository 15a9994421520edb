//! Running out at the Nth step, for every N up to the end, in every operation: no panic,
//! the books whole, not a frame lost.
#![allow(missing_docs)]

mod common;
#[path = "common/world.rs"]
mod world;

use common::{machine, order, zone};
use heapwise_pages::raw::SpinLock;
use heapwise_pages::slab::{CacheId, CacheSpec, CpuSlab, Fresh};
use heapwise_pages::*;
use world::{Heap, cpu, free_frames, world};

/// What a script of every operation holds.
struct Run {
    pages: Pages<'static, SpinLock<Zones<'static>>>,
    fronts: [Box<CpuFront<'static>>; 2],
    live: Vec<(Pfn, Order)>,
    total: u32,
    refusals: u32,
}

impl Run {
    fn new(frames: u32) -> Self {
        let mut zones = Zones::new();
        // Two zones, one of them with a hole.
        let border = 600.min(frames / 2).max(1);
        zones.add_zone(zone(ZoneKind::Dma, 0, 1024, 10)).unwrap();
        zones.add_zone(zone(ZoneKind::Normal, 1024, 1024 + frames, 10)).unwrap();
        zones.add_region(Pfn::new(3), Pfn::new(3 + border)).unwrap();
        zones.add_region(Pfn::new(1024), Pfn::new(1024 + frames)).unwrap();
        let direct = DirectMap::new(PAGE_OFFSET, Phys(1 << 32)).unwrap();
        Self {
            pages: Pages::new(zones, SpinLock::new).with_direct_map(direct),
            fronts: Default::default(),
            live: Vec::new(),
            total: border + frames,
            refusals: 0,
        }
    }

    fn note(&mut self, result: Result<Pfn, impl Sized>, order: Order) {
        match result {
            Ok(pfn) => self.live.push((pfn, order)),
            Err(_) => self.refusals += 1,
        }
    }

    fn free_one(&mut self, nth: usize) {
        if !self.live.is_empty() {
            let (pfn, order) = self.live.swap_remove(nth % self.live.len());
            self.pages.free(&mut self.fronts[nth % 2], pfn, order).unwrap();
        }
    }

    fn check(&mut self) {
        let live: u32 = self.live.iter().map(|(_, order)| order.frames()).sum();
        let cached: u32 = self.fronts.iter().map(|front| front.frames()).sum();
        let free = self.pages.zones(|zones| zones.free_frames());
        assert_eq!(free + cached + live, self.total);
    }

    /// Every operation, in turn; each may be the one that finds nothing.
    fn script(&mut self) {
        for step in 0..60_usize {
            let o = order(step * 7 % 6);
            let request = Request {
                zone: [ZoneKind::Normal, ZoneKind::Dma][usize::from(step % 7 == 0)],
                migrate: MigrateType::ALL[step % 3],
                urgency: [Urgency::Exhaust, Urgency::Normal, Urgency::Atomic][step % 5 % 3],
            };
            let got = self.pages.alloc(&mut self.fronts[step % 2], o, request);
            self.note(got, o);
            match step % 6 {
                0 => {
                    let mut out = [Pfn::default(); 40];
                    let got = self.pages.alloc_bulk(Order::ZERO, request, &mut out);
                    self.refusals += u32::from(got < out.len());
                    let (back, kept) = out[..got].split_at(got / 2);
                    self.pages.free_bulk(back, Order::ZERO).unwrap();
                    self.live.extend(kept.iter().map(|pfn| (*pfn, Order::ZERO)));
                }
                1 => {
                    let at = Pfn::new(1024 + (step as u32 * 16) % 512);
                    let got = self.pages.alloc_at(at, order(2), request.migrate).map(|()| at);
                    self.note(got, order(2));
                }
                2 => {
                    let front = &mut self.fronts[0];
                    if let Ok(at) = self.pages.get_free_pages(front, o, request) {
                        self.pages.free_pages(&mut self.fronts[1], at, o).unwrap();
                    }
                }
                3 => {
                    if let Some((pfn, o)) = self.live.pop() {
                        self.pages.zones(|zones| zones.split_block(pfn, o)).unwrap();
                        let frames = pfn.get()..pfn.get() + o.frames();
                        self.live.extend(frames.map(|pfn| (Pfn::new(pfn), Order::ZERO)));
                    }
                }
                4 => {
                    self.fronts.iter_mut().for_each(|front| self.pages.drain(front));
                    let live = &mut self.live;
                    self.pages.zones(|zones| {
                        let zone = zones.zone_mut(ZoneKind::Normal).unwrap();
                        zone.compact(order(8), &mut |from, to, order| {
                            let block = live.iter_mut().find(|block| **block == (from, order));
                            block.map(|block| block.0 = to).is_some()
                        });
                    });
                }
                _ => (0..12).for_each(|nth| self.free_one(step + nth)),
            }
            self.check();
        }
    }

    fn finish(mut self) -> u32 {
        while !self.live.is_empty() {
            self.free_one(0);
        }
        self.fronts.iter_mut().for_each(|front| self.pages.drain(front));
        self.check();
        self.pages.zones(|zones| zones.iter().for_each(|zone| zone.check().unwrap()));
        assert_eq!(self.pages.raced_frees(), 0);
        self.refusals
    }
}

/// The same script on a machine of one frame, of two, … until nothing is refused for
/// want of frames: so the first refusal comes at every possible step.
#[test]
fn pages_run_out_at_every_step() {
    let mut never = 0;
    for frames in (1..400).chain((400..6000).step_by(200)) {
        let mut run = Run::new(frames);
        run.script();
        let refusals = run.finish();
        if frames < 50 {
            assert!(refusals > 0, "{frames} frames are enough");
        }
        never = refusals;
    }
    // The claims of blocks in use, and nothing else.
    assert!(never <= 10, "{never}");
}

/// The mover refuses the Nth block, for every N: it stays where it was.
#[test]
fn compaction_survives_every_refusal() {
    for n in 1.. {
        let mut zones = machine(2048);
        let zone = zones.zone_mut(ZoneKind::Normal).unwrap();
        let mut out = vec![Pfn::default(); 2048];
        assert_eq!(zone.alloc_bulk(Order::ZERO, MigrateType::Movable, &mut out), 2048);
        let mut live: Vec<Pfn> = Vec::new();
        for pfn in out {
            if pfn.get() % 8 == 1 { live.push(pfn) } else { zone.free(pfn, Order::ZERO).unwrap() }
        }
        let mut calls = 0;
        let done = zone.compact(order(10), &mut |from: Pfn, to: Pfn, _: Order| {
            calls += 1;
            if calls == n {
                return false;
            }
            *live.iter_mut().find(|pfn| **pfn == from).unwrap() = to;
            true
        });
        zone.check().unwrap();
        assert_eq!(zone.free_frames(), 2048 - 256);
        live.into_iter().for_each(|pfn| zone.free(pfn, Order::ZERO).unwrap());
        assert_eq!(zone.free_blocks()[10], 2);
        if calls < n {
            assert!(done.success && n > 100);
            return;
        }
        assert_eq!(done.refused, 1);
    }
}

fn constructor(fresh: &mut Fresh<'_>) {
    (0..fresh.words()).for_each(|word| fresh.set(word, 0x5eed));
}

/// Every kind of cache, made, used from two CPUs, shrunk and destroyed.
fn slab_script(heap: &Heap, cpus: &mut [CpuSlab<'static>; 2]) -> u32 {
    let plain = CacheSpec::new("plain", 200);
    let specs = [
        plain,
        CacheSpec { name: "aligned", align: 512, ..plain },
        CacheSpec { name: "constructed", constructor: Some(constructor), ..plain },
        CacheSpec { name: "debug", debug: true, ..plain },
        CacheSpec { name: "both", debug: true, constructor: Some(constructor), ..plain },
        CacheSpec { name: "large", size: 20_000, ..plain },
    ];
    let caches: Vec<CacheId> = specs.iter().map(|spec| heap.create(spec).unwrap()).collect();
    let mut failures = 0;
    let mut live: Vec<(Option<CacheId>, Virt)> = Vec::new();
    let mut note = |id, result, live: &mut Vec<_>| match result {
        Ok(at) => live.push((id, at)),
        Err(SlabError::OutOfMemory) => failures += 1,
        Err(error) => panic!("{error:?}"),
    };
    for round in 0..50_usize {
        let cpu = &mut cpus[round % 2];
        for id in &caches {
            note(Some(*id), heap.alloc(cpu, *id), &mut live);
        }
        note(None, heap.kmalloc(cpu, 8 << (round % 14)), &mut live);
        if let Some((None, at)) = live.last().copied() {
            live.pop();
            let moved = heap.krealloc(cpu, at, 100 << (round % 9));
            if moved.is_err() {
                live.push((None, at));
            }
            note(None, moved, &mut live);
        }
        if round % 4 == 3 {
            for nth in (0..live.len()).rev().step_by(3) {
                let (id, at) = live.swap_remove(nth);
                match id {
                    Some(id) => heap.free(&mut cpus[nth % 2], id, at).unwrap(),
                    None => heap.kfree(&mut cpus[nth % 2], at).unwrap(),
                }
            }
            heap.shrink(caches[round % caches.len()]).unwrap();
        }
    }
    for (_, at) in live {
        heap.kfree(&mut cpus[0], at).unwrap();
    }
    cpus.iter_mut().for_each(|cpu| heap.drain(cpu));
    caches.into_iter().for_each(|id| heap.destroy(id).unwrap());
    heap.shrink_kmalloc();
    failures
}

/// The Nth request for frames fails, for every N up to the end.
#[test]
fn slabs_survive_every_missing_slab() {
    for n in 1.. {
        let (heap, frames) = world(4096);
        let all = free_frames(&frames);
        frames.fail_at.set(n);
        let failures = slab_script(&heap, &mut [cpu(), cpu()]);
        assert_eq!(free_frames(&frames), all, "the slab {n} was missing");
        if frames.fail_at.get() > 0 {
            assert!(n > 60, "only {n} slabs");
            return;
        }
        // None, where only the extra objects of a refill were missing.
        assert!(failures <= 1);
    }
}
