//! Memory from whatever allocator serves this process: malloc and its family,
//! called by name through libc, so that a preloaded library answers.
//!
//! A [`Block`] is one such allocation: it frees itself when dropped, and can
//! move to another thread first. Every pointer passes `black_box`, since the
//! compiler may otherwise remove a malloc whose block nobody reads.

use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::ptr::NonNull;

/// No block is smaller, so that its first word can always be written.
pub const LEAST_BYTES: usize = size_of::<usize>();
const PAGE_BYTES: usize = 4096;

/// One allocation of at least [`LEAST_BYTES`]; its first word is always written.
pub struct Block(NonNull<usize>);

// SAFETY: a block owns its memory, and malloc lets any thread free it.
unsafe impl Send for Block {}

impl Block {
    fn from_raw(pointer: *mut c_void) -> Self {
        Self(NonNull::new(black_box(pointer).cast()).expect("out of memory"))
    }

    /// malloc, the first word written.
    #[inline]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES);
        // SAFETY: any size may be asked for.
        let mut block = Self::from_raw(unsafe { libc::malloc(bytes) });
        block.set(bytes);
        block
    }

    /// malloc, one word of each page written.
    pub fn touched(bytes: usize) -> Self {
        let block = Self::new(bytes);
        block.touch_from(0, bytes.max(LEAST_BYTES));
        block
    }

    /// malloc, every byte written.
    pub fn written(bytes: usize) -> Self {
        let block = Self::new(bytes);
        // SAFETY: the block has that many bytes.
        unsafe { block.0.cast::<u8>().write_bytes(0x5a, bytes) };
        black_box(block)
    }

    /// calloc; its first word is 0 and its last byte is looked at.
    pub fn zeroed(bytes: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES);
        // SAFETY: any size may be asked for.
        let block = Self::from_raw(unsafe { libc::calloc(1, bytes) });
        // SAFETY: inside the block, which calloc has initialised.
        let last = unsafe { block.0.cast::<u8>().add(bytes - 1).read() };
        assert!(block.get() == 0 && last == 0, "calloc gave memory that is not zero");
        block
    }

    /// posix_memalign; `align` is a power of two ≥ 8. The first word is written.
    pub fn aligned(align: usize, bytes: usize) -> Self {
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the result is a local variable.
        let failed = unsafe { libc::posix_memalign(&mut pointer, align, bytes.max(LEAST_BYTES)) };
        assert!(failed == 0 && pointer.addr() % align == 0, "posix_memalign failed");
        let mut block = Self::from_raw(pointer);
        block.set(bytes);
        block
    }

    /// realloc from `old` to `new` bytes; what is new is touched page by page.
    pub fn resize(&mut self, old: usize, new: usize) {
        // SAFETY: a live block, replaced by what realloc returns.
        let moved = unsafe { libc::realloc(self.0.as_ptr().cast(), new.max(LEAST_BYTES)) };
        self.0 = NonNull::new(black_box(moved).cast()).expect("out of memory");
        if new > old {
            self.touch_from(old, new);
        }
    }

    fn touch_from(&self, start: usize, bytes: usize) {
        for at in (start..bytes).step_by(PAGE_BYTES) {
            // SAFETY: inside the block.
            unsafe { self.0.cast::<u8>().add(at).write(1) };
        }
    }

    /// Its first word.
    #[inline]
    pub fn get(&self) -> usize {
        // SAFETY: every block has a first word, and it is written.
        unsafe { self.0.read() }
    }

    /// Writes its first word.
    #[inline]
    pub fn set(&mut self, word: usize) {
        // SAFETY: every block has a first word.
        unsafe { self.0.write(word) };
    }

    /// Writes its first word so that the store really happens, `times` times.
    pub fn hammer(&mut self, times: usize) {
        for word in 0..times {
            // SAFETY: every block has a first word.
            unsafe { self.0.as_ptr().write_volatile(word) };
        }
    }

    /// Where it is.
    pub fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// The pointer itself; the block is then the taker's to free.
    pub fn into_raw(self) -> *mut usize {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// The block of a pointer from [`Block::into_raw`], `None` for null.
    ///
    /// # Safety
    /// Each pointer comes back once.
    pub unsafe fn from_pointer(pointer: *mut usize) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a live block, dropped once.
        unsafe { libc::free(self.0.as_ptr().cast()) };
    }
}

/// The path of the library whose malloc serves this process.
pub fn serving_library() -> String {
    // SAFETY: dlsym and dladdr read the loader's tables; the name in the answer
    // belongs to a library that stays loaded.
    unsafe {
        let malloc = libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr());
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(malloc, &mut info) == 0 || info.dli_fname.is_null() {
            return String::new();
        }
        CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned()
    }
}
