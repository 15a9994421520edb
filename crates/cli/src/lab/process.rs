//! What experiments do to their process beside allocating: the break, mappings,
//! threads, fork. Nothing here allocates by itself.

use core::ffi::c_void;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr;

use libc::{c_int, pid_t};

/// libc's `sbrk`.
pub fn move_break(by: isize) {
    // SAFETY: the experiments raise the break, or lower it by what they raised before any malloc.
    unsafe { libc::sbrk(by) };
}

/// Memory that the program took by `sbrk` itself.
pub struct Foreign {
    start: *mut u8,
    bytes: usize,
}

impl Foreign {
    pub fn take(bytes: usize) -> Option<Self> {
        // SAFETY: raising the break disturbs nobody's memory.
        let start = unsafe { libc::sbrk(bytes as isize) };
        (start.addr() != usize::MAX).then_some(Self { start: start.cast(), bytes })
    }

    pub fn address(&self) -> usize {
        self.start.addr()
    }

    pub fn fill(&mut self, byte: u8) {
        // SAFETY: the stretch is ours and `bytes` long.
        unsafe { ptr::write_bytes(self.start, byte, self.bytes) }
    }

    pub fn is_filled_with(&self, byte: u8) -> bool {
        // SAFETY: as above; the kernel zeroed it, `fill` wrote it.
        let bytes = unsafe { core::slice::from_raw_parts(black_box(self.start), self.bytes) };
        bytes.iter().all(|&b| b == byte)
    }
}

/// An anonymous private mapping; its address, 0 if refused.
pub fn map_anonymous(bytes: usize) -> usize {
    // SAFETY: a new mapping where the kernel likes.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED { 0 } else { at.addr() }
}

/// Unmaps what [`map_anonymous`] gave.
pub fn unmap(address: usize, bytes: usize) {
    // SAFETY: the experiment's own mapping, which nothing points into.
    unsafe { libc::munmap(ptr::with_exposed_provenance_mut(address), bytes) };
}

/// An inaccessible mapping at this very address, if nothing is there.
pub fn map_at(address: usize, bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE never touches an existing mapping.
    let at = unsafe {
        libc::mmap(ptr::without_provenance_mut(address), bytes, libc::PROT_NONE, flags, -1, 0)
    };
    at.addr() == address
}

/// `mallopt`: whether it answered 1.
pub fn set_option(option: c_int, value: c_int) -> bool {
    // SAFETY: mallopt takes plain values.
    unsafe { libc::mallopt(option, value) == 1 }
}

/// `malloc_trim(0)`.
pub fn trim() -> usize {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) as usize }
}

/// Asks calloc for more than an address can reach: 1 if it says NULL and ENOMEM.
pub fn calloc_overflow() -> usize {
    // SAFETY: calloc has no preconditions, errno is the thread's own.
    unsafe {
        *libc::__errno_location() = 0;
        let block = libc::calloc(black_box(usize::MAX / 2), black_box(4));
        usize::from(black_box(block).is_null() && *libc::__errno_location() == libc::ENOMEM)
    }
}

/// Cores that are on.
pub fn online_cores() -> usize {
    // SAFETY: sysconf has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1).max(1)
}

/// A millisecond of sleep, for a thread that waits.
pub fn sleep_a_little() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // SAFETY: a valid timespec, no remainder asked for.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Starts a detached thread that runs `body(index)`.
pub fn start_thread(body: fn(usize), index: usize) -> bool {
    struct Order {
        body: fn(usize),
        index: usize,
    }
    extern "C" fn run(order: *mut c_void) -> *mut c_void {
        // SAFETY: the order lives in a mapping of its own, which is never unmapped.
        let order = unsafe { &*order.cast::<Order>() };
        (order.body)(order.index);
        ptr::null_mut()
    }
    // A page of its own for the order: the heap must not see it.
    let page = map_anonymous(size_of::<Order>());
    if page == 0 {
        return false;
    }
    let order = ptr::with_exposed_provenance_mut::<Order>(page);
    // SAFETY: a fresh mapping, large and aligned enough.
    unsafe { order.write(Order { body, index }) };
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: `run` matches the signature, `order` is never unmapped; detach takes the thread just made.
    unsafe {
        libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run, order.cast()) == 0
            && libc::pthread_detach(thread.assume_init()) == 0
    }
}

/// Runs `body(value)` on another thread and waits for it.
pub fn on_a_thread<T>(value: &mut T, body: fn(&mut T)) -> bool {
    struct Order<T> {
        value: *mut T,
        body: fn(&mut T),
    }
    extern "C" fn run<T>(order: *mut c_void) -> *mut c_void {
        // SAFETY: the order and the value outlive the thread, which is joined below; nobody else uses them meanwhile.
        unsafe {
            let order = &*order.cast::<Order<T>>();
            (order.body)(&mut *order.value);
        }
        ptr::null_mut()
    }
    let mut order = Order { value: ptr::from_mut(value), body };
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: `run` matches the signature; the thread is joined before `order` ends.
    unsafe {
        libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run::<T>, (&raw mut order).cast())
            == 0
            && libc::pthread_join(thread.assume_init(), ptr::null_mut()) == 0
    }
}

/// Who one is after fork.
pub enum Fork {
    Refused,
    Child,
    Parent(pid_t),
}

/// `fork`, with its handlers.
pub fn fork() -> Fork {
    // SAFETY: the process has one thread.
    match unsafe { libc::fork() } {
        -1 => Fork::Refused,
        0 => Fork::Child,
        pid => Fork::Parent(pid),
    }
}

/// Waits for a child; whether it exited with 0.
pub fn wait_for(pid: pid_t) -> bool {
    let mut status = 0;
    // SAFETY: `status` is a live, writable int.
    unsafe { libc::waitpid(pid, &raw mut status, 0) == pid && status == 0 }
}
