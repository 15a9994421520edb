//! What the tests share: owned books, and a seeded generator.
#![allow(dead_code)]

use heapwise_pages::{Metadata, Order, Pfn, Zone, ZoneKind, Zones};
use std::sync::atomic::AtomicU8;

/// Books that live as long as the test program.
pub fn metadata(start: u32, end: u32) -> Metadata<'static> {
    let (start, end) = (Pfn::new(start), Pfn::new(end));
    let frames: Vec<AtomicU8> =
        (0..Metadata::frame_bytes(start, end)).map(|_| AtomicU8::new(0)).collect();
    Metadata { frames: frames.leak(), words: vec![0; Metadata::words(start, end)].leak() }
}

pub fn zone(kind: ZoneKind, start: u32, end: u32, max_order: usize) -> Zone<'static> {
    let max_order = order(max_order);
    let (first, last) = (Pfn::new(start), Pfn::new(end));
    Zone::new(kind, first, last, max_order, metadata(start, end)).unwrap()
}

/// One zone with all its memory.
pub fn filled(frames: u32) -> Zone<'static> {
    let mut zone = zone(ZoneKind::Normal, 0, frames, 10);
    zone.add_region(Pfn::new(0), Pfn::new(frames)).unwrap();
    zone
}

/// One zone, as zones.
pub fn machine(frames: u32) -> Zones<'static> {
    let mut zones = Zones::new();
    zones.add_zone(zone(ZoneKind::Normal, 0, frames, 10)).unwrap();
    zones.add_region(Pfn::new(0), Pfn::new(frames)).unwrap();
    zones
}

pub fn order(order: usize) -> Order {
    Order::new(order as u8).unwrap()
}
