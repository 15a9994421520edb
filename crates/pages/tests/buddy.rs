//! The buddy against models: random scripts, misuse, and running out.
#![allow(missing_docs)]

mod common;

use common::{filled, machine, order, zone};
use heapwise_pages::*;
use heapwise_seed::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What is in use, and nothing else: first frame to order.
#[derive(Default)]
struct Model(BTreeMap<u32, usize>);

impl Model {
    fn overlaps(&self, start: u32, order: usize) -> bool {
        let end = start + (1 << order);
        self.0.range(..end).next_back().is_some_and(|(head, order)| head + (1 << order) > start)
    }

    fn add(&mut self, pfn: Pfn, order: usize) {
        assert_eq!(pfn.get() % (1 << order), 0, "misaligned block");
        assert!(!self.overlaps(pfn.get(), order), "block given twice");
        self.0.insert(pfn.get(), order);
    }

    fn frames(&self) -> u32 {
        self.0.values().map(|order| 1 << order).sum()
    }

    /// What a free of this must answer.
    fn free(&mut self, pfn: u32, order: usize, holes: impl Fn(u32) -> bool) -> Result<(), &str> {
        if holes(pfn) {
            return Err("foreign");
        }
        if !pfn.is_multiple_of(1 << order) {
            return Err("misaligned");
        }
        match self.0.get(&pfn) {
            Some(found) if *found == order => {
                self.0.remove(&pfn);
                Ok(())
            }
            Some(_) => Err("order"),
            None if self.overlaps(pfn, 0) => Err("inside"),
            None => Err("double"),
        }
    }
}

fn name(error: FreeError) -> &'static str {
    match error {
        FreeError::Foreign => "foreign",
        FreeError::Misaligned => "misaligned",
        FreeError::DoubleFree => "double",
        FreeError::WrongOrder { .. } => "order",
        FreeError::InsideBlock { .. } => "inside",
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize, usize),
    FreeNth(usize),
    FreeAny(u32, usize),
    At(u32, usize, usize),
    Bulk(usize, usize),
    FreeMany(usize),
    Split(usize),
    Compact(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..11_usize, 0..3_usize).prop_map(|(o, t)| Step::Alloc(o * o / 12, t)),
        6 => any::<usize>().prop_map(Step::FreeNth),
        2 => (0..5000_u32, 0..11_usize).prop_map(|(p, o)| Step::FreeAny(p, o)),
        2 => (0..5000_u32, 0..11_usize, 0..3_usize).prop_map(|(p, o, t)| Step::At(p, o, t)),
        3 => (1..300_usize, 0..3_usize).prop_map(|(n, t)| Step::Bulk(n, t)),
        2 => (1..300_usize).prop_map(Step::FreeMany),
        1 => any::<usize>().prop_map(Step::Split),
        1 => (5..11_usize).prop_map(Step::Compact),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Two regions and a hole, neither end a multiple of anything.
fn holed(max_order: usize) -> (Zone<'static>, u32, impl Fn(u32) -> bool + Copy) {
    let mut zone = zone(ZoneKind::Normal, 5, 4777, max_order);
    zone.add_region(Pfn::new(5), Pfn::new(2011)).unwrap();
    zone.add_region(Pfn::new(2100), Pfn::new(4777)).unwrap();
    let total = 2011 - 5 + 4777 - 2100;
    (zone, total, |pfn: u32| !(5..4777).contains(&pfn) || (2011..2100).contains(&pfn))
}

