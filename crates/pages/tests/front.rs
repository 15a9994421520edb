//! The per-CPU lists: one CPU against a model, several as threads, running out.
#![allow(missing_docs)]

mod common;

use common::{machine, order, zone};
use heapwise_pages::raw::SpinLock;
use heapwise_pages::*;
use heapwise_seed::Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

type Machine = Pages<'static, SpinLock<Zones<'static>>>;

fn pages(frames: u32) -> Machine {
    Pages::new(machine(frames), SpinLock::new)
}

fn free_frames(pages: &Machine) -> u32 {
    pages.zones(|zones| zones.free_frames())
}

fn check(pages: &Machine) {
    pages.zones(|zones| zones.iter().for_each(|zone| zone.check().unwrap()));
}

const ALL: Request = Request::KERNEL.urgent(Urgency::Exhaust);

#[test]
fn one_cpu_follows_the_model() {
    let pages = pages(1 << 14);
    let mut cpu = CpuFront::new();
    let mut random = Rng::new(3);
    let mut live: Vec<(Pfn, Order)> = Vec::new();
    let mut owner = vec![false; 1 << 14];
    let mut frames_out = 0;
    for step in 0..300_000 {
        if random.index(100) < if step / 10_000 % 2 == 0 { 55 } else { 45 } {
            let order = order(random.index(6) * random.index(4) / 3);
            let migrate = MigrateType::ALL[random.index(3)];
            let request = Request { migrate, ..ALL };
            if let Ok(pfn) = pages.alloc(&mut cpu, order, request) {
                for frame in pfn.get()..pfn.get() + order.frames() {
                    assert!(!std::mem::replace(&mut owner[frame as usize], true));
                }
                frames_out += order.frames();
                live.push((pfn, order));
            }
        } else if !live.is_empty() {
            let (pfn, order) = live.swap_remove(random.index(live.len()));
            pages.free(&mut cpu, pfn, order).unwrap();
            assert_eq!(pages.free(&mut cpu, pfn, order), Err(FreeError::DoubleFree));
            for frame in pfn.get()..pfn.get() + order.frames() {
                owner[frame as usize] = false;
            }
            frames_out -= order.frames();
        }
        if step % 1000 == 0 {
            assert_eq!(free_frames(&pages) + cpu.frames() + frames_out, 1 << 14);
        }
    }
    check(&pages);
    live.into_iter().for_each(|(pfn, order)| pages.free(&mut cpu, pfn, order).unwrap());
    pages.drain(&mut cpu);
    check(&pages);
    assert_eq!(pages.zones(|zones| zones.iter().next().unwrap().free_blocks()[10]), 16);
    assert_eq!(pages.raced_frees(), 0);
}

/// To the last frame through the lists, for every order that has them and one more.
#[test]
fn runs_out_to_the_last_frame() {
    for o in 0..=4 {
        let pages = pages(4096 + 4);
        let mut cpu = CpuFront::new();
        let blocks: Vec<Pfn> =
            std::iter::from_fn(|| pages.alloc(&mut cpu, order(o), ALL).ok()).collect();
        assert_eq!(blocks.len(), 4100 >> o);
        assert_eq!(pages.alloc(&mut cpu, order(o), ALL), Err(AllocError::OutOfMemory));
        blocks.into_iter().for_each(|pfn| pages.free(&mut cpu, pfn, order(o)).unwrap());
        pages.drain(&mut cpu);
        assert_eq!(free_frames(&pages), 4100);
        check(&pages);
    }
}

/// An ordinary request stops at the min mark, an urgent one at half of it.
#[test]
fn stops_at_the_watermarks() {
    let pages = pages(1 << 15);
    let mut cpu = CpuFront::new();
    let min = pages.zones(|zones| zones.iter().next().unwrap().watermarks().min);
    assert!(min > 0);
    let mut count = |request| {
        while pages.alloc(&mut cpu, order(0), request).is_ok() {}
        assert_eq!(cpu.frames(), 0);
        free_frames(&pages)
    };
    assert_eq!(count(Request::KERNEL), min);
    assert_eq!(count(Request::KERNEL.urgent(Urgency::Atomic)), min - min / 2);
    assert_eq!(count(ALL), 0);
}

