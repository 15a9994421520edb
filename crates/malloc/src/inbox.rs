//! The inbox of an arena: what other threads freed, a lock-free stack of parcels.
//!
//! Many push, one takes all. Taking the whole list at once leaves no room for
//! an ABA problem: no node is ever popped alone.

use crate::atomic::Atomic;
use core::sync::atomic::Ordering;

/// Pushes the parcel that begins with `first`; `link` notes in it which one lies below.
/// Returns true if the inbox was empty.
#[inline]
pub fn push(head: &impl Atomic<usize>, first: usize, link: impl Fn(usize)) -> bool {
    let mut old = head.load(Ordering::Relaxed);
    loop {
        link(old);
        match head.compare_exchange(old, first, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return old == 0,
            Err(now) => old = now,
        }
    }
}

/// Takes everything; 0 if there is nothing.
#[inline]
pub fn take_all(head: &impl Atomic<usize>) -> usize {
    if head.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    head.swap(0, Ordering::Acquire)
}
