//! Growing buffers: vectors and string builders that realloc by half of their
//! size until they hold 16 MiB, several of them in turns, then all over again.

use super::Load;
use crate::heap::Block;

const ROUNDS: usize = 60;
const BUFFERS: usize = 4;
const MOST_BYTES: usize = 16 << 20;

pub fn run(load: &Load) {
    for _ in 0..load.count(ROUNDS) {
        let mut bytes = 64;
        let mut buffers: Vec<Block> = (0..BUFFERS).map(|_| Block::new(bytes)).collect();
        while bytes < MOST_BYTES {
            let larger = bytes + bytes / 2;
            buffers.iter_mut().for_each(|buffer| buffer.resize(bytes, larger));
            bytes = larger;
        }
    }
}
