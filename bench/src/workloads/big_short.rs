//! Big short-lived buffers: 256 KiB to 8 MiB for one request, one image, one
//! matrix; a word of each page written. Two alive at a time in each thread.

use super::Load;
use crate::heap::Block;
use crate::random::Random;

const BUFFERS: usize = 30_000;

pub fn run(load: &Load) {
    let each = load.share(BUFFERS);
    load.in_threads(|number| {
        let mut random = Random::new(number);
        let mut last = None;
        for _ in 0..each {
            let buffer = Block::touched(random.size(256 << 10, 8 << 20));
            last = Some(buffer);
        }
        drop(last);
    });
}
