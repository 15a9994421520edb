//! A leaky long tail: phases of a long run, each with sizes of its own; of what
//! a phase allocates a fiftieth survives for a dozen phases more. Survivors pin
//! the pages around them: how much memory does a small live set hold?

use super::Load;
use crate::heap::Block;
use crate::random::Random;
use std::collections::VecDeque;

const PHASES: usize = 120;
const OBJECTS: usize = 60_000;
const SURVIVES_ONE_IN: usize = 50;
const TAIL: usize = 12;

pub fn run(load: &Load) {
    let mut random = Random::new(4);
    let mut tail: VecDeque<Vec<Block>> = VecDeque::new();
    let objects = load.count(OBJECTS);
    for phase in 0..PHASES {
        let low = 16 << (phase % 5);
        let mut live: Vec<Block> =
            (0..objects).map(|_| Block::written(random.size(low, 8 * low))).collect();
        random.shuffle(&mut live);
        live.truncate(objects / SURVIVES_ONE_IN);
        live.shrink_to_fit();
        tail.push_back(live);
        if tail.len() > TAIL {
            tail.pop_front();
        }
    }
}
