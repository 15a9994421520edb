//! Server churn with hand-over: each worker has a table of live objects of
//! mixed sizes and replaces them at random; after a while a successor thread
//! inherits the table, so that it frees what another thread allocated (the
//! pattern of the Larson and Krishnan server benchmark).

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const REPLACEMENTS: usize = 40_000_000;
const TABLE: usize = 5_000;
const GENERATIONS: usize = 20;

fn work(table: &mut [Block], random: &mut Random, replacements: usize) {
    for _ in 0..replacements {
        let index = random.below(table.len());
        table[index] = Block::new(random.size(16, 2048));
    }
}

pub fn run(load: &Load) {
    let each = load.share(REPLACEMENTS) / GENERATIONS;
    load.in_threads(|number| {
        let mut random = Random::new(number);
        let mut table: Vec<Block> = (0..TABLE).map(|_| Block::new(random.size(16, 2048))).collect();
        for _ in 0..GENERATIONS {
            std::thread::scope(|scope| {
                scope.spawn(|| work(&mut table, &mut random, each));
            });
        }
    });
}