fn run(steps: Vec<Step>, max_order: usize) {
    let (mut zone, total, holes) = holed(max_order);
    let mut model = Model::default();
    let fresh = zone.free_blocks();
    for step in steps {
        match step {
            Step::Alloc(o, t) => match zone.alloc(order(o), MigrateType::ALL[t]) {
                Ok(pfn) => model.add(pfn, o),
                Err(AllocError::TooLarge) => assert!(o > max_order),
                Err(AllocError::OutOfMemory) => {
                    assert!((0..4777).step_by(1 << o).all(|head| {
                        (head..head + (1 << o)).any(holes) || model.overlaps(head, o)
                    }));
                }
            },
            Step::FreeNth(n) => {
                if let Some((&pfn, &o)) = model.0.iter().nth(n % model.0.len().max(1)) {
                    zone.free(Pfn::new(pfn), order(o)).unwrap();
                    model.0.remove(&pfn);
                }
            }
            Step::FreeAny(pfn, o) => {
                let got = zone.free(Pfn::new(pfn), order(o)).map_err(name);
                assert_eq!(got, model.free(pfn, o, holes), "free {pfn} order {o}");
            }
            Step::At(pfn, o, t) => {
                let fits = |model: &Model| {
                    pfn % (1 << o) == 0
                        && !(pfn..pfn + (1 << o)).any(holes)
                        && !model.overlaps(pfn, o)
                        && o <= max_order
                };
                match zone.alloc_at(Pfn::new(pfn), order(o), MigrateType::ALL[t]) {
                    Ok(()) => model.add(Pfn::new(pfn), o),
                    Err(_) => assert!(!fits(&model), "{pfn} order {o} was free"),
                }
            }
            Step::Bulk(n, t) => {
                let mut out = vec![Pfn::default(); n];
                let got = zone.alloc_bulk(order(0), MigrateType::ALL[t], &mut out);
                assert_eq!(got as u32, (total - model.frames()).min(n as u32));
                out[..got].iter().for_each(|pfn| model.add(*pfn, 0));
            }
            Step::FreeMany(n) => {
                let single = model.0.iter().filter(|(_, o)| **o == 0).take(n);
                let mut blocks: Vec<Pfn> = single.map(|(pfn, _)| Pfn::new(*pfn)).collect();
                if n % 2 == 0 {
                    blocks.reverse();
                }
                zone.free_bulk(&blocks, order(0)).unwrap();
                model.0.retain(|pfn, _| !blocks.contains(&Pfn::new(*pfn)));
            }
            Step::Split(n) => {
                if let Some((&pfn, &o)) = model.0.iter().nth(n % model.0.len().max(1)) {
                    zone.split_block(Pfn::new(pfn), order(o)).unwrap();
                    model.0.remove(&pfn);
                    (pfn..pfn + (1 << o)).for_each(|pfn| model.add(Pfn::new(pfn), 0));
                }
            }
            Step::Compact(o) => {
                let mut moved = Vec::new();
                let mut nth = 0;
                zone.compact(order(o.min(max_order)), &mut |from, to, order: Order| {
                    nth += 1;
                    moved.push((nth % 5 != 0).then_some((from, to, order.get())));
                    nth % 5 != 0
                });
                for (from, to, o) in moved.into_iter().flatten() {
                    assert_eq!(model.0.remove(&from.get()), Some(o));
                    model.add(to, o);
                }
            }
        }
        assert_eq!(zone.free_frames() + model.frames(), total);
        if model.0.len() % 3 == 0 {
            figures_are_settled(&mut zone);
        }
    }
    zone.check().unwrap();
    for (pfn, o) in model.0 {
        zone.free(Pfn::new(pfn), order(o)).unwrap();
    }
    zone.check().unwrap();
    assert_eq!(zone.free_blocks(), fresh, "all merged again");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn follows_the_model(steps in steps()) {
        run(steps, 10);
    }

    #[test]
    fn follows_the_model_with_small_blocks(steps in steps(), max_order in 0..10_usize) {
        run(steps, max_order);
    }
}

/// Figures are those of the settled sets, and looking at them settles nothing.
fn figures_are_settled(zone: &mut Zone<'_>) {
    let of_all = |zone: &Zone<'_>| MigrateType::ALL.map(|migrate| zone.free_blocks_of(migrate));
    let counted = of_all(zone);
    // Compaction settles before it looks; for one frame there is nothing to move.
    zone.compact(Order::ZERO, &mut |_, _, _| false);
    assert_eq!(counted, of_all(zone));
}

