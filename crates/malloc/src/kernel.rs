//! Calls to the kernel, each counted on its way down and noted on its way back.

use crate::os::{KernelNote, Os, Span};
use crate::root::Allocator;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapwise_layout::record::KernelOp;

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
    fn note_call(&self, op: KernelOp, address: usize, bytes: isize, failed: bool) {
        let none = KernelNote { op, address, bytes, new_address: 0, new_bytes: 0, failed };
        self.os.note_kernel_call(none);
    }

    pub(crate) fn sbrk(&self, delta: isize) -> Option<usize> {
        let old = self.os.sbrk(delta);
        if delta != 0 {
            self.kernel_calls.brk.fetch_add(1, Relaxed);
            self.note_call(KernelOp::Brk, old.unwrap_or(0), delta, old.is_none());
        }
        old
    }

    pub(crate) fn map(&self, bytes: usize) -> Option<usize> {
        self.kernel_calls.mmap.fetch_add(1, Relaxed);
        let got = self.os.map(bytes);
        self.note_call(KernelOp::Mmap, got.unwrap_or(0), bytes as isize, got.is_none());
        got
    }

    pub(crate) fn reserve(&self, bytes: usize) -> Option<usize> {
        self.kernel_calls.mmap.fetch_add(1, Relaxed);
        let got = self.os.reserve(bytes);
        self.note_call(KernelOp::Reserve, got.unwrap_or(0), bytes as isize, got.is_none());
        got
    }

    /// # Safety
    /// As [`Os::commit`].
    pub(crate) unsafe fn commit(&self, range: Span) -> bool {
        self.kernel_calls.mprotect.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        let done = unsafe { self.os.commit(range) };
        self.note_call(KernelOp::Mprotect, range.start, range.bytes() as isize, !done);
        done
    }

    /// # Safety
    /// As [`Os::unmap`].
    pub(crate) unsafe fn unmap(&self, range: Span) -> bool {
        self.kernel_calls.munmap.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        let done = unsafe { self.os.unmap(range) };
        self.note_call(KernelOp::Munmap, range.start, range.bytes() as isize, !done);
        done
    }

    /// Unmaps what of `whole` lies before and behind `kept`, a part of it.
    ///
    /// # Safety
    /// As [`Os::unmap`], for both ends.
    pub(crate) unsafe fn unmap_around(&self, whole: Span, kept: Span) {
        for end in [Span::new(whole.start, kept.start), Span::new(kept.end, whole.end)] {
            if end.bytes() > 0 {
                // SAFETY: the caller's promise.
                unsafe { self.unmap(end) };
            }
        }
    }

    /// # Safety
    /// As [`Os::remap`].
    pub(crate) unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        self.kernel_calls.mremap.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        let got = unsafe { self.os.remap(old, new_bytes) };
        self.os.note_kernel_call(KernelNote {
            op: KernelOp::Mremap,
            address: old.start,
            bytes: old.bytes() as isize,
            new_address: got.unwrap_or(0),
            new_bytes,
            failed: got.is_none(),
        });
        got
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
        let done = unsafe { self.os.purge(spans) };
        let start = spans.first().map_or(0, |span| span.start);
        self.note_call(KernelOp::Madvise, start, bytes as isize, !done);
        done
    }
}
