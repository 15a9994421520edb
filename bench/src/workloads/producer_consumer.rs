//! Producer and consumer: one thread allocates messages and sends them, the
//! other reads and frees them, so that no freed memory comes back by itself.
//! Half of the threads produce, each for a consumer of its own.

use super::Load;
use crate::heap::Block;
use crate::random::Random;
use std::sync::mpsc::sync_channel;

const MESSAGES: usize = 30_000_000;
const BATCH: usize = 100;
const QUEUE: usize = 20;

pub fn run(load: &Load) {
    let pairs = (load.threads / 2).max(1);
    let batches = load.count(MESSAGES) / BATCH / pairs;
    std::thread::scope(|scope| {
        for number in 0..pairs {
            let (sender, receiver) = sync_channel::<Vec<Block>>(QUEUE);
            scope.spawn(move || {
                let mut random = Random::new(number);
                for _ in 0..batches {
                    let batch = (0..BATCH).map(|_| Block::new(random.size(16, 512))).collect();
                    sender.send(batch).expect("the consumer waits for all batches");
                }
            });
            scope.spawn(move || {
                let read = |batch: Vec<Block>| batch.iter().map(Block::get).sum::<usize>();
                std::hint::black_box(receiver.iter().map(read).sum::<usize>());
            });
        }
    });
}
