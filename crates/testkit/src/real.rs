//! A platform for tests with real threads: real memory, real futexes, and a
//! thread that counts as asleep while it says so.
//!
//! Under Linux the allocator asks the kernel whether a thread is blocked. Here a
//! thread is blocked inside [`RealOs::asleep`] (a barrier, a channel) and while
//! it waits for a lock of the allocator's, which is when a mistake would show.

use crate::os::{Boot, MemoryOs};
use heapwise_malloc::os::{Os, Span};
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Instant;

/// Most threads at once.
const THREADS: usize = 64;
const FUTEX_WAIT_PRIVATE: i32 = 128;
const FUTEX_WAKE_PRIVATE: i32 = 128 | 1;

thread_local! {
    static ID: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Real threads over the memory of a simulated kernel.
pub struct RealOs {
    memory: MemoryOs,
    asleep: [AtomicBool; THREADS],
    next_id: AtomicU32,
    start: Instant,
    /// How often a helper was asked for.
    pub helper_starts: AtomicU32,
}

impl RealOs {
    /// A platform with nothing given out.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory: MemoryOs::new(Boot::default()),
            asleep: [const { AtomicBool::new(false) }; THREADS],
            next_id: AtomicU32::new(1),
            start: Instant::now(),
            helper_starts: AtomicU32::new(0),
        }
    }

    /// The calling thread sleeps while `body` runs: its cache may be lent.
    pub fn asleep<T>(&self, body: impl FnOnce() -> T) -> T {
        let flag = &self.asleep[self.thread_id() as usize % THREADS];
        flag.store(true, SeqCst);
        let result = body();
        // A thread that wakes in the kernel passes a full barrier; so does this swap.
        flag.swap(false, SeqCst);
        result
    }
}

impl Default for RealOs {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: all memory comes from the kernel in memory, which keeps the promises
// of the trait and locks what it knows; the rest is atomic.
unsafe impl Os for RealOs {
    fn page_bytes(&self) -> usize {
        self.memory.page_bytes()
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        self.memory.sbrk(delta)
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        self.memory.map(bytes)
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        self.memory.reserve(bytes)
    }

    unsafe fn commit(&self, range: Span) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.memory.commit(range) }
    }

    unsafe fn unmap(&self, range: Span) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.memory.unmap(range) }
    }

    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.memory.remap(old, new_bytes) }
    }

    unsafe fn purge(&self, ranges: &[Span]) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.memory.purge(ranges) }
    }

    fn advise_huge(&self, range: Span) {
        self.memory.advise_huge(range);
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn usable_cores(&self) -> usize {
        self.memory.usable_cores()
    }

    fn random(&self) -> u64 {
        self.memory.random()
    }

    fn thread_id(&self) -> u32 {
        if ID.get() == 0 {
            ID.set(self.next_id.fetch_add(1, Relaxed));
        }
        ID.get()
    }

    fn thread_attached(&self) {}

    fn parked(&self, thread_id: u32) -> bool {
        self.asleep[thread_id as usize % THREADS].load(SeqCst)
    }

    fn wait(&self, word: &AtomicU32, value: u32) {
        self.asleep(|| {
            let timeout = libc::timespec { tv_sec: 20, tv_nsec: 0 };
            // SAFETY: a word and a timeout that live through the call.
            let result = unsafe {
                libc::syscall(libc::SYS_futex, word.as_ptr(), FUTEX_WAIT_PRIVATE, value, &timeout)
            };
            let timed_out = result != 0
                && std::io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT);
            assert!(!timed_out, "a wake-up was lost, or somebody holds a lock for 20 s");
        });
    }

    fn wake(&self, word: &AtomicU32) {
        // SAFETY: a word that lives through the call.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), FUTEX_WAKE_PRIVATE, 1) };
    }

    fn pause(&self) {
        self.asleep(|| std::thread::sleep(std::time::Duration::from_millis(1)));
    }

    fn start_helper(&self) -> bool {
        self.helper_starts.fetch_add(1, Relaxed);
        true
    }

    fn sample(&self, _: &heapwise_layout::report::ProcessRecord) {}

    fn fatal(&self, line: &str) -> ! {
        panic!("the allocator ends the program: {line}")
    }
}

/// A block handed from thread to thread, full of its pattern.
#[derive(Clone, Copy, Debug)]
pub struct Parcel {
    /// Its address.
    pub pointer: usize,
    /// Its size.
    pub bytes: usize,
}

impl Parcel {
    /// Fills a fresh block.
    #[must_use]
    pub fn pack(pointer: usize, bytes: usize) -> Self {
        crate::pattern::fill(pointer, bytes, bytes as u64);
        Self { pointer, bytes }
    }

    /// Asserts that nobody else wrote there.
    ///
    /// # Panics
    /// If somebody did.
    pub fn verify(self) {
        let damage =
            crate::pattern::damage(self.pointer, self.bytes, self.bytes, self.bytes as u64);
        assert_eq!(damage, None, "{self:x?} was overwritten");
    }
}
