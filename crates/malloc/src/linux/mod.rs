//! The platform: Linux with a C library (glibc; musl has the same names).
//!
//! System calls are made directly, so that errno is never touched; only the
//! break moves through the C library's `sbrk`, which keeps its own note of it.

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
pub mod machine;
#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "this processor needs a file like linux/x86_64.rs: system calls, the slot, a bare thread"
);

mod cores;
mod helper;
mod huge;
mod parked;

pub use helper::may_have_stream;

use crate::os::{KernelNote, Os, Span};
use core::ffi::{c_int, c_long, c_ulong, c_void};
use core::sync::atomic::AtomicU32;
use machine::{nr, syscall};

const PROT_READ_WRITE: usize = 1 | 2;
const MAP_PRIVATE_ANONYMOUS: usize = 0x02 | 0x20;
const MAP_NORESERVE: usize = 0x4000;
const NO_FD: usize = usize::MAX;
const MREMAP_MAYMOVE: usize = 1;
const MADV_DONTNEED: usize = 4;
const MADV_HUGEPAGE: usize = 14;
const FUTEX_WAIT: usize = 0;
const FUTEX_WAKE: usize = 1;
const FUTEX_WAIT_PRIVATE: usize = 128;
const FUTEX_WAKE_PRIVATE: usize = 128 | 1;
/// The calling process, where a pid file descriptor is asked for (Linux 6.14).
const PIDFD_SELF: usize = (-10001isize) as usize;
const AT_PAGESZ: c_ulong = 6;
/// Whether the program runs with more rights than its caller.
pub const AT_SECURE: c_ulong = 23;
const AT_RANDOM: c_ulong = 25;
const CLOCK_MONOTONIC: c_int = 1;
const RLIMIT_AS: usize = 9;
const CLOCK_MONOTONIC_COARSE: c_int = 6;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

#[link(name = "c")]
unsafe extern "C" {
    fn sbrk(increment: isize) -> *mut c_void;
    fn abort() -> !;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    /// An entry of the vector that the kernel passes to a program.
    pub fn getauxval(kind: c_ulong) -> c_ulong;
    fn pthread_setspecific(key: u32, value: *const c_void) -> c_int;
    fn __errno_location() -> *mut c_int;
}

/// The real kernel.
pub struct Linux {
    /// The key whose destructor ends a thread's cache, + 1; 0 before it is made.
    pub exit_key: AtomicU32,
}

impl Linux {
    /// The platform, without an exit key yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { exit_key: AtomicU32::new(0) }
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps errno over `body`: for calls into the C library that may set it.
fn keeping_errno<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: errno of this thread.
    let errno = unsafe { &mut *__errno_location() };
    let kept = *errno;
    let result = body();
    *errno = kept;
    result
}

/// Where the calling thread's errno stands.
fn errno_address() -> usize {
    // SAFETY: only computes an address.
    unsafe { __errno_location() }.addr()
}

/// Sets errno.
pub fn set_errno(value: i32) {
    // SAFETY: errno of this thread.
    unsafe { *__errno_location() = value };
}

/// Nanoseconds of a monotonic clock, exact.
pub fn exact_ns() -> u64 {
    clock_ns(CLOCK_MONOTONIC)
}

/// Bytes of the pages of `span` that are in memory; `None` if it is not all mapped.
pub(crate) fn resident_bytes(span: Span, page_bytes: usize) -> Option<usize> {
    let mut flags = [0u8; 512];
    let mut pages = 0;
    let mut at = span.start;
    while at < span.end {
        let bytes = (span.end - at).min(flags.len() * page_bytes);
        let args = [at, bytes, flags.as_mut_ptr().addr(), 0, 0, 0];
        // SAFETY: whole pages, a byte of answer for each.
        if unsafe { syscall(nr::MINCORE, args) } != 0 {
            return None;
        }
        pages += flags[..bytes / page_bytes].iter().filter(|&flag| flag & 1 == 1).count();
        at += bytes;
    }
    Some(pages * page_bytes)
}

