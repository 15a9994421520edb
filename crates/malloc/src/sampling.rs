//! Samples of a profile: a Poisson process over the bytes that a thread asks for.
//!
//! ```text
//! bytes asked for  ────x──────────x──x───────────────────x────►   x: a sample falls here
//! allocations      [  ][ ][      ][ ][][   ][          ][ ]       the one it falls into is watched
//! ```
//! A thread counts down to its next sample; an allocation that reaches it is
//! watched: its stack is taken, and its header gets another tag, which the
//! fast path of free does not know. So a profile costs free nothing, and malloc
//! a call and a subtraction.

use crate::cache::{is_sampled, live_header, look, pop_small};
use crate::chunk::Chunk;
use crate::os::Os;
use crate::root::{Allocator, Place};
use crate::threads::Slot;
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::{TAG_SHIFT, sampled_tag};
use heapwise_layout::state::{ArenaState, Cache, MODE_UNATTACHED};

/// The header word, without P, of a watched live chunk.
pub(crate) fn sampled_header(arena: &ArenaState, size: usize) -> u64 {
    let live = live_header(arena, size);
    live & ((1 << TAG_SHIFT) - 1) | sampled_tag(live >> TAG_SHIFT) << TAG_SHIFT
}

/// Whether no sample falls into `bytes`, at most `isize::MAX`: then they are counted.
#[inline(always)]
pub fn passes(cache: &Cache, bytes: usize) -> bool {
    // Caches that are shared by all threads are never written: there nothing is left.
    let left = cache.countdown.get() - bytes.max(1) as i64;
    if left > 0 {
        cache.countdown.set(left);
    }
    left > 0
}

/// malloc of a small class while a profile is on, as far as the closed thread cache serves it and
/// no sample is due: the user pointer, else 0, also where no profile is on.
///
/// # Safety
/// As [`counting`].
#[inline(always)]
pub unsafe fn malloc_counting(cache: *const Cache, request: usize) -> usize {
    // SAFETY: a cache, by contract.
    let cache = unsafe { &*cache };
    if request >= look(&cache.sample_limit) {
        return 0;
    }
    // A request of no bytes is worth none.
    let left = cache.countdown.get() - request as i64;
    if left <= 0 {
        return 0;
    }
    // SAFETY: the limit says that the cache is this thread's, and its arena too.
    let pointer = unsafe { pop_small(cache, request) };
    if pointer != 0 {
        cache.countdown.set(left);
    }
    pointer
}

/// What `serve` takes for `request` bytes of a thread cache that a profile has closed, while no
/// sample is due: a user pointer, else 0.
///
/// # Safety
/// `cache` is the calling thread's. The caller stands in the section of the fast paths: a helper
/// that lends the cache changes the mode first, then looks where the thread is.
#[inline(always)]
pub unsafe fn counting(
    cache: *const Cache,
    request: usize,
    serve: impl FnOnce(*const Cache) -> usize,
) -> usize {
    // SAFETY: the calling thread's cache, by contract.
    if !unsafe { is_sampled(cache) } {
        return 0;
    }
    // SAFETY: a cache, by contract.
    let countdown = unsafe { &(*cache).countdown };
    let left = countdown.get() - request.max(1) as i64;
    if left <= 0 {
        return 0;
    }
    let pointer = serve(cache);
    if pointer != 0 {
        countdown.set(left);
    }
    pointer
}

impl<O: Os> Allocator<O> {
    /// Counts `bytes` down; true if a sample falls into them. `mean_bytes` apart on average.
    pub fn count_down(&self, slot: &Slot, bytes: usize, mean_bytes: u64) -> bool {
        let cache = slot.cache();
        // Those two are shared and never written.
        if cache.mode.load(Relaxed) == MODE_UNATTACHED {
            return false;
        }
        if cache.sample_seed.get() == 0 {
            let seed = self.os.random() ^ u64::from(self.os.thread_id()) << 32 ^ self.os.now_ns();
            cache.sample_seed.set(seed | 1);
            cache.countdown.set(next_distance(cache, mean_bytes));
        }
        let bytes = i64::try_from(bytes.max(1)).unwrap_or(i64::MAX);
        let left = cache.countdown.get().saturating_sub(bytes);
        if left > 0 {
            cache.countdown.set(left);
            return false;
        }
        cache.countdown.set(next_distance(cache, mean_bytes));
        true
    }

    /// The block just allocated at `pointer` is watched: [`Os::note_sampled_free`] tells of its end.
    pub fn watch(&self, pointer: usize) {
        // A chunk with a mapping of its own comes by the slow path anyway.
        if let Place::Heap(arena, _) = self.locate(pointer) {
            let chunk = Chunk::of(pointer);
            // Before the tag: whoever sees that must find it valid.
            self.watched.fetch_add(1, Relaxed);
            // SAFETY: the caller's live chunk; tags are stored alone by whoever holds the chunk.
            unsafe {
                let size = chunk.header().size();
                chunk.set_tag((sampled_header(arena, size) >> TAG_SHIFT) as u16);
            }
        }
    }

    /// Whether caches count down.
    pub fn is_sampling(&self) -> bool {
        self.sampling.load(Relaxed) != 0
    }

    /// From now on the caches of all threads count down, or no longer.
    pub fn set_sampling(&self, on: bool) {
        self.sampling.store(u32::from(on), Relaxed);
        for arena in self.arenas() {
            let held = self.hold(arena);
            for cache in held.caches() {
                cache.sampling.set(u32::from(on));
            }
            held.publish_range();
        }
    }
}

/// Bytes to the next sample: exponentially distributed, at least 1.
fn next_distance(cache: &Cache, mean_bytes: u64) -> i64 {
    // xorshift64*
    let mut x = cache.sample_seed.get();
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    cache.sample_seed.set(x);
    distance(x.wrapping_mul(0x2545_f491_4f6c_dd1d), mean_bytes)
}

/// −ln(u) × mean for a `u` in (0, 1] made of `random`.
fn distance(random: u64, mean_bytes: u64) -> i64 {
    // 53 bits, never 0.
    let bits = (random >> 11) + 1;
    let exponent = bits.ilog2();
    let mantissa = bits as f64 / (1u64 << exponent) as f64;
    // ln m = 2 artanh((m − 1) / (m + 1)); 1 ≤ m < 2, so the series converges at once.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series =
        1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square * (1.0 / 9.0))));
    let ln = f64::from(exponent) * core::f64::consts::LN_2 + 2.0 * t * series
        - 53.0 * core::f64::consts::LN_2;
    ((-ln * mean_bytes as f64) as i64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_exponential() {
        // Against the library's logarithm, over the whole range of u.
        for bits in [1u64, 2, 3, 1 << 20, (1 << 52) + 12345, (1 << 53) - 1, 1 << 53] {
            let u = bits as f64 / (1u64 << 53) as f64;
            let expected = (-u.ln() * 1e9).max(1.0);
            let got = distance((bits - 1) << 11, 1_000_000_000) as f64;
            assert!((got - expected).abs() <= expected * 1e-4 + 2e5, "{bits}: {got} {expected}");
        }
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        };
        let mean = (0..200_000).map(|_| distance(next(), 1 << 19) as f64).sum::<f64>() / 2e5;
        assert!((mean / (1 << 19) as f64 - 1.0).abs() < 0.02, "{mean}");
    }
}
