//! Fixed-size pairs: a temporary in a loop, the shortest path an allocator has.
//! Four sizes, one after another, each malloc followed by its free. Some objects
//! of the size stay alive meanwhile: an allocator that gives a page back when
//! its last object dies would otherwise do so at every free.

use super::Load;
use crate::heap::Block;

const PAIRS: usize = 100_000_000;
const ALIVE: usize = 100;
const SIZES: [usize; 4] = [16, 64, 200, 700];

pub fn run(load: &Load) {
    let each = load.share(PAIRS) / SIZES.len();
    load.in_threads(|_| {
        for bytes in SIZES {
            let alive: Vec<Block> = (0..ALIVE).map(|_| Block::new(bytes)).collect();
            for _ in 0..each {
                drop(Block::new(bytes));
            }
            drop(alive);
        }
    });
}