fn clock_ns(clock: c_int) -> u64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: a timespec to write to.
    unsafe { clock_gettime(clock, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

fn ok(result: isize) -> Option<usize> {
    (result >= 0).then_some(result as usize)
}

fn mmap(bytes: usize, protection: usize, flags: usize) -> Option<usize> {
    // SAFETY: a new anonymous mapping; nothing existing changes.
    ok(unsafe { syscall(nr::MMAP, [0, bytes, protection, flags, NO_FD, 0]) })
}

/// Reads a file of /proc or /sys into `buffer`; the bytes read. `path` ends in NUL.
pub fn read_file<'a>(path: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    const AT_FDCWD: usize = (-100isize) as usize;
    const O_CLOEXEC: usize = 0x8_0000;
    debug_assert_eq!(path.last(), Some(&0));
    // SAFETY: a NUL-terminated path; the buffer is ours and its length right.
    unsafe {
        let file = ok(syscall(nr::OPENAT, [AT_FDCWD, path.as_ptr().addr(), O_CLOEXEC, 0, 0, 0]))?;
        let read = syscall(nr::READ, [file, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0]);
        syscall(nr::CLOSE, [file, 0, 0, 0, 0, 0]);
        Some(&buffer[..ok(read)?])
    }
}

/// Reads a file of /proc to its end, part by part. `path` ends in NUL.
pub fn each_part(path: &[u8], mut take: impl FnMut(&[u8])) {
    const AT_FDCWD: usize = (-100isize) as usize;
    const O_CLOEXEC: usize = 0x8_0000;
    let mut buffer = [0; 4096];
    // SAFETY: a NUL-terminated path; the buffer is ours and its length right.
    unsafe {
        let file = syscall(nr::OPENAT, [AT_FDCWD, path.as_ptr().addr(), O_CLOEXEC, 0, 0, 0]);
        let Some(file) = ok(file) else { return };
        let args = [file, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0];
        while let Some(length @ 1..) = ok(syscall(nr::READ, args)) {
            take(&buffer[..length.min(buffer.len())]);
        }
        syscall(nr::CLOSE, [file, 0, 0, 0, 0, 0]);
    }
}

/// Maps `bytes` of a file, shared; `None` if it cannot be opened or is shorter. `name` ends in NUL.
pub fn map_shared_file(name: &[u8], bytes: usize) -> Option<usize> {
    const AT_FDCWD: usize = (-100isize) as usize;
    const O_RDWR_CLOEXEC: usize = 2 | 0x8_0000;
    const MAP_SHARED_NORESERVE: usize = 1 | 0x4000;
    const SEEK_END: usize = 2;
    debug_assert_eq!(name.last(), Some(&0));
    // SAFETY: a NUL-terminated path; a new mapping of what the file has, kept for good.
    unsafe {
        let file = [AT_FDCWD, name.as_ptr().addr(), O_RDWR_CLOEXEC, 0, 0, 0];
        let file = ok(syscall(nr::OPENAT, file))?;
        let length = syscall(nr::LSEEK, [file, 0, SEEK_END, 0, 0, 0]);
        let args = [0, bytes, PROT_READ_WRITE, MAP_SHARED_NORESERVE, file, 0];
        let base = if length >= bytes as isize { ok(syscall(nr::MMAP, args)) } else { None };
        syscall(nr::CLOSE, [file, 0, 0, 0, 0, 0]);
        base
    }
}

/// Address of a fresh page that reads as zero in a fork child (Linux 4.14; else it is inherited).
pub fn wiped_page() -> Option<usize> {
    const MADV_WIPEONFORK: usize = 18;
    let bytes = Linux::new().page_bytes();
    let page = mmap(bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS)?;
    // SAFETY: advice on our own page.
    unsafe { syscall(nr::MADVISE, [page, bytes, MADV_WIPEONFORK, 0, 0, 0]) };
    Some(page)
}

/// Sleeps while `word`, in memory shared between processes, holds `value`; at most `ns`.
pub fn futex_wait_shared(word: &AtomicU32, value: u32, ns: u64) {
    let time = Timespec {
        seconds: (ns / 1_000_000_000) as c_long,
        nanoseconds: (ns % 1_000_000_000) as c_long,
    };
    let args = [word.as_ptr().addr(), FUTEX_WAIT, value as usize, (&raw const time).addr(), 0, 0];
    // SAFETY: a word of ours and a time.
    unsafe { syscall(nr::FUTEX, args) };
}

/// Wakes who sleeps on `word`, in memory shared between processes.
pub fn futex_wake_shared(word: &AtomicU32) {
    // SAFETY: a word of ours.
    unsafe { syscall(nr::FUTEX, [word.as_ptr().addr(), FUTEX_WAKE, i32::MAX as usize, 0, 0, 0]) };
}

/// Joins the pieces into a NUL-terminated path; `None` if the buffer is too short.
pub fn path<'a>(buffer: &'a mut [u8], pieces: &[&[u8]]) -> Option<&'a [u8]> {
    let mut length = 0;
    for piece in pieces.iter().chain(core::iter::once(&&b"\0"[..])) {
        buffer.get_mut(length..length + piece.len())?.copy_from_slice(piece);
        length += piece.len();
    }
    Some(&buffer[..length])
}

