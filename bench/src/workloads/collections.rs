//! A multi-threaded Rust program: strings, vectors, hash and tree maps are
//! built, sent to the next thread and dropped there. Everything goes through
//! Rust's own `System` allocator, so through malloc.

use super::Load;
use crate::random::Random;
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::channel;

const PARCELS: usize = 400_000;

struct Parcel {
    lines: Vec<String>,
    words: BTreeMap<usize, Box<[usize]>>,
}

fn pack(random: &mut Random) -> Parcel {
    let lines = (0..random.below(20)).map(|_| "x".repeat(random.below(200))).collect();
    let words = (0..random.below(12)).map(|key| (key, (0..random.below(60)).collect())).collect();
    Parcel { lines, words }
}

fn weigh(parcel: &Parcel) -> usize {
    parcel.lines.iter().map(String::len).sum::<usize>()
        + parcel.words.values().map(|words| words.len()).sum::<usize>()
}

pub fn run(load: &Load) {
    let each = load.share(PARCELS);
    std::thread::scope(|scope| {
        let (mut senders, receivers): (Vec<_>, Vec<_>) =
            (0..load.threads).map(|_| channel()).unzip();
        senders.rotate_left(1);
        for (number, (next, inbox)) in senders.into_iter().zip(receivers).enumerate() {
            scope.spawn(move || {
                let mut random = Random::new(number);
                let mut kept: HashMap<usize, Parcel> = HashMap::new();
                let mut sum = 0;
                for _ in 0..each {
                    let _ = next.send(pack(&mut random));
                    let mut parcel: Parcel = inbox.recv().expect("the neighbour sends as many");
                    sum += weigh(&parcel);
                    parcel.lines.push("y".repeat(random.below(3_000)));
                    kept.insert(random.below(200), parcel);
                }
                std::hint::black_box(sum);
            });
        }
    });
}
