//! A lock of one word: spin briefly, then sleep.
//!
//! States: 0 free, 1 held, 2 held and (perhaps) waited for. Three-state futex
//! mutex after Drepper, "Futexes are tricky" (2011).

use crate::os::Os;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Looks at the word this often before sleeping: about the time of a short hold.
const SPINS: u32 = 100;

/// Takes the lock if it is free.
#[inline]
pub fn try_lock(word: &AtomicU32) -> bool {
    word.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
}

/// Takes the lock.
#[inline]
pub fn lock<O: Os>(os: &O, word: &AtomicU32) {
    if !try_lock(word) {
        lock_contended(os, word);
    }
}

#[cold]
fn lock_contended<O: Os>(os: &O, word: &AtomicU32) {
    for _ in 0..SPINS {
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
pub fn unlock<O: Os>(os: &O, word: &AtomicU32) {
    if word.swap(0, Release) == 2 {
        os.wake(word);
    }
}
