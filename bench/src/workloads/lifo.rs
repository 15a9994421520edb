//! LIFO batches: recursion, parsers, scopes: what was made last dies first.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const OBJECTS: usize = 100_000_000;
const BATCH: usize = 2_000;

pub fn run(load: &Load) {
    let mut random = Random::new(1);
    let sizes: Vec<usize> = (0..BATCH).map(|_| random.size(16, 512)).collect();
    let mut live = Vec::with_capacity(BATCH);
    for _ in 0..load.count(OBJECTS) / BATCH {
        live.extend(sizes.iter().map(|&bytes| Block::new(bytes)));
        while live.pop().is_some() {}
    }
}
