//! A lock of one word: spin briefly, then sleep.
//!
//! States: 0 free, 1 held, 2 held and (perhaps) waited for. Three-state futex
//! mutex after Drepper, "Futexes are tricky" (2011).

use crate::atomic::Atomic;
use crate::os::Os;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Who lets a thread sleep on a word: the platform, or a model of it.
pub trait Sleep<W> {
    /// Looks at the word this often before sleeping: about the time of a short hold.
    const SPINS: u32 = 100;
    /// As [`Os::wait`].
    fn wait(&self, word: &W, value: u32);
    /// As [`Os::wake`].
    fn wake(&self, word: &W);
}

impl<O: Os> Sleep<AtomicU32> for O {
    fn wait(&self, word: &AtomicU32, value: u32) {
        Os::wait(self, word, value);
    }

    fn wake(&self, word: &AtomicU32) {
        Os::wake(self, word);
    }
}

/// Takes the lock if it is free.
#[inline]
pub fn try_lock(word: &impl Atomic<u32>) -> bool {
    word.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
}

/// Takes the lock.
#[inline]
pub fn lock<W: Atomic<u32>, S: Sleep<W>>(os: &S, word: &W) {
    if !try_lock(word) {
        lock_contended(os, word);
    }
}

#[cold]
fn lock_contended<W: Atomic<u32>, S: Sleep<W>>(os: &S, word: &W) {
    for _ in 0..S::SPINS {
        if word.load(Relaxed) == 0 && try_lock(word) {
            return;
        }
        core::hint::spin_loop();
    }
    while word.swap(2, Acquire) != 0 {
        os.wait(word, 2);
    }
}

/// Releases the lock.
#[inline]
pub fn unlock<W: Atomic<u32>, S: Sleep<W>>(os: &S, word: &W) {
    if word.swap(0, Release) == 2 {
        os.wake(word);
    }
}