#[test]
fn misuse_is_refused() {
    let pages = pages(2048);
    let mut cpu = CpuFront::new();
    let pfn = pages.alloc(&mut cpu, order(2), ALL).unwrap();
    let allocated = order(2);
    let free = |cpu: &mut CpuFront<'static>, pfn: u32, o| pages.free(cpu, Pfn::new(pfn), order(o));
    assert_eq!(free(&mut cpu, pfn.get(), 0), Err(FreeError::WrongOrder { allocated }));
    assert_eq!(free(&mut cpu, pfn.get() + 1, 2), Err(FreeError::Misaligned));
    let inside = FreeError::InsideBlock { head: pfn, order: allocated };
    assert_eq!(free(&mut cpu, pfn.get() + 1, 0), Err(inside));
    assert_eq!(free(&mut cpu, 1 << 20, 0), Err(FreeError::Foreign));
    assert_eq!(free(&mut cpu, 2047, 0), Err(FreeError::DoubleFree));
    free(&mut cpu, pfn.get(), 2).unwrap();
    assert_eq!(free(&mut cpu, pfn.get(), 2), Err(FreeError::DoubleFree));
    // The block waits in the list: no frame of it is in use any more.
    assert_eq!(free(&mut cpu, pfn.get() + 1, 0), Err(FreeError::DoubleFree));
    check(&pages);
}

#[test]
fn the_direct_map_gives_addresses() {
    let direct = DirectMap::new(PAGE_OFFSET, Phys(1024 << PAGE_SHIFT)).unwrap();
    let pages = pages(2048).with_direct_map(direct);
    let mut cpu = CpuFront::new();
    let mut got = Vec::new();
    while let Ok(at) = pages.get_free_pages(&mut cpu, order(1), ALL) {
        assert_eq!(at.0 % PAGE_SIZE, 0);
        got.push(at);
    }
    assert_eq!(got.len(), 512, "only what the map reaches");
    let inside = Virt(got[0].0 + 8);
    assert_eq!(pages.free_pages(&mut cpu, inside, order(1)), Err(FreeError::Misaligned));
    assert_eq!(pages.free_pages(&mut cpu, Virt(8), order(1)), Err(FreeError::Foreign));
    got.into_iter().for_each(|at| pages.free_pages(&mut cpu, at, order(1)).unwrap());
    pages.drain(&mut cpu);
    assert_eq!(free_frames(&pages), 2048);
}

#[test]
fn a_dma_request_stays_low() {
    let mut zones = Zones::new();
    zones.add_zone(zone(ZoneKind::Dma, 0, 4096, 10)).unwrap();
    zones.add_zone(zone(ZoneKind::Normal, 4096, 65536, 10)).unwrap();
    zones.add_region(Pfn::new(0), Pfn::new(65536)).unwrap();
    let pages = Pages::new(zones, SpinLock::new);
    let mut cpu = CpuFront::new();
    let dma = Request::KERNEL.below(ZoneKind::Dma);
    for _ in 0..1000 {
        assert!(pages.alloc(&mut cpu, order(0), dma).unwrap().get() < 4096);
        assert!(pages.alloc(&mut cpu, order(0), Request::KERNEL).unwrap().get() >= 4096);
    }
    let below32 = Request::KERNEL.below(ZoneKind::Dma32);
    assert!(pages.alloc(&mut cpu, order(0), below32).unwrap().get() < 4096);
}

