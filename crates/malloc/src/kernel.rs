//! Calls to the kernel, each counted on its way down.

use crate::os::{Os, Span};
use crate::root::Allocator;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often each call was made.
pub struct KernelCalls {
    pub(crate) brk: AtomicU64,
    pub(crate) mmap: AtomicU64,
    pub(crate) munmap: AtomicU64,
    pub(crate) mremap: AtomicU64,
    pub(crate) mprotect: AtomicU64,
    pub(crate) madvise: AtomicU64,
    pub(crate) purged_bytes: AtomicU64,
}

impl KernelCalls {
    pub(crate) const fn new() -> Self {
        Self {
            brk: AtomicU64::new(0),
            mmap: AtomicU64::new(0),
            munmap: AtomicU64::new(0),
            mremap: AtomicU64::new(0),
            mprotect: AtomicU64::new(0),
            madvise: AtomicU64::new(0),
            purged_bytes: AtomicU64::new(0),
        }
    }

    /// Every counter.
    #[cfg(feature = "global")]
    pub(crate) fn all(&self) -> [&AtomicU64; 7] {
        [
            &self.brk,
            &self.mmap,
            &self.munmap,
            &self.mremap,
            &self.mprotect,
            &self.madvise,
            &self.purged_bytes,
        ]
    }
}

impl<O: Os> Allocator<O> {
    pub(crate) fn sbrk(&self, delta: isize) -> Option<usize> {
        if delta != 0 {
            self.kernel_calls.brk.fetch_add(1, Relaxed);
        }
        self.os.sbrk(delta)
    }

    pub(crate) fn map(&self, bytes: usize) -> Option<usize> {
        self.kernel_calls.mmap.fetch_add(1, Relaxed);
        self.os.map(bytes)
    }

    pub(crate) fn reserve(&self, bytes: usize) -> Option<usize> {
        self.kernel_calls.mmap.fetch_add(1, Relaxed);
        self.os.reserve(bytes)
    }

    /// # Safety
    /// As [`Os::commit`].
    pub(crate) unsafe fn commit(&self, range: Span) -> bool {
        self.kernel_calls.mprotect.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.os.commit(range) }
    }

    /// # Safety
    /// As [`Os::unmap`].
    pub(crate) unsafe fn unmap(&self, range: Span) -> bool {
        self.kernel_calls.munmap.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.os.unmap(range) }
    }

    /// # Safety
    /// As [`Os::remap`].
    pub(crate) unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        self.kernel_calls.mremap.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.os.remap(old, new_bytes) }
    }

    /// # Safety
    /// As [`Os::populate_huge`].
    pub(crate) unsafe fn populate_huge(&self, range: Span) -> bool {
        self.kernel_calls.madvise.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.os.populate_huge(range) }
    }

    /// # Safety
    /// As [`Os::purge`].
    pub(crate) unsafe fn purge_spans(&self, spans: &[Span]) -> bool {
        self.kernel_calls.madvise.fetch_add(1, Relaxed);
        let bytes: usize = spans.iter().map(|s| s.bytes()).sum();
        self.kernel_calls.purged_bytes.fetch_add(bytes as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.os.purge(spans) }
    }
}
