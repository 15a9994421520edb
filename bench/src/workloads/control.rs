//! The control: arithmetic alone, nothing allocated. What a second thread brings
//! here is what the machine has to give; no allocator can scale better.

use super::Load;
use crate::random::Random;

/// Beside the others in the table of scaling, in no mean.
pub const NAME: &str = "control";

const STEPS: usize = 300_000_000;

pub fn run(load: &Load) {
    let each = load.share(STEPS);
    load.in_threads(|number| {
        let mut random = Random::new(number);
        std::hint::black_box((0..each).fold(0, |sum: u64, _| sum.wrapping_add(random.next())));
    });
}