/// Threads with a front each, handing blocks to one another; every frame has one
/// owner at a time, and all come home.
#[test]
fn threads_share_one_machine() {
    let pages = pages(1 << 14);
    let owners: Vec<AtomicU8> = (0..1 << 14).map(|_| AtomicU8::new(0)).collect();
    let mailbox = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 1..=4_u8 {
            let (pages, owners, mailbox) = (&pages, &owners, &mailbox);
            scope.spawn(move || {
                let mut cpu = CpuFront::new();
                let mut random = Rng::new(u64::from(thread));
                let mut live: Vec<(Pfn, Order)> = Vec::new();
                let claim = |pfn: Pfn, order: Order, from: u8, to: u8| {
                    for frame in pfn.get()..pfn.get() + order.frames() {
                        assert_eq!(owners[frame as usize].swap(to, Relaxed), from);
                    }
                };
                for _ in 0..100_000 {
                    match random.index(10) {
                        0..=4 => {
                            let order = order(random.index(3) * random.index(3));
                            let request =
                                Request { migrate: MigrateType::ALL[order.get() % 3], ..ALL };
                            if let Ok(pfn) = pages.alloc(&mut cpu, order, request) {
                                claim(pfn, order, 0, 1);
                                live.push((pfn, order));
                            }
                        }
                        5 if !live.is_empty() => {
                            let block = live.swap_remove(random.index(live.len()));
                            mailbox.lock().unwrap().push(block);
                        }
                        6 => live.extend(mailbox.lock().unwrap().pop()),
                        _ if !live.is_empty() => {
                            let (pfn, order) = live.swap_remove(random.index(live.len()));
                            claim(pfn, order, 1, 0);
                            pages.free(&mut cpu, pfn, order).unwrap();
                        }
                        _ => {}
                    }
                }
                for (pfn, order) in live {
                    claim(pfn, order, 1, 0);
                    pages.free(&mut cpu, pfn, order).unwrap();
                }
                pages.drain(&mut cpu);
            });
        }
    });
    let mut cpu = CpuFront::new();
    for (pfn, order) in mailbox.into_inner().unwrap() {
        pages.free(&mut cpu, pfn, order).unwrap();
    }
    pages.drain(&mut cpu);
    check(&pages);
    assert_eq!(pages.zones(|zones| zones.iter().next().unwrap().free_blocks()[10]), 16);
    assert_eq!(pages.raced_frees(), 0);
}

/// All threads free the same blocks at once: one wins each, the others are told, and no
/// frame is given twice or lost.
#[test]
fn racing_double_frees_lose_nothing() {
    let pages = pages(4096).with_exact_frees();
    let mut cpu = CpuFront::new();
    for _ in 0..200 {
        let blocks: Vec<Pfn> =
            (0..256).map(|_| pages.alloc(&mut cpu, order(0), ALL).unwrap()).collect();
        let freed = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut cpu = CpuFront::new();
                    for pfn in &blocks {
                        let result = pages.free(&mut cpu, *pfn, order(0));
                        freed.fetch_add(u32::from(result.is_ok()), Relaxed);
                    }
                    pages.drain(&mut cpu);
                });
            }
        });
        assert_eq!(freed.into_inner(), 256);
        pages.drain(&mut cpu);
        assert_eq!(free_frames(&pages), 4096);
        check(&pages);
    }
    assert_eq!(pages.raced_frees(), 0);
}

/// A frame of a hole has the byte 0; a fresh front has no kind that is like it.
#[test]
fn a_fresh_front_takes_no_frame_of_a_hole() {
    for exact in [false, true] {
        let mut zones = Zones::new();
        zones.add_zone(zone(ZoneKind::Normal, 0, 4096, 10)).unwrap();
        zones.add_region(Pfn::new(0), Pfn::new(1024)).unwrap();
        let pages = Pages::new(zones, SpinLock::new);
        let pages = if exact { pages.with_exact_frees() } else { pages };
        let mut cpu = CpuFront::new();
        for at in 0..=3 {
            let freed = pages.free(&mut cpu, Pfn::new(1024), order(at));
            assert_eq!(freed, Err(FreeError::Foreign));
        }
        assert_eq!(cpu.frames(), 0);
    }
}

