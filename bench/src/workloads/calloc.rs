//! Zeroed memory: tables, matrices, interpreters' frames: 16 bytes to 256 KiB,
//! some dozens alive. Fresh pages are zero already; who knows it need not write.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const REPLACEMENTS: usize = 1_000_000;
const LIVE: usize = 64;

pub fn run(load: &Load) {
    let mut random = Random::new(5);
    let mut live: Vec<Block> =
        (0..LIVE).map(|_| Block::zeroed(random.size(16, 256 << 10))).collect();
    for _ in 0..load.count(REPLACEMENTS) {
        let index = random.below(LIVE);
        live[index] = Block::zeroed(random.size(16, 256 << 10));
        live[index].set(1);
    }
}
