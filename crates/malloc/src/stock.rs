//! Keeping a thread cache stocked: how much a list may hold, refills, overflows.
//!
//! How long a list may get adapts: its limit starts low; at the limit an overflow
//! gives all but the newest few to the depot, one more without a refill between
//! halves the bound, and demand that comes back raises the limit fourfold. So
//! one-way frees keep little here and swings keep what they need. Below its limit a
//! list's bound rises as it fills, out of one allowance for the whole cache, and
//! falls when the list has run empty: what counts is what is here, not what might be.

use crate::arena::Held;
use crate::cache::{END_BIN, FIRST_BIN, count};
use crate::chunk::{Chunk, at, prefetch};
use crate::fatal::Fault;
use crate::os::Os;
use crate::tunables::{Setting, Settings};
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::header::ALIGNMENT;
use heapwise_layout::size::{bin_size, cache_bin};
use heapwise_layout::state::{Cache, CacheBin, Parcel};

/// A list starts with room for this many bytes.
const FIRST_BOUND_BYTES: usize = 16 << 10;
/// No bound falls below this: an overflow costs some 400 instructions, to be shared by what it gives up …
const LOW_BOUND_BYTES: usize = 4 << 10;
/// … nor, in a large arena, below this: there what waits for it ([`crate::waiting`]) is cold.
const LARGE_LOW_BOUND_BYTES: usize = 8 << 10;
/// No bound grows beyond this.
const HIGH_BOUND_BYTES: usize = 1 << 20;
/// The first refill fetches this much, each further one half as much again …
const FIRST_FILL_BYTES: usize = 1 << 10;
/// … up to this, …
const HIGH_FILL_BYTES: usize = 16 << 10;
/// … and in an arena other than the main one up to this part of what it has, …
const FILL_SHARE: usize = 512;
/// … if that is no less than this: so what threads fetch beyond their need is a small part.
const LOW_FILL_BYTES: usize = 2 << 10;

/// An overflow leaves no more chunks than this in the cache, so that they are found quickly.
const KEEP: u32 = 64;

/// `bytes` as a number of chunks of `size`, at least `least`.
fn chunks(bytes: usize, size: usize, least: usize) -> u32 {
    (bytes / size).max(least) as u32
}

/// Where the bound of a class of `size` bytes starts.
fn first_bound(size: usize) -> u32 {
    chunks(FIRST_BOUND_BYTES, size, 2)
}

/// Sets the bounds of an empty cache as they are at the start.
pub fn set_bounds(cache: &Cache, settings: &Settings) {
    let most = settings.get(Setting::CacheCount) as u32;
    let largest = settings.get(Setting::CacheMax);
    for (index, bin) in cache.bins.iter().enumerate().take(END_BIN).skip(FIRST_BIN) {
        let size = bin_size(index);
        let most = if size > largest + ALIGNMENT { 0 } else { most };
        let bound = first_bound(size).min(most);
        bin.bound.set(bound);
        bin.limit.set(bound);
        bin.room.set(bound as i32);
        bin.fill.set(chunks(FIRST_FILL_BYTES, size, 1).min(most.max(1)) as u16);
        bin.overflows.set(0);
    }
    cache.granted_bytes.set(0);
}

/// Gives a bin another bound; chunks in it stay.
fn set_bound(cache: &Cache, index: usize, bound: u32) {
    let bin = &cache.bins[index];
    let size = bin_size(index) as u32;
    let beyond = |bound: u32| bound.saturating_sub(first_bound(size as usize)) * size;
    let granted = cache.granted_bytes.get() - beyond(bin.bound.get()) + beyond(bound);
    cache.granted_bytes.set(granted);
    bin.room.set(bin.room.get() + (i64::from(bound) - i64::from(bin.bound.get())) as i32);
    bin.bound.set(bound);
}