/// `number` in decimal.
pub fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

// SAFETY: memory comes from anonymous private mappings and the break, which
// the kernel hands to one caller and zeroes.
unsafe impl Os for Linux {
    fn page_bytes(&self) -> usize {
        // SAFETY: reads the auxiliary vector.
        match unsafe { getauxval(AT_PAGESZ) } {
            0 => 4096,
            bytes => bytes as usize,
        }
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        // SAFETY: only whole stretches that are the arena's are given back.
        let old = keeping_errno(|| unsafe { sbrk(delta) }).expose_provenance();
        (old != usize::MAX).then_some(old)
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        mmap(bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS)
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        mmap(bytes, 0, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE)
    }

    unsafe fn commit(&self, range: Span) -> bool {
        // SAFETY: the caller's reservation.
        unsafe {
            syscall(nr::MPROTECT, [range.start, range.bytes(), PROT_READ_WRITE, 0, 0, 0]) == 0
        }
    }

    unsafe fn unmap(&self, range: Span) -> bool {
        // SAFETY: the caller's mapping, not in use.
        unsafe { syscall(nr::MUNMAP, [range.start, range.bytes(), 0, 0, 0, 0]) == 0 }
    }

    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        // SAFETY: the caller's mapping.
        ok(unsafe {
            syscall(nr::MREMAP, [old.start, old.bytes(), new_bytes, MREMAP_MAYMOVE, 0, 0])
        })
    }

    unsafe fn purge(&self, ranges: &[Span]) -> bool {
        #[repr(C)]
        struct IoVec {
            start: usize,
            bytes: usize,
        }
        let mut vector = [const { IoVec { start: 0, bytes: 0 } }; 64];
        let mut done = 0;
        if ranges.len() > 1 && ranges.len() <= vector.len() {
            for (to, from) in vector.iter_mut().zip(ranges) {
                *to = IoVec { start: from.start, bytes: from.bytes() };
            }
            let args = [PIDFD_SELF, vector.as_ptr().addr(), ranges.len(), MADV_DONTNEED, 0, 0];
            // SAFETY: ranges that are the caller's and not in use.
            done = ok(unsafe { syscall(nr::PROCESS_MADVISE, args) }).unwrap_or(0);
        }
        let mut all = true;
        for range in ranges {
            let skip = done.min(range.bytes());
            done -= skip;
            let left = Span::new(range.start + skip, range.end);
            let args = [left.start, left.bytes(), MADV_DONTNEED, 0, 0, 0];
            // SAFETY: as above.
            if left.bytes() > 0 && unsafe { syscall(nr::MADVISE, args) } != 0 {
                // Locked pages cannot go; what is promised is that they read as zero.
                // SAFETY: as above.
                unsafe { crate::chunk::at::<u8>(left.start).write_bytes(0, left.bytes()) };
                all = false;
            }
        }
        all
    }

    fn advise_huge(&self, range: Span) {
        // SAFETY: advice; nothing that the caller can see changes.
        unsafe { syscall(nr::MADVISE, [range.start, range.bytes(), MADV_HUGEPAGE, 0, 0, 0]) };
    }

    unsafe fn populate_huge(&self, range: Span) -> bool {
        // SAFETY: the caller's promise.
        unsafe { huge::populate(self, range) }
    }

    fn resident(&self, page: usize) -> bool {
        let mut flag = 0u8;
        let args = [page, 1, (&raw mut flag).addr(), 0, 0, 0];
        // SAFETY: one page, one byte of answer.
        unsafe { syscall(nr::MINCORE, args) == 0 && flag & 1 == 1 }
    }

    fn now_ns(&self) -> u64 {
        clock_ns(CLOCK_MONOTONIC_COARSE)
    }

    fn usable_cores(&self) -> usize {
        cores::usable()
    }

    fn address_space_limited(&self) -> bool {
        // The limit in force, then the highest that may be set.
        let mut limits = [u64::MAX; 2];
        let args = [0, RLIMIT_AS, 0, limits.as_mut_ptr().addr(), 0, 0];
        // SAFETY: the kernel writes two words.
        unsafe { syscall(nr::PRLIMIT64, args) };
        limits[0] != u64::MAX
    }

    fn random(&self) -> u64 {
        // SAFETY: the kernel passes 16 random bytes to every program; 0 if it did not.
        let bytes = unsafe { getauxval(AT_RANDOM) } as usize;
        let mut seed = core::ptr::from_ref(self).addr() as u64 ^ clock_ns(CLOCK_MONOTONIC);
        if bytes != 0 {
            for word in 0..2 {
                // SAFETY: two words there.
                seed ^= unsafe { crate::chunk::at::<u64>(bytes + 8 * word).read_unaligned() };
                // The C library makes its own secrets of the same bytes: keep only a digest.
                seed = (seed ^ (seed >> 31)).wrapping_mul(0x9fb2_1c65_1e98_df25);
            }
        }
        seed ^ (seed >> 28)
    }

    fn thread_id(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { syscall(nr::GETTID, [0; 6]) as u32 }
    }

    fn thread_attached(&self) {
        let key = self.exit_key.load(core::sync::atomic::Ordering::Acquire);
        if key != 0 {
            // SAFETY: a key made by us; the value is the round of destructors, 1 to 4.
            keeping_errno(|| unsafe {
                pthread_setspecific(key - 1, crate::chunk::at::<c_void>(1))
            });
        }
    }

    fn parked(&self, thread_id: u32) -> bool {
        parked::parked(thread_id)
    }

    fn wait(&self, word: &AtomicU32, value: u32) {
        // SAFETY: a word of ours.
        unsafe {
            syscall(nr::FUTEX, [word.as_ptr().addr(), FUTEX_WAIT_PRIVATE, value as usize, 0, 0, 0])
        };
    }

    fn wake(&self, word: &AtomicU32) {
        // SAFETY: a word of ours.
        unsafe { syscall(nr::FUTEX, [word.as_ptr().addr(), FUTEX_WAKE_PRIVATE, 1, 0, 0, 0]) };
    }

    fn pause(&self) {
        let time = Timespec { seconds: 0, nanoseconds: 1_000_000 };
        // SAFETY: a timespec; nothing is written.
        unsafe { syscall(nr::NANOSLEEP, [(&raw const time).addr(), 0, 0, 0, 0, 0]) };
    }

    fn start_helper(&self) -> bool {
        helper::start()
    }

    fn sample(&self, record: &heapwise_layout::report::ProcessRecord) {
        crate::report::sample(record);
    }

    fn note_kernel_call(&self, call: KernelNote) {
        if crate::record::active() {
            crate::record::kernel(call);
        }
    }

    fn note_sampled_free(&self, pointer: usize) {
        crate::record::sampled_freed(pointer);
    }

    fn note_sampled_resize(&self, pointer: usize, request: usize) {
        crate::record::sampled_resized(pointer, request);
    }

    fn join_recording(&self, pid: u32, descriptor: u32) -> bool {
        crate::record::join_from_outside(pid, descriptor)
    }

    fn fatal(&self, line: &str) -> ! {
        let mut text = [0u8; 128];
        let length = line.len().min(text.len() - 1);
        text[..length].copy_from_slice(&line.as_bytes()[..length]);
        text[length] = b'\n';
        // SAFETY: our buffer; abort never returns.
        unsafe {
            syscall(nr::WRITE, [2, text.as_ptr().addr(), length + 1, 0, 0, 0]);
            abort()
        }
    }
}
