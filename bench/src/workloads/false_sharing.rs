//! False sharing: two threads that write different objects of one cache line.
//!
//! Active: the allocator itself gives neighbours to different threads. Passive:
//! the program hands neighbours to different threads, which free them; an
//! allocator that then reuses them where they were freed keeps the line shared.

use super::Load;
use crate::heap::Block;
use std::sync::Mutex;

const ROUNDS: usize = 10_000_000;
const WRITES: usize = 200;
const BYTES: usize = 8;

fn hammer(rounds: usize) {
    for _ in 0..rounds {
        Block::new(BYTES).hammer(WRITES);
    }
}

pub fn active(load: &Load) {
    let rounds = load.share(ROUNDS);
    load.in_threads(|_| hammer(rounds));
}

pub fn passive(load: &Load) {
    let rounds = load.share(ROUNDS);
    let seeds: Mutex<Vec<Block>> =
        Mutex::new((0..load.threads).map(|_| Block::new(BYTES)).collect());
    load.in_threads(|_| {
        let seed = seeds.lock().expect("nobody panics").pop();
        if let Some(mut seed) = seed {
            seed.hammer(WRITES);
        }
        hammer(rounds);
    });
}