/// A bin is over its bound: raises that if the bin's limit and the cache's allow, and
/// nothing was flushed since the last refill.
///
/// So what all bins hold is bounded, not what each might.
pub(crate) fn grant(cache: &Cache, index: usize, cache_bytes: usize) -> bool {
    let bin = &cache.bins[index];
    let bound = bin.bound.get();
    let new = bound.saturating_mul(2).min(bin.limit.get());
    let more = (new as usize).saturating_sub(bound as usize) * bin_size(index);
    if more == 0
        || bin.overflows.get() > 0
        || cache.granted_bytes.get() as usize + more > cache_bytes
    {
        return false;
    }
    set_bound(cache, index, new);
    true
}

impl<O: Os> Held<'_, O> {
    /// Fills a bin that is empty. False if the kernel gives no more.
    pub(crate) fn refill(&self, cache: &Cache, index: usize) -> bool {
        let bin = &cache.bins[index];
        let size = bin_size(index);
        self.drain_inbox(Some(cache));
        self.demand(cache, index);
        self.merge_if_asked();
        if bin.head.get() != 0 {
            return true;
        }
        if let Some((first, count)) = self.unpark(index) {
            bin.head.set(first);
            bin.room.set((i64::from(bin.bound.get()) - count as i64) as i32);
            return true;
        }
        self.go_on_merging();
        // Empty, so what was granted to it may serve others.
        set_bound(cache, index, bin.limit.get().min(first_bound(size)));
        let fill = bin.fill.get().min(chunks(self.high_fill(), size, 1) as u16);
        let run = self.take_run(size, (fill as usize).min(bin.bound.get().max(1) as usize));
        if run.count == 0 {
            return false;
        }
        bin.head.set(run.first);
        bin.room.set(bin.bound.get() as i32 - run.count as i32);
        bin.fill.set(
            (fill as u32 + (fill as u32).div_ceil(2))
                .min(chunks(self.high_fill(), size, 1))
                .min(0xffff) as u16,
        );
        true
    }

    /// The most that a class is filled with at once.
    fn high_fill(&self) -> usize {
        if self.is_main() {
            return HIGH_FILL_BYTES;
        }
        let share = self.arena.system_bytes.load(Relaxed) / FILL_SHARE;
        share.clamp(LOW_FILL_BYTES, HIGH_FILL_BYTES)
    }

    /// A bin could not serve. If it has overflown before, its bound may now rise to
    /// four times the limit that there had been.
    pub(crate) fn demand(&self, cache: &Cache, index: usize) {
        let bin = &cache.bins[index];
        if bin.overflows.replace(0) == 0 {
            return;
        }
        let most = chunks(HIGH_BOUND_BYTES, bin_size(index), 1)
            .min(self.root.settings.get(Setting::CacheCount) as u32);
        // 0: turned off.
        if bin.limit.get() > 0 {
            bin.limit.set((bin.limit.get() * 4).min(most).max(bin.limit.get()));
        }
    }

    /// A bin is over its bound and could not be granted more: the older half goes to the arena.
    pub(crate) fn overflow(&self, cache: &Cache, index: usize) {
        let bin = &cache.bins[index];
        if bin.overflows.get() > 0 {
            let old = bin.bound.get();
            let least = if self.is_large() { LARGE_LOW_BOUND_BYTES } else { LOW_BOUND_BYTES };
            let low = chunks(least, bin_size(index), 1).min(old);
            set_bound(cache, index, (old / 2).max(low));
        }
        bin.overflows.set(bin.overflows.get().saturating_add(1));
        self.merge_if_asked();
        self.give_up(cache, index, (bin.bound.get() / 2).min(KEEP));
    }

    /// All but the newest `keep` chunks of a bin go to the depot, as they are; to the arena if
    /// the class is not to be cached.
    pub(crate) fn give_up(&self, cache: &Cache, index: usize, keep: u32) {
        let bin = &cache.bins[index];
        if bin.limit.get() == 0 {
            return self.flush(bin);
        }
        let mut last = 0;
        let mut first = bin.head.get();
        let mut kept = 0;
        while kept < keep && first != 0 {
            last = first;
            first = self.next_in_transit(first);
            kept += 1;
        }
        let count = i64::from(count(bin)) - i64::from(kept);
        if first == 0 {
            return;
        }
        if last == 0 {
            bin.head.set(0);
        } else {
            // SAFETY: in the list, so a chunk in transit that is this thread's.
            unsafe { at::<usize>(last).write(0) };
        }
        bin.room.set((i64::from(bin.bound.get()) - i64::from(kept)) as i32);
        self.park(index, first, count as usize);
    }

    /// Gives every chunk of a bin to the arena.
    fn flush(&self, bin: &CacheBin) {
        self.give_list(bin.head.replace(0));
        bin.room.set(bin.bound.get() as i32);
    }

    /// Gives every chunk of a list to the arena.
    pub(crate) fn give_list(&self, first: usize) {
        let mut pointer = first;
        while pointer != 0 {
            let next = self.next_in_transit(pointer);
            self.give(Chunk::of(pointer));
            pointer = next;
        }
    }

    /// The chunk behind `pointer` in a list of chunks in transit.
    pub(crate) fn next_in_transit(&self, pointer: usize) -> usize {
        if !pointer.is_multiple_of(ALIGNMENT) {
            self.root.fatal(Fault::UnalignedInTransit);
        }
        // SAFETY: in the list, so a chunk in transit.
        unsafe { at::<usize>(pointer).read() }
    }

    /// Takes what other threads freed: into `cache`, whose full lists go to the depot, or into
    /// the bins.
    pub(crate) fn drain_inbox(&self, cache: Option<&Cache>) {
        let mut first = crate::inbox::take_all(&self.arena.inbox.head);
        if first != 0 {
            self.arena.inbox.bytes.store(0, Relaxed);
        }
        while first != 0 {
            if !first.is_multiple_of(ALIGNMENT) {
                self.root.fatal(Fault::UnalignedInTransit);
            }
            // SAFETY: pushed by whoever freed it, so the first chunk of a parcel and now ours.
            let (parcel, size) =
                unsafe { (&*at::<Parcel>(first), Chunk::of(first).header().size()) };
            let below = parcel.below.get();
            prefetch(below);
            match cache.zip(cache_bin(size)) {
                Some((cache, index)) if cache.bins[index].limit.get() > 0 => {
                    self.take_parcel(cache, index, first, parcel.end.get());
                }
                _ => {
                    self.large_goes(first, size);
                    self.give_list(first);
                }
            }
            first = below;
        }
    }

    /// Puts a parcel before what a bin holds; that goes to the depot if there is no room for both.
    fn take_parcel(&self, cache: &Cache, index: usize, first: usize, end: usize) {
        let bin = &cache.bins[index];
        let (last, count) = Parcel::last_and_count(end);
        if i64::from(bin.room.get()) < count as i64 {
            self.give_up(cache, index, 0);
        }
        if !last.is_multiple_of(ALIGNMENT) {
            self.root.fatal(Fault::UnalignedInTransit);
        }
        // SAFETY: the parcel's last chunk, in transit and ours.
        unsafe { at::<usize>(last).write(bin.head.get()) };
        bin.head.set(first);
        bin.room.set(bin.room.get() - count as i32);
    }

    /// Gives every chunk of a cache to the arena.
    pub(crate) fn flush_all(&self, cache: &Cache) {
        for index in FIRST_BIN..END_BIN {
            let bin = &cache.bins[index];
            self.give_up(cache, index, 0);
            bin.room.set(bin.bound.get() as i32);
        }
    }
}

/// Bytes that wait in a cache (a racy look, for the helper and for statistics).
pub(crate) fn cached_bytes(cache: &Cache) -> usize {
    let bytes = |index| count(&cache.bins[index]) as usize * bin_size(index);
    (FIRST_BIN..END_BIN).map(bytes).sum()
}
