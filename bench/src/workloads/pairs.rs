//! Fixed-size pairs: a temporary in a loop, the shortest path an allocator has.
//! Four sizes, one after another, each malloc followed by its free.

use super::Load;
use crate::heap::Block;

const PAIRS: usize = 40_000_000;
const SIZES: [usize; 4] = [16, 64, 200, 700];

pub fn run(load: &Load) {
    let each = load.share(PAIRS) / SIZES.len();
    load.in_threads(|_| {
        for bytes in SIZES {
            for _ in 0..each {
                drop(Block::new(bytes));
            }
        }
    });
}
