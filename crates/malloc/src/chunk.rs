//! A chunk in memory: reading and writing its words.
//!
//! A header word is shared: its P belongs to whoever may touch the chunk before
//! it, its tag to whoever frees the chunk. So P is edited as a byte and a
//! foreign free stores the 16 tag bits alone; neither can lose the other's
//! change. Only the one thread of an exclusive arena writes whole headers of
//! live chunks, since nobody else edits P there.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};
use heapwise_layout::header::{HEADER_BYTES, HEADER_OFFSET, Header, PREV_IN_USE};

/// A chunk's address: its user pointer − 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk(pub usize);

/// A pointer to `address`, which came from the platform as a number.
#[inline(always)]
pub fn at<T>(address: usize) -> *mut T {
    core::ptr::with_exposed_provenance_mut(address)
}

/// Has the processor fetch the line of `address`, mapped or not.
#[inline(always)]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Chunk {
    /// No chunk.
    pub const NONE: Self = Self(0);

    /// The chunk of a user pointer.
    #[inline(always)]
    pub fn of(pointer: usize) -> Self {
        Self(pointer - HEADER_BYTES)
    }

    /// Its user pointer.
    #[inline(always)]
    pub fn pointer(self) -> usize {
        self.0 + HEADER_BYTES
    }

    /// The chunk `bytes` further up.
    #[inline(always)]
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes)
    }

    /// The chunk `bytes` further down.
    #[inline(always)]
    pub fn before(self, bytes: usize) -> Self {
        Self(self.0 - bytes)
    }

    /// Its header word.
    ///
    /// # Safety
    /// The word is mapped, here and in all methods below.
    #[inline(always)]
    pub unsafe fn header(self) -> Header {
        // SAFETY: mapped by contract, 8-aligned as every chunk is 16-aligned.
        Header(unsafe { AtomicU64::from_ptr(at(self.0 + HEADER_OFFSET)) }.load(Relaxed))
    }

    /// Writes the whole header word.
    ///
    /// # Safety
    /// As [`Chunk::header`]; and nobody else may edit this header now.
    #[inline(always)]
    pub unsafe fn set_header(self, header: Header) {
        // SAFETY: mapped by contract, 8-aligned.
        unsafe { AtomicU64::from_ptr(at(self.0 + HEADER_OFFSET)) }.store(header.0, Relaxed);
    }

    /// The header word of a chunk that only this thread may touch now.
    ///
    /// # Safety
    /// As [`Chunk::header`]; the chunk is live and the caller's to free, or in
    /// this thread's cache, and its arena this thread's alone.
    #[inline(always)]
    pub unsafe fn own_header(self) -> Header {
        // SAFETY: mapped by contract, 8-aligned.
        Header(unsafe { at::<u64>(self.0 + HEADER_OFFSET).read() })
    }

    /// As [`Chunk::own_header`], at an address that may be no chunk's at all.
    ///
    /// # Safety
    /// The word is mapped.
    #[inline(always)]
    pub unsafe fn wild_header(self) -> Header {
        // SAFETY: mapped by contract; a stray pointer may be odd.
        Header(unsafe { at::<u64>(self.0 + HEADER_OFFSET).read_unaligned() })
    }

    /// Writes the header word of such a chunk.
    ///
    /// # Safety
    /// As [`Chunk::own_header`].
    #[inline(always)]
    pub unsafe fn set_own_header(self, header: Header) {
        // SAFETY: mapped by contract, 8-aligned.
        unsafe { at::<u64>(self.0 + HEADER_OFFSET).write(header.0) }
    }

    /// Sets or clears P, alone.
    ///
    /// # Safety
    /// As [`Chunk::header`]; the arena's lock is held.
    #[inline(always)]
    pub unsafe fn set_prev_in_use(self, in_use: bool) {
        // SAFETY: mapped by contract; the low byte of the little-endian header.
        let byte = unsafe { AtomicU8::from_ptr(at(self.0 + HEADER_OFFSET)) };
        let old = byte.load(Relaxed);
        let bit = PREV_IN_USE as u8;
        byte.store(if in_use { old | bit } else { old & !bit }, Relaxed);
    }

    /// Stores the tag, alone.
    ///
    /// # Safety
    /// As [`Chunk::header`].
    #[inline(always)]
    pub unsafe fn set_tag(self, tag: u16) {
        // SAFETY: mapped by contract; the high half-word of the little-endian header.
        unsafe { AtomicU16::from_ptr(at(self.0 + HEADER_OFFSET + 6)) }.store(tag, Relaxed);
    }

    /// The word at `offset` from the chunk.
    ///
    /// # Safety
    /// As [`Chunk::header`]; a free chunk, or the `prev_size` of one's next neighbour.
    #[inline(always)]
    pub unsafe fn word(self, offset: usize) -> usize {
        // SAFETY: mapped by contract, 8-aligned.
        unsafe { at::<usize>(self.0 + offset).read() }
    }

    /// Writes the word at `offset` from the chunk.
    ///
    /// # Safety
    /// As [`Chunk::word`]; the lock of its arena is held, or the chunk is the caller's.
    #[inline(always)]
    pub unsafe fn set_word(self, offset: usize, value: usize) {
        // SAFETY: mapped by contract, 8-aligned.
        unsafe { at::<usize>(self.0 + offset).write(value) }
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "tags and flags are edited in place");
