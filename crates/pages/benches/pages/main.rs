//! Nanoseconds an operation, ours beside the peers', in one run.
//!
//! ```text
//!   cargo bench -p heapwise-pages
//! ```
//! Every figure is the median of several rounds over 2 GiB of frames (512 Ki
//! frames; the peers' memory is reserved, not touched). "Fragmented" frees in
//! random order, every second frame still in use.
#![allow(missing_docs)]

mod buddies;
mod clock;
mod objects;

use buddies::*;
use clock::ROUNDS;
use heapwise_pages::raw::SpinLock;
use heapwise_pages::{ORDERS, Pages};
use objects::slabs;

fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let order = shuffled(FRAMES as usize);
    let mut blocks = Vec::with_capacity(FRAMES as usize);
    let mut bare = Bare(zones());
    let mut front = Fronted(Pages::new(zones(), SpinLock::new), Box::default());
    let mut slab = Intrusive::new();
    let mut sets = Sets::new();
    let mut bits = Bitmap::new();

    println!("ns an operation, median of {ROUNDS}; 2 GiB in frames of 4 KiB; best peer / ours\n");
    print!("{:<26}{:>14}{:>14}", "", "ours, front", "ours, zone");
    println!("{:>14}{:>14}{:>14}{:>14}", "buddy-slab", "buddy_system", "ax bitmap", "ratio");
    // Get and put; the ratio is the best peer's time over that of our zone, so
    // above 1 where we are faster.
    let row = |name: &str, cells: [Option<(f64, f64)>; 5]| {
        let cell = |times: Option<(f64, f64)>| match times {
            Some((0.0, put)) => format!("{put:.2}"),
            Some((get, put)) => format!("{get:.2} / {put:.2}"),
            None => "-".into(),
        };
        let best = |of: fn((f64, f64)) -> f64| {
            cells[2..].iter().flatten().map(|times| of(*times)).fold(f64::INFINITY, f64::min)
        };
        let ratio = cells[1].filter(|_| cells[2].is_some()).map(|(get, put)| {
            (if get == 0.0 { 0.0 } else { best(|t| t.0) / get }, best(|t| t.1) / put)
        });
        let [front, bare, slab, sets, bits] = cells.map(cell);
        print!("{name:<26}{front:>14}{bare:>14}");
        println!("{slab:>14}{sets:>14}{bits:>14}{:>14}", cell(ratio));
    };
    let one = |time: f64| Some((0.0, time));
    if wanted("calls") {
        row("calls of 256, order 0", [None, Some(bulk_calls()), None, None, None]);
    }
    for at in (0..ORDERS).filter(|_| wanted("bulk")) {
        row(
            &format!("one by one, order {at}"),
            [
                Some(bulk(&mut front, at, &mut blocks)),
                Some(bulk(&mut bare, at, &mut blocks)),
                Some(bulk(&mut slab, at, &mut blocks)),
                Some(bulk(&mut sets, at, &mut blocks)),
                (at == 0).then(|| bulk(&mut bits, at, &mut blocks)),
            ],
        );
    }
    for at in [0, 9].into_iter().filter(|_| wanted("pair")) {
        row(
            &format!("pair, order {at}"),
            [
                one(pair(&mut front, at)),
                one(pair(&mut bare, at)),
                one(pair(&mut slab, at)),
                one(pair(&mut sets, at)),
                one(pair(&mut bits, at)),
            ],
        );
    }
    if wanted("fragmented") {
        row(
            "fragmented, at random",
            [
                Some(fragmented(&mut front, &order)),
                Some(fragmented(&mut bare, &order)),
                Some(fragmented(&mut slab, &order)),
                None,
                Some(fragmented(&mut bits, &order)),
            ],
        );
    }
    if wanted("random") {
        row(
            "random free of all",
            [
                one(random_free(&mut front, &order)),
                one(random_free(&mut bare, &order)),
                one(random_free(&mut slab, &order)),
                one(random_free(&mut sets, &order)),
                one(random_free(&mut bits, &order)),
            ],
        );
    }
    if wanted("random") {
        let time = Merging::random_free(&order);
        println!("merging in bit sets alone, nothing checked or counted: {time:.2}");
    }
    if wanted("front") {
        let (one, batches) = front_pairs();
        println!("\nfront: {one:.2} ns a pair, {batches:.2} in batches of 32");
    }
    if wanted("threads") {
        let (time, factor) = scaling();
        println!("two threads: {time:.2} ns a pair on one, {factor:.2} times the speed on two");
    }
    if wanted("slab") {
        slabs();
    }
}
