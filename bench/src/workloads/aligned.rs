//! Aligned memory: vector code, direct I/O, lock-free structures: alignments
//! from 32 bytes to a page, sizes from one to eight times that.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const REPLACEMENTS: usize = 8_000_000;
const LIVE: usize = 1_000;

fn block(random: &mut Random) -> Block {
    let align = 32 << random.below(8);
    Block::aligned(align, align * random.between(1, 8))
}

pub fn run(load: &Load) {
    let mut random = Random::new(6);
    let mut live: Vec<Block> = (0..LIVE).map(|_| block(&mut random)).collect();
    for _ in 0..load.count(REPLACEMENTS) {
        let index = random.below(LIVE);
        live[index] = block(&mut random);
    }
}
