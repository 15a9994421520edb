//! Random batches: a data structure built in one order and torn down in another.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const OBJECTS: usize = 30_000_000;
const BATCH: usize = 20_000;

pub fn run(load: &Load) {
    let batches = load.share(OBJECTS).div_ceil(BATCH);
    load.in_threads(|number| {
        let mut random = Random::new(number);
        let sizes: Vec<usize> = (0..BATCH).map(|_| random.size(16, 1024)).collect();
        let mut order: Vec<usize> = (0..BATCH).collect();
        random.shuffle(&mut order);
        let mut live: Vec<Option<Block>> = Vec::with_capacity(BATCH);
        for _ in 0..batches {
            live.clear();
            live.extend(sizes.iter().map(|&bytes| Some(Block::new(bytes))));
            for &index in &order {
                live[index] = None;
            }
        }
    });
}
