//! A Rust program with many threads on the system allocator, for the tests to
//! run under preload: strings, maps and channels of boxes go from thread to
//! thread, and the sum of it all is printed.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const THREADS: u64 = 16;
const PARCELS: u64 = 2_000;

/// Something with many small allocations inside.
struct Parcel {
    lines: Vec<String>,
    words: BTreeMap<u64, Box<[u64]>>,
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn pack(random: &mut Random) -> Box<Parcel> {
    let lines =
        (0..random.below(20)).map(|i| "x".repeat((i * random.below(40)) as usize)).collect();
    let words = (0..random.below(12))
        .map(|key| (key, (0..random.below(200)).collect::<Vec<_>>().into_boxed_slice()))
        .collect();
    Box::new(Parcel { lines, words })
}

fn weigh(parcel: &Parcel) -> u64 {
    let lines: usize = parcel.lines.iter().map(String::len).sum();
    let words: u64 = parcel.words.iter().map(|(key, w)| key + w.iter().sum::<u64>()).sum();
    lines as u64 + words
}

fn work(number: u64, next: &Sender<Box<Parcel>>, inbox: &Receiver<Box<Parcel>>) -> u64 {
    let mut random = Random(number * 7919 + 1);
    let mut kept: HashMap<u64, Box<Parcel>> = HashMap::new();
    let mut sum = 0;
    for _ in 0..PARCELS {
        let parcel = pack(&mut random);
        next.send(parcel).expect("the neighbour waits for all parcels");
        let mut parcel = inbox.recv().expect("the neighbour sends all parcels");
        sum += weigh(&parcel);
        parcel.lines.push("y".repeat(random.below(3000) as usize));
        kept.insert(random.below(50), parcel); // drops an older one
    }
    // What is kept depends on the thread's own numbers only in number.
    sum + kept.len() as u64
}

fn main() {
    let (senders, mut receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| channel::<Box<Parcel>>()).unzip();
    receivers.rotate_left(1);
    let threads: Vec<_> = senders
        .into_iter()
        .zip(receivers)
        .enumerate()
        .map(|(number, (next, inbox))| {
            thread::spawn(move || (work(number as u64, &next, &inbox), next))
        })
        .collect();
    // Each sender lives until all have received.
    let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
    let sum: u64 = results.iter().map(|(sum, _)| sum).sum();
    println!("{sum}");
}
