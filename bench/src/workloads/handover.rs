//! Hand-over: objects pass between threads through shared slots; whoever swaps
//! one out frees it, so that most frees are of another thread's objects
//! (thread pools with shared results, actor systems).

use super::Load;
use crate::heap::Block;
use crate::random::Random;
use std::sync::atomic::{AtomicPtr, Ordering::AcqRel};

const SWAPS: usize = 20_000_000;
const SLOTS: usize = 10_000;

pub fn run(load: &Load) {
    let slots: Vec<AtomicPtr<usize>> = (0..SLOTS).map(|_| AtomicPtr::default()).collect();
    let each = load.share(SWAPS);
    load.in_threads(|number| {
        let mut random = Random::new(number);
        for _ in 0..each {
            let block = Block::new(random.size(16, 1024));
            let old = slots[random.below(SLOTS)].swap(block.into_raw(), AcqRel);
            // SAFETY: each pointer entered a slot once and left it by this swap.
            drop(unsafe { Block::from_pointer(old) });
        }
    });
    for slot in slots {
        // SAFETY: the threads are gone; what is left in a slot left it to nobody.
        drop(unsafe { Block::from_pointer(slot.into_inner()) });
    }
}
