//! Short-lived threads: one a task; each allocates a little, frees it and ends.
//! What an allocator pays at the birth and death of a thread.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const LIVES: usize = 16_000;
const OBJECTS: usize = 300;

pub fn run(load: &Load) {
    for round in 0..load.share(LIVES) {
        load.in_threads(|number| {
            let mut random = Random::new(round + number);
            let mut live: Vec<Block> =
                (0..OBJECTS).map(|_| Block::new(random.size(16, 4096))).collect();
            random.shuffle(&mut live);
        });
    }
}
