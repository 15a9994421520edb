//! Medium objects: I/O buffers, images, rows of pages: 8 to 64 KiB, a few
//! dozen alive in each thread, replaced at random, a word of each page written.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const REPLACEMENTS: usize = 12_000_000;
const LIVE: usize = 48;

pub fn run(load: &Load) {
    let each = load.share(REPLACEMENTS);
    load.in_threads(|number| {
        let mut random = Random::new(number);
        let mut live: Vec<Block> =
            (0..LIVE).map(|_| Block::touched(random.size(8 << 10, 64 << 10))).collect();
        for _ in 0..each {
            let index = random.below(LIVE);
            live[index] = Block::touched(random.size(8 << 10, 64 << 10));
        }
    });
}