/// A long random run from one seed; `HEAPWISE_PAGES_SEED` replays another.
#[test]
fn long_run() {
    let seed = std::env::var("HEAPWISE_PAGES_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("HEAPWISE_PAGES_SEED={seed}");
    let mut random = Rng::new(seed);
    let mut zone = filled(1 << 15);
    let mut blocks: Vec<(Pfn, Order)> = Vec::new();
    for step in 0..400_000 {
        let phase = step / 20_000 % 2 == 0;
        if random.index(100) < if phase { 60 } else { 40 } {
            let order = order((random.index(11) * random.index(11)) / 10);
            let migrate = MigrateType::ALL[random.index(3)];
            if let Ok(pfn) = zone.alloc(order, migrate) {
                blocks.push((pfn, order));
            }
        } else if !blocks.is_empty() {
            let (pfn, order) = blocks.swap_remove(random.index(blocks.len()));
            zone.free(pfn, order).unwrap();
            assert_eq!(zone.free(pfn, order), Err(FreeError::DoubleFree));
        }
        if step % 50_000 == 0 {
            zone.check().unwrap();
        }
        if step % 7 == 0 {
            figures_are_settled(&mut zone);
        }
    }
    for (pfn, order) in blocks {
        zone.free(pfn, order).unwrap();
    }
    zone.check().unwrap();
    assert_eq!(zone.free_blocks()[10], 32);
}

/// Every order to the end, then one more; not a frame is lost.
#[test]
fn runs_out_at_every_order() {
    for o in Order::all() {
        let mut zone = filled(4096);
        let blocks: Vec<Pfn> =
            std::iter::from_fn(|| zone.alloc(o, MigrateType::Movable).ok()).collect();
        assert_eq!(blocks.len(), 4096 >> o.get());
        assert_eq!(zone.free_frames(), 0);
        for _ in 0..3 {
            assert_eq!(zone.alloc(o, MigrateType::Unmovable), Err(AllocError::OutOfMemory));
        }
        zone.check().unwrap();
        for pfn in blocks {
            zone.free(pfn, o).unwrap();
        }
        assert_eq!(zone.free_blocks()[10], 4);
        zone.check().unwrap();
    }
}

#[test]
fn misuse_is_refused_and_changes_nothing() {
    let mut zone = filled(2048);
    let pfn = zone.alloc(order(3), MigrateType::Unmovable).unwrap();
    let before = zone.free_blocks();
    let inside = Pfn::new(pfn.get() + 2);
    let head = FreeError::InsideBlock { head: pfn, order: order(3) };
    let wrong = FreeError::WrongOrder { allocated: order(3) };
    assert_eq!(zone.free(pfn, order(2)), Err(wrong));
    assert_eq!(zone.free(inside, order(1)), Err(head));
    assert_eq!(zone.free(inside, order(3)), Err(FreeError::Misaligned));
    assert_eq!(zone.free(Pfn::new(2048), order(0)), Err(FreeError::Foreign));
    assert_eq!(zone.free(Pfn::new(u32::MAX), order(0)), Err(FreeError::Foreign));
    assert_eq!(zone.free(Pfn::new(1024), order(0)), Err(FreeError::DoubleFree));
    assert_eq!(zone.free_blocks(), before);
    zone.free(pfn, order(3)).unwrap();
    assert_eq!(zone.free(pfn, order(3)), Err(FreeError::DoubleFree));
    let bulk = [Pfn::new(0), Pfn::new(0)];
    zone.alloc_at(Pfn::new(0), order(0), MigrateType::Movable).unwrap();
    let twice = BulkFreeError { freed: 1, cause: FreeError::DoubleFree };
    assert_eq!(zone.free_bulk(&bulk, order(0)), Err(twice));
    zone.check().unwrap();
    assert_eq!(zone.free_blocks()[10], 2);
}

/// 2 MiB + 1 on a fragmented zone: fails, and is there after compaction.
#[test]
fn compaction_makes_a_large_block() {
    let mut zone = filled(4096);
    let mut out = vec![Pfn::default(); 4096];
    assert_eq!(zone.alloc_bulk(order(0), MigrateType::Movable, &mut out), 4096);
    let (mut owners, mut freed) = (vec![false; 4096], Vec::new());
    for pfn in out {
        if pfn.get() % 4 == 0 {
            owners[pfn.get() as usize] = true;
        } else {
            freed.push(pfn);
        }
    }
    zone.free_bulk(&freed, order(0)).unwrap();
    let large = Order::for_bytes((2 << 20) + 1).unwrap();
    assert_eq!(zone.alloc(large, MigrateType::Movable), Err(AllocError::OutOfMemory));
    assert!(zone.fragmentation_index(large) > 500, "{}", zone.fragmentation_index(large));
    assert_eq!(zone.unusable_index(large), 1000);
    let done = zone.compact(large, &mut |from: Pfn, to: Pfn, order: Order| {
        assert_eq!(order, Order::ZERO);
        assert!(core::mem::take(&mut owners[from.get() as usize]));
        assert!(!core::mem::replace(&mut owners[to.get() as usize], true));
        true
    });
    assert!(done.success && done.moved > 0);
    zone.check().unwrap();
    assert_eq!(zone.fragmentation_index(large), -1000);
    zone.alloc(large, MigrateType::Movable).unwrap();
    for (pfn, owned) in owners.iter().enumerate() {
        let result = zone.free(Pfn::new(pfn as u32), order(0));
        assert_eq!(result.is_ok(), *owned);
    }
}

#[test]
fn pinned_frames_stay() {
    let mut zone = filled(1024);
    zone.alloc_at(Pfn::new(3), order(0), MigrateType::Movable).unwrap();
    let done = zone.compact(order(10), &mut |_, _, _| false);
    assert_eq!((done.success, done.moved, done.refused), (false, 0, 1));
    zone.free(Pfn::new(3), order(0)).unwrap();
    assert_eq!(zone.free_blocks()[10], 1);
    zone.check().unwrap();
}

/// Unmovable requests take whole pageblocks, so that they stay together.
#[test]
fn unmovable_blocks_stay_together() {
    let mut zone = filled(16 * 512);
    for _ in 0..400 {
        zone.alloc(order(0), MigrateType::Unmovable).unwrap();
        zone.alloc(order(0), MigrateType::Movable).unwrap();
        zone.alloc(order(0), MigrateType::Reclaimable).unwrap();
    }
    let untouched = zone.free_blocks()[9] + 2 * zone.free_blocks()[10];
    assert!(untouched >= 16 - 6, "{untouched} pageblocks left whole");
    zone.check().unwrap();
}

#[test]
fn zones_fall_back_and_keep_their_reserve() {
    let mut zones = Zones::new();
    let (dma, dma32) = (ZoneKind::Dma, ZoneKind::Dma32);
    zones.add_zone(zone(dma, 0, 4096, 10)).unwrap();
    zones.add_zone(zone(dma32, 4096, 65536, 10)).unwrap();
    zones.add_zone(zone(ZoneKind::Normal, 65536, 262_144, 10)).unwrap();
    assert_eq!(zones.add_region(Pfn::new(1), Pfn::new(300_000)), Err(RegionError::Foreign));
    zones.add_region(Pfn::new(1), Pfn::new(262_144)).unwrap();
    assert_eq!(zones.add_region(Pfn::new(9), Pfn::new(10)), Err(RegionError::Overlap));
    let reserve = zones.zone(dma).unwrap().watermarks().reserve;
    assert_eq!(reserve, [0, (65536 - 4096) / 256, (262_144 - 4096) / 256]);
    let mut got = vec![Vec::new(); 3];
    while let Ok(pfn) = zones.alloc(order(0), Request::KERNEL) {
        let zone = zones.iter().find(|z| z.span().0 <= pfn && pfn < z.span().1).unwrap();
        got[zone.kind().index()].push(pfn);
    }
    // What is left below is the reserve and the min mark, for those who need it.
    let left = zones.zone(dma).unwrap();
    let marks = left.watermarks();
    assert_eq!(left.free_frames(), marks.min + marks.reserve[2]);
    assert!(zones.needs_reclaim(Request::KERNEL));
    assert!(zones.alloc(order(0), Request::KERNEL.below(dma)).is_ok());
    assert!(zones.alloc(order(0), Request::KERNEL.urgent(Urgency::Atomic)).is_ok());
    let exhaust = Request::KERNEL.urgent(Urgency::Exhaust);
    while zones.alloc(order(0), exhaust).is_ok() {}
    assert_eq!(zones.free_frames(), 0);
    assert_eq!(zones.alloc(order(10), exhaust), Err(AllocError::OutOfMemory));
}

#[test]
fn prints_as_linux_does() {
    let zones = machine(3 * 1024);
    let text = BuddyInfo(&zones).to_string();
    let zeros = "     0 ".repeat(10);
    assert_eq!(text, format!("Node 0, zone   Normal {zeros}     3 \n"));
    assert_eq!(PageTypeInfo(&zones).to_string().lines().count(), 3);
}