/// A front's number of a block that another front has now says nothing.
#[test]
fn a_warm_block_has_one_front() {
    let pages = pages(2048);
    let (mut here, mut there) = (CpuFront::new(), CpuFront::new());
    let one = |front: &mut CpuFront<'static>| pages.alloc(front, Order::ZERO, ALL).unwrap();
    let mut held = vec![one(&mut there)];
    let pfn = one(&mut here);
    for _ in 0..3 {
        pages.free(&mut here, pfn, Order::ZERO).unwrap();
        assert_eq!(one(&mut here), pfn);
        pages.free(&mut there, pfn, Order::ZERO).unwrap();
        assert_eq!(pages.free(&mut here, pfn, Order::ZERO), Err(FreeError::DoubleFree));
        let next = one(&mut here);
        assert_ne!(next, pfn);
        held.push(next);
        assert_eq!(one(&mut there), pfn);
    }
    held.push(pfn);
    for pfn in held {
        pages.free(&mut here, pfn, Order::ZERO).unwrap();
    }
    pages.drain(&mut here);
    pages.drain(&mut there);
    assert_eq!(free_frames(&pages), 2048);
    check(&pages);
}

/// There are fewer colours than processors may be: the fronts beyond do without, and a
/// drained front gives its own back.
#[test]
fn more_fronts_than_colours() {
    for exact in [false, true] {
        let pages = pages(1 << 14);
        let pages = if exact { pages.with_exact_frees() } else { pages };
        for _ in 0..3 {
            let mut fronts: Vec<Box<CpuFront<'static>>> =
                (0..100).map(|_| Box::default()).collect();
            let mut owners = std::collections::BTreeSet::new();
            for front in &mut fronts {
                for round in 0..3 {
                    let pfn = pages.alloc(front, Order::ZERO, ALL).unwrap();
                    assert!(owners.insert(pfn.get()) || round > 0);
                    if round < 2 {
                        pages.free(front, pfn, Order::ZERO).unwrap();
                    }
                }
            }
            let held: Vec<u32> = owners.into_iter().collect();
            for (pfn, front) in held.iter().zip(fronts.iter_mut().rev()) {
                pages.free(front, Pfn::new(*pfn), Order::ZERO).unwrap();
                let twice = pages.free(front, Pfn::new(*pfn), Order::ZERO);
                assert_eq!(twice, Err(FreeError::DoubleFree));
            }
            let waiting: u32 = fronts.iter().map(|front| front.frames()).sum();
            assert_eq!(free_frames(&pages) + waiting, 1 << 14);
            fronts.iter_mut().for_each(|front| pages.drain(front));
            assert_eq!(free_frames(&pages), 1 << 14);
            check(&pages);
        }
        assert_eq!(pages.raced_frees(), 0);
    }
}

/// What a zone gave out itself is freed through a front, and the other way round.
#[test]
fn frames_of_a_zone_pass_through_fronts() {
    let pages = pages(4096);
    let mut cpu = CpuFront::new();
    let direct = |zones: &mut Zones<'static>| zones.alloc(Order::ZERO, ALL).unwrap();
    let taken: Vec<Pfn> = (0..300).map(|_| pages.zones(direct)).collect();
    for pfn in &taken[..200] {
        pages.free(&mut cpu, *pfn, Order::ZERO).unwrap();
        assert_eq!(pages.free(&mut cpu, *pfn, Order::ZERO), Err(FreeError::DoubleFree));
        let again = pages.zones(|zones| zones.free(*pfn, Order::ZERO));
        assert_eq!(again, Err(FreeError::DoubleFree));
    }
    check(&pages);
    pages.zones(|zones| zones.free_bulk(&taken[200..], Order::ZERO)).unwrap();
    let front = pages.alloc(&mut cpu, Order::ZERO, ALL).unwrap();
    pages.zones(|zones| zones.free(front, Order::ZERO)).unwrap();
    let wrong = pages.zones(direct);
    let free = |order| pages.zones(|zones| zones.free(wrong, order));
    assert_eq!(
        free(order(1)).unwrap_err(),
        if wrong.get() % 2 == 0 {
            FreeError::WrongOrder { allocated: Order::ZERO }
        } else {
            FreeError::Misaligned
        }
    );
    pages.zones(|zones| zones.split_block(wrong, Order::ZERO)).unwrap();
    free(Order::ZERO).unwrap();
    pages.drain(&mut cpu);
    assert_eq!(free_frames(&pages), 4096);
    check(&pages);
}
