//! Numbered tasks for several threads: whoever is done takes the next.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads beyond this gain nothing: memory is what they wait for.
const MOST_THREADS: usize = 8;

/// So many threads are worth it here: the processors that the calling thread may use, at most 8.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

/// The numbers from 0 on, each given to one caller only.
#[derive(Debug)]
pub struct Turns {
    next: AtomicUsize,
    count: usize,
}

impl Turns {
    /// `count` of them.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { next: AtomicUsize::new(0), count }
    }
}

impl Iterator for &Turns {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        // Nothing is passed on by it: what the tasks find is told by the end of their threads.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.count).then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_given_once() {
        let turns = &Turns::new(1000);
        let mut all: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| turns.collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
