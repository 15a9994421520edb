//! A block from the C allocator, as the experiments handle it.
//!
//! Every call goes to `malloc`, `free` and their kin by name, so that whoever
//! serves the process (glibc, or the preloaded library) serves the experiment.
//! Pointers pass through `black_box`: the optimiser knows `malloc` and would
//! otherwise drop an allocation that nobody reads.

use core::hint::black_box;
use core::ptr;

use super::probe::page_bytes;

/// A live block, owned: freed at most once, and never by itself.
pub struct Block {
    start: *mut u8,
    bytes: usize,
}

impl Block {
    /// `malloc(bytes)`.
    pub fn new(bytes: usize) -> Self {
        // SAFETY: malloc has no preconditions.
        let start = unsafe { libc::malloc(black_box(bytes)) };
        Self { start: black_box(start.cast()), bytes }
    }

    /// `calloc(1, bytes)`.
    pub fn zeroed(bytes: usize) -> Self {
        // SAFETY: calloc has no preconditions.
        let start = unsafe { libc::calloc(1, black_box(bytes)) };
        Self { start: black_box(start.cast()), bytes }
    }

    /// Where it stands; 0 if the allocator refused.
    pub fn address(&self) -> usize {
        self.start.addr()
    }

    /// Whether the allocator refused.
    pub fn refused(&self) -> bool {
        self.start.is_null()
    }

    /// `malloc_usable_size`.
    pub fn usable(&self) -> usize {
        // SAFETY: a live block of this allocator, or null.
        unsafe { libc::malloc_usable_size(self.start.cast()) }
    }

    /// The word before the block: its size and flags, where the articles draw them.
    pub fn header(&self) -> usize {
        if self.refused() {
            return 0;
        }
        // SAFETY: both allocators keep a 16-byte header before the pointer, so these 8 bytes are mapped.
        unsafe { ptr::read_volatile(self.start.sub(8).cast::<usize>()) }
    }

    /// Writes every byte.
    pub fn fill(&mut self, byte: u8) {
        if !self.refused() {
            // SAFETY: the block is live and `bytes` long.
            unsafe { ptr::write_bytes(self.start, byte, self.bytes) };
            black_box(self.start);
        }
    }

    /// Writes one byte in each page of the first `bytes`.
    pub fn touch(&mut self, bytes: usize) {
        self.each_page(bytes, |at| {
            // SAFETY: `at` is inside the live block.
            unsafe { ptr::write_volatile(at, 1) }
        });
    }

    /// Reads one byte of each page.
    pub fn read_pages(&self) -> usize {
        let mut sum = 0;
        self.each_page(self.bytes, |at| {
            // SAFETY: `at` is inside the live block; fresh memory from the kernel reads as zero.
            sum += unsafe { ptr::read_volatile(at) } as usize;
        });
        sum
    }

    /// Whether every byte is `byte`.
    pub fn is_filled_with(&self, byte: u8) -> bool {
        // SAFETY: the block is live, `bytes` long, and the caller has filled or zeroed it before.
        !self.refused()
            && unsafe { core::slice::from_raw_parts(self.start, self.bytes) }
                .iter()
                .all(|&b| b == byte)
    }

    /// `madvise(MADV_DONTNEED)` on the whole pages inside; how many bytes that was.
    pub fn give_pages_back(&mut self) -> usize {
        let page = page_bytes();
        let lead = self.address().next_multiple_of(page) - self.address();
        let inside = self.bytes.saturating_sub(lead) / page * page;
        // SAFETY: whole pages inside a live block that nobody else uses; their content is given up.
        let answer =
            unsafe { libc::madvise(self.start.add(lead).cast(), inside, libc::MADV_DONTNEED) };
        if answer == 0 { inside } else { 0 }
    }

    /// `free`.
    pub fn free(self) {
        // SAFETY: `self` is the only handle of this live block and ends here.
        unsafe { libc::free(black_box(self.start.cast())) }
    }

    /// The bare pointer, for an experiment that misuses it.
    pub fn into_raw(self) -> *mut u8 {
        self.start
    }

    fn each_page(&self, bytes: usize, mut visit: impl FnMut(*mut u8)) {
        if self.refused() {
            return;
        }
        for offset in (0..bytes.min(self.bytes)).step_by(page_bytes()) {
            // SAFETY: `offset` is below the block's length.
            visit(unsafe { self.start.add(offset) });
        }
    }
}

/// Any number of blocks without a table of them: each holds the address of the next.
pub struct Chain {
    first: *mut u8,
    last: *mut u8,
    /// How many blocks it holds.
    pub count: usize,
    /// What was asked for in all.
    pub bytes: usize,
}

impl Chain {
    pub const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut(), count: 0, bytes: 0 }
    }

    /// Adds a block of at least 8 bytes, writing all of it. `false` if the allocator refused.
    pub fn push(&mut self, bytes: usize) -> bool {
        let mut block = Block::new(bytes.max(8));
        if block.refused() {
            return false;
        }
        block.fill(0x5a);
        let start = block.into_raw();
        // SAFETY: the block is live, aligned to 16 and at least 8 bytes long.
        unsafe { start.cast::<*mut u8>().write(ptr::null_mut()) };
        if self.last.is_null() {
            self.first = start;
        } else {
            // SAFETY: `last` is a live block of this chain.
            unsafe { self.last.cast::<*mut u8>().write(start) };
        }
        self.last = start;
        self.count += 1;
        self.bytes += bytes;
        true
    }

    /// Frees all of it, oldest first.
    pub fn free(self) {
        let mut next = self.first;
        while !next.is_null() {
            let block = next;
            // SAFETY: a live block of this chain; its link is read before it is freed, and it is freed once.
            unsafe {
                next = block.cast::<*mut u8>().read();
                libc::free(black_box(block.cast()));
            }
        }
    }
}
