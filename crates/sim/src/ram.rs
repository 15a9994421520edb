//! The machine's memory: a host file in memory, all of it mapped once (the direct map).
//!
//! ```text
//!   memfd   │ frame 0 │ frame 1 │ …
//!              ▲ direct map: the kernel      ▲ windows: programs (live backing)
//! ```
//! Untouched frames cost the host nothing.

use heapwise_pages::{PAGE_SIZE, Pfn};
use heapwise_vm::Contents;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// How much of a frame is really written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fidelity {
    /// Its first word stands for all of it: enough to tell copies apart.
    Word,
    /// Every byte: programs run on it.
    Bytes,
    /// Nothing: what programs write is elsewhere ([`Behind::Memory`](crate::Behind)).
    Nothing,
}

/// The memory.
#[derive(Debug)]
pub struct Ram {
    file: OwnedFd,
    base: usize,
    bytes: usize,
}

impl Ram {
    /// So much memory, all zeros. O(frames).
    ///
    /// # Errors
    /// The host has no address space, or no memory files.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: a name that ends; the result is checked.
        let fd = unsafe { libc::memfd_create(c"heapwise-sim".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and ours.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: a file of ours.
        if unsafe { libc::ftruncate(fd, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a new mapping where the host likes.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, base: base.expose_provenance(), bytes })
    }

    /// Where the direct map starts in the host.
    #[must_use]
    pub const fn base(&self) -> usize {
        self.base
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// A frame, by the direct map.
    fn frame(&self, pfn: Pfn) -> *mut u64 {
        let at = pfn.get() as usize * PAGE_SIZE as usize;
        assert!(at < self.bytes, "{pfn:?} is behind the end of memory");
        std::ptr::with_exposed_provenance_mut(self.base + at)
    }

    /// A frame's first word.
    #[must_use]
    pub fn word(&self, pfn: Pfn) -> u64 {
        // SAFETY: inside the mapping, aligned; programs write through other mappings
        // of the same file on this very thread only.
        unsafe { self.frame(pfn).read_volatile() }
    }

    /// Writes a frame's first word.
    pub fn set_word(&self, pfn: Pfn, word: u64) {
        // SAFETY: as in `word`.
        unsafe { self.frame(pfn).write_volatile(word) }
    }

    fn zero(&self, pfn: Pfn) {
        // SAFETY: as in `word`; a whole frame.
        unsafe { std::ptr::write_bytes(self.frame(pfn).cast::<u8>(), 0, PAGE_SIZE as usize) }
    }

    fn copy(&self, from: Pfn, to: Pfn) {
        let (from, to) = (self.frame(from), self.frame(to));
        // SAFETY: as in `word`; two frames, the same or disjoint.
        unsafe { std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), PAGE_SIZE as usize) }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        let base = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: our mapping; the kernel that used it is gone.
        unsafe { libc::munmap(base, self.bytes) };
    }
}

/// Frames' contents, as faithful as the machine needs them.
#[derive(Clone, Copy)]
pub struct RamContents<'m> {
    pub(crate) ram: &'m Ram,
    pub(crate) fidelity: Fidelity,
}

impl Contents for RamContents<'_> {
    fn zero(&mut self, pfn: Pfn) {
        match self.fidelity {
            Fidelity::Word => self.ram.set_word(pfn, 0),
            Fidelity::Bytes => self.ram.zero(pfn),
            Fidelity::Nothing => {}
        }
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        match self.fidelity {
            Fidelity::Word => self.ram.set_word(to, self.ram.word(from)),
            Fidelity::Bytes => self.ram.copy(from, to),
            Fidelity::Nothing => {}
        }
    }
}
