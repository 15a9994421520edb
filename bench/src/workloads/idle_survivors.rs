//! After a burst, one thread: 512 MiB of objects of 16 to 2048 bytes, 98 %
//! freed in random order; then five idle seconds. One page in ten holds a survivor.

use super::settle::{Places, settle};
use super::{Idle, Load};
use crate::heap::Block;
use crate::process::resident_bytes;
use crate::random::Random;

const BURST_BYTES: usize = 512 << 20;
const SMALLEST: usize = 16;
const LARGEST: usize = 2048;
const SURVIVES_ONE_IN: usize = 50;

pub fn run(load: &Load) -> Idle {
    let burst = load.count(BURST_BYTES);
    let mut places = Places::new(2 * burst / (SMALLEST + LARGEST) + 1_000);
    let start = resident_bytes();
    fill(&mut places, burst, &mut Random::new(7));
    settle(load, start, || places.live_page_bytes())
}

/// Allocates `bytes` in all and frees all but a fiftieth.
pub fn fill(places: &mut Places, bytes: usize, random: &mut Random) {
    let first = places.filled().len();
    let mut sum = 0;
    while sum < bytes {
        let size = random.between(SMALLEST, LARGEST);
        places.push(Block::written(size), size);
        sum += size;
    }
    let ours = &mut places.filled()[first..];
    random.shuffle(ours);
    let survivors = ours.len() / SURVIVES_ONE_IN;
    ours[survivors..].fill_with(|| None);
}
