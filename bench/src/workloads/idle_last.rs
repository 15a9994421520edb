//! After a burst, one thread: 100 MiB of small objects of which only the last
//! 1 MiB stays alive, at the top of the heap; then five idle seconds.

use super::settle::{Places, settle};
use super::{Idle, Load};
use crate::heap::Block;
use crate::process::resident_bytes;
use crate::random::Random;

const BURST_BYTES: usize = 100 << 20;
const ALIVE_BYTES: usize = 1 << 20;

pub fn run(load: &Load) -> Idle {
    let burst = load.count(BURST_BYTES).max(2 * ALIVE_BYTES);
    let mut places = Places::new(burst / 400);
    let mut random = Random::new(8);
    let start = resident_bytes();
    let mut sum = 0;
    let mut dead = 0;
    while sum < burst {
        let size = random.between(16, 2048);
        places.push(Block::written(size), size);
        sum += size;
        if sum < burst - ALIVE_BYTES {
            dead += 1;
        }
    }
    places.filled()[..dead].fill_with(|| None);
    settle(load, start, || places.live_page_bytes())
}
