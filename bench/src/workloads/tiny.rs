//! Tiny objects in random order: the nodes of a large tree or graph under
//! change, more of them than the processor's caches hold.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const OBJECTS: usize = 1_000_000;
const CHANGES: usize = 20_000_000;

pub fn run(load: &Load) {
    let mut random = Random::new(3);
    let mut live: Vec<Block> =
        (0..load.count(OBJECTS)).map(|_| Block::new(random.between(8, 40))).collect();
    for _ in 0..load.count(CHANGES) {
        let index = random.below(live.len());
        live[index] = Block::new(random.between(8, 40));
    }
}
