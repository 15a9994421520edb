//! The process's own allocator: one static over Linux, a slot a thread, start-up and fork.
//!
//! The C ABI (`libheapwise`) and the Rust face (`heapwise`) are thin layers
//! over these functions. The fast paths are here, first.

use crate::cache::{
    Freed, MEDIUM_MAX_REQUEST, Resized, free_fast, free_medium, is_open, is_recorded, malloc_fast,
    malloc_medium, memalign_behind, memalign_fast, realloc_fast, usable_fast,
};
use crate::chunk::at;
use crate::closed;
use crate::foreign::{Elsewhere, free_elsewhere};
use crate::linux::{AT_SECURE, Linux, getauxval, machine, set_errno};
use crate::record::{self, OFF, SAMPLING};
use crate::root::Allocator;
use crate::sampling::malloc_counting;
use crate::threads::Slot;
use crate::tunables::{Setting, TABLE};
use crate::waiting::{self, Waited};
use core::ffi::{c_char, c_int, c_void};
use core::hint::select_unpredictable;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};
use heapwise_layout::size::{MEDIUM_MAX_CHUNK, SMALL_MAX_REQUEST, chunk_size};
use heapwise_layout::state::Cache;

/// The allocator of this process.
pub static ALLOCATOR: Allocator<Linux> = Allocator::new(Linux::new());

const ENOMEM: i32 = 12;

/// Destructor rounds of POSIX threads: a cache is given back in the last.
const DESTRUCTOR_ROUNDS: usize = 4;

unsafe extern "C" {
    static environ: *const *const c_char;
    fn pthread_key_create(key: *mut u32, destructor: extern "C" fn(*mut c_void)) -> c_int;
    fn pthread_setspecific(key: u32, value: *const c_void) -> c_int;
    fn pthread_atfork(
        prepare: extern "C" fn(),
        parent: extern "C" fn(),
        child: extern "C" fn(),
    ) -> c_int;
}

pub(crate) fn slot() -> &'static Slot {
    // SAFETY: this thread's slot; used by this thread alone, while it lives.
    unsafe { &*at::<Slot>(machine::slot_address()) }
}

// The fast paths, wherever they are compiled in, stand in a section of their
// own (`heapwise_fast`): so the helper can tell from a sleeping thread's stack
// whether a signal interrupted one. They must not be inlined elsewhere.

/// malloc: 16-aligned, null and ENOMEM if memory ran out.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub fn malloc(request: usize) -> *mut u8 {
    malloc_here(request)
}

/// free.
///
/// # Safety
/// As [`free_here`].
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub unsafe fn free(pointer: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { free_here(pointer) }
}

/// [`malloc`], for a function that itself stands in the section `heapwise_fast`.
#[inline(always)]
pub fn malloc_here(request: usize) -> *mut u8 {
    // SAFETY: the slot holds a cache of this thread.
    match unsafe { malloc_fast(at::<Cache>(machine::cache_address()), request) } {
        0 => malloc_behind(request),
        pointer => at(pointer),
    }
}

/// Whether a thread cache may serve a request: as on the fast path, what is small needs no look
/// at the settings.
#[inline(always)]
pub(crate) fn serves(request: usize) -> bool {
    request <= most_served()
        || chunk_size(request).is_some_and(|size| !ALLOCATOR.wants_mapping(size))
}

/// The largest request that a thread cache may serve, whatever else holds: one compare without a
/// branch on small or medium, which is not to be foreseen where both are asked for in turn.
#[inline(always)]
fn most_served() -> usize {
    let all = ALLOCATOR.settings.get(Setting::MmapThreshold) > MEDIUM_MAX_CHUNK;
    select_unpredictable(all, MEDIUM_MAX_REQUEST, SMALL_MAX_REQUEST)
}

/// Behind the fast path of malloc: a medium class, a small one that a profile counts, or the slow
/// path.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
extern "C" fn malloc_behind(request: usize) -> *mut u8 {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`.
    let pointer = unsafe {
        match waiting::malloc_waiting(cache, request) {
            0 => {}
            pointer => return at(pointer),
        }
        match is_open(cache) {
            true if serves(request) => malloc_medium(cache, request),
            true => 0,
            false => match malloc_counting(cache, request) {
                0 if is_recorded(cache) => {
                    return closed::malloc_recorded(request);
                }
                pointer => pointer,
            },
        }
    };
    if pointer == 0 { malloc_slow(request) } else { at(pointer) }
}

/// [`free`], for a function that itself stands in the section `heapwise_fast`.
///
/// # Safety
/// `pointer` is null or a live chunk of this allocator, not used afterwards.
/// (Anything else is caught where `docs/misuse.md` says so.)
#[inline(always)]
pub unsafe fn free_here(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`.
    match unsafe { free_fast(cache, pointer.addr()) } {
        Freed::Done => {}
        Freed::Overflow => overflow(pointer),
        Freed::Not => free_behind(pointer),
    }
}

/// Behind the fast path of free: a medium class, or the slow path.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
extern "C" fn free_behind(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`.
    match unsafe { waiting::free_waiting(cache, pointer.addr()) } {
        Waited::Done => {}
        Waited::Overflow(pointer) => overflow(at(pointer)),
        Waited::Other(pointer) => free_late(at(pointer)),
    }
}

/// A free that does not wait, or has waited for a chunk that is not small.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
extern "C" fn free_late(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    // Neither null nor anything of a cache that is closed lies in an open range.
    // SAFETY: as in `malloc`.
    match unsafe { free_medium(cache, pointer.addr()) } {
        Freed::Done => {}
        Freed::Overflow => overflow(pointer),
        Freed::Not if pointer.is_null() => {}
        // SAFETY: as above.
        Freed::Not if unsafe { is_recorded(cache) } => closed::free_recorded(pointer),
        Freed::Not => free_elsewhere_behind(pointer),
    }
}

/// Where [`free_late`] ends for what is not in the newest heap of the own arena.
#[inline(always)]
fn free_elsewhere_behind(pointer: *mut u8) {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`; inlined where the fast paths stand.
    match unsafe { free_elsewhere(cache, pointer.addr(), ALLOCATOR.heap_epoch()) } {
        Elsewhere::Done => {}
        Elsewhere::Overflow => overflow(pointer),
        Elsewhere::Full(index) => foreign_full(index),
        Elsewhere::Not => free_slow(pointer),
    }
}

#[cold]
#[inline(never)]
extern "C" fn foreign_full(index: usize) {
    ALLOCATOR.foreign_full_at(slot(), index);
}

// One jump each: what they lead to has the same arguments.
#[inline(never)]
extern "C" fn malloc_slow(request: usize) -> *mut u8 {
    match record::state() {
        _ if record::plain() => closed::malloc_recorded(request),
        OFF => malloc_plain(request),
        SAMPLING => closed::malloc_sampled(request),
        _ => closed::malloc_recorded_slow(request),
    }
}

#[cold]
#[inline(never)]
extern "C" fn malloc_plain(request: usize) -> *mut u8 {
    or_enomem(ALLOCATOR.malloc(slot(), request))
}

#[inline(never)]
extern "C" fn free_slow(pointer: *mut u8) {
    match record::state() {
        _ if record::plain() => closed::free_recorded(pointer),
        OFF | SAMPLING => free_plain(pointer),
        _ => closed::free_recorded_slow(pointer),
    }
}

#[cold]
#[inline(never)]
extern "C" fn free_plain(pointer: *mut u8) {
    ALLOCATOR.free(slot(), pointer.expose_provenance());
}

#[cold]
#[inline(never)]
pub(crate) extern "C" fn overflow(pointer: *mut u8) {
    ALLOCATOR.overflow_at(slot(), pointer.expose_provenance());
}

pub(crate) fn or_enomem(pointer: usize) -> *mut u8 {
    if pointer == 0 {
        set_errno(ENOMEM);
    }
    at(pointer)
}

/// calloc: zeroed; null and ENOMEM if memory ran out or the product overflows.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub fn calloc(count: usize, each: usize) -> *mut u8 {
    if let Some(bytes) = count.checked_mul(each) {
        let cache = at::<Cache>(machine::cache_address());
        // SAFETY: as in `malloc`.
        let pointer = unsafe { waiting::malloc_either(cache, bytes) };
        if pointer != 0 {
            // SAFETY: a fresh chunk of at least `bytes`.
            unsafe { at::<u8>(pointer).write_bytes(0, bytes) };
            return at(pointer);
        }
    }
    match record::state() {
        OFF => or_enomem(ALLOCATOR.calloc(slot(), count, each)),
        SAMPLING => closed::calloc_sampled(count, each),
        _ => closed::calloc_recorded(count, each),
    }
}

/// realloc: null and ENOMEM if memory ran out (the old chunk stays), null if `request` is 0.
///
/// # Safety
/// As [`free`].
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub unsafe fn realloc(pointer: *mut u8, request: usize) -> *mut u8 {
    // One jump each.
    match record::state() {
        // SAFETY: the caller's promise.
        OFF => unsafe { realloc_plain(pointer, request) },
        SAMPLING => closed::realloc_sampled(pointer, request),
        _ if record::plain() => closed::realloc_served(pointer, request),
        // SAFETY: as above.
        _ => unsafe { realloc_slow(pointer, request) },
    }
}

/// realloc while nothing is recorded.
///
/// # Safety
/// As [`realloc`].
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
unsafe fn realloc_plain(pointer: *mut u8, request: usize) -> *mut u8 {
    if pointer.is_null() {
        return malloc_here(request);
    }
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`.
    match unsafe { realloc_fast(cache, pointer.addr(), request) } {
        Resized::Stays => pointer,
        Resized::Moved(new) => at(new),
        Resized::MovedOverflow(new) => {
            overflow(pointer);
            at(new)
        }
        // SAFETY: the caller's promise.
        Resized::Not => unsafe { realloc_slow(pointer, request) },
    }
}

/// # Safety
/// As [`realloc`].
#[inline(never)]
pub(crate) unsafe fn realloc_slow(pointer: *mut u8, request: usize) -> *mut u8 {
    let address = pointer.expose_provenance();
    let new = match record::state() {
        OFF => ALLOCATOR.realloc(slot(), address, request),
        // Other calls by another name.
        _ if address == 0 => malloc_slow(request).expose_provenance(),
        _ if request == 0 => {
            free_slow(pointer);
            0
        }
        SAMPLING => closed::realloc_counted(address, request),
        _ => closed::realloc_recorded(address, request),
    };
    if new == 0 && request != 0 {
        set_errno(ENOMEM);
    }
    at(new)
}

/// A chunk aligned to `align`, a power of two; null and ENOMEM if memory ran out.
pub fn memalign(align: usize, request: usize) -> *mut u8 {
    or_enomem(memalign_quiet(align, request).expose_provenance())
}

/// As [`memalign`], errno untouched.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
pub fn memalign_quiet(align: usize, request: usize) -> *mut u8 {
    debug_assert!(align.is_power_of_two());
    if request <= most_served() {
        let cache = at::<Cache>(machine::cache_address());
        // SAFETY: as in `malloc`.
        let pointer = unsafe { memalign_fast(cache, align, request) };
        if pointer != 0 {
            return at(pointer);
        }
    }
    memalign_later(align, request)
}

/// Behind the fast path of aligned requests: another chunk of the class, or the slow path.
#[inline(never)]
#[unsafe(link_section = "heapwise_fast")]
fn memalign_later(align: usize, request: usize) -> *mut u8 {
    if serves(request) {
        let cache = at::<Cache>(machine::cache_address());
        // SAFETY: as in `malloc`.
        let pointer = unsafe { memalign_behind(cache, align, request) };
        if pointer != 0 {
            return at(pointer);
        }
    }
    memalign_slow(align, request)
}

#[cold]
#[inline(never)]
fn memalign_slow(align: usize, request: usize) -> *mut u8 {
    at(match record::state() {
        OFF => ALLOCATOR.memalign(slot(), align, request),
        SAMPLING => closed::memalign_sampled(align, request),
        _ => closed::memalign_recorded(align, request),
    })
}

/// Bytes that may be used behind `pointer`; 0 for null.
pub fn usable_size(pointer: *const u8) -> usize {
    let cache = at::<Cache>(machine::cache_address());
    // SAFETY: as in `malloc`.
    match unsafe { usable_fast(cache, pointer.addr()) } {
        0 => usable_behind(pointer),
        usable => usable,
    }
}

/// Where [`usable_size`] ends for what is not a small or medium block of the own arena's newest heap.
#[inline(never)]
fn usable_behind(pointer: *const u8) -> usize {
    ALLOCATOR.usable_size(pointer.expose_provenance())
}

/// Bytes of a page.
pub fn page_bytes() -> usize {
    ALLOCATOR.prepare();
    ALLOCATOR.page_bytes()
}

/// Gives free memory back, all but `pad` bytes of the main top; true if any went.
pub fn trim(pad: usize) -> bool {
    ALLOCATOR.trim(slot(), pad)
}

/// The value of one setting.
pub fn setting(setting: Setting) -> usize {
    ALLOCATOR.prepare();
    ALLOCATOR.settings.get(setting)
}

/// Sets one setting while the program runs; false if the value is out of range.
pub fn set(setting: Setting, value: usize) -> bool {
    let done = ALLOCATOR.settings.set(setting, value);
    apply_settings();
    done
}

/// Whether every call must come by the slow path.
pub(crate) fn must_count() -> bool {
    ALLOCATOR.others_count() || record::active()
}

/// Brings what was set in line with what already exists.
fn apply_settings() {
    record::set_plain(!ALLOCATOR.others_count());
    ALLOCATOR.set_counting(slot(), must_count());
    if ALLOCATOR.is_sampling() != (record::state() == SAMPLING) {
        ALLOCATOR.set_sampling(record::state() == SAMPLING);
    }
    if ALLOCATOR.settings.get(Setting::ArenaMax) == 1 {
        ALLOCATOR.share_own_arena(slot());
    }
    let default = |s: Setting| ALLOCATOR.settings.get(s) == TABLE[s as usize].default;
    if !default(Setting::CacheCount) || !default(Setting::CacheMax) {
        ALLOCATOR.rebound(slot());
    }
}

/// 0 nothing done, 1 in the making, 2 done.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Start-up: before `main`, or when the library is loaded later; whoever is the
/// process's allocator has it in its `.init_array`, and [`finish`] in `.fini_array`.
///
/// Allocation works before this has run (the dynamic linker allocates first);
/// what it adds are the settings of the environment, thread exit, fork, report.
pub extern "C" fn start(
    _: c_int,
    arguments: *const *const c_char,
    variables: *const *const c_char,
) {
    if STARTED.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
        return;
    }
    let mut key = 0;
    // SAFETY: handlers that live as long as the process (the library is never
    // unloaded); the destructor takes any value.
    unsafe {
        if pthread_key_create(&mut key, thread_exit) == 0 {
            ALLOCATOR.os.exit_key.store(key + 1, Release);
        }
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    }
    ALLOCATOR.prepare();
    let entry = machine::start_from_outside as unsafe extern "C" fn() as *const ();
    ALLOCATOR.state.control.entry.store(entry.expose_provenance(), Release);
    // SAFETY: reads the auxiliary vector.
    if unsafe { getauxval(AT_SECURE) } == 0 {
        // SAFETY: both are null-terminated arrays of C strings, or null.
        unsafe {
            let list = if variables.is_null() { environ } else { variables };
            take_environment(list);
        }
    }
    record::note_stack_end(arguments.addr());
    record::begin();
    apply_settings();
    STARTED.store(2, Release);
}

/// # Safety
/// `list` is null or a null-terminated array of C strings.
unsafe fn take_environment(list: *const *const c_char) {
    let mut next = list;
    // SAFETY: by contract.
    unsafe {
        while !next.is_null() && !(*next).is_null() {
            let variable = core::ffi::CStr::from_ptr(*next).to_bytes();
            if !ALLOCATOR.settings.take_variable(variable) && !record::take_variable(variable) {
                ALLOCATOR.take_report_variable(variable);
            }
            next = next.add(1);
        }
    }
}

/// The process ends by its exit handlers.
pub extern "C" fn finish() {
    // A misuse among the last frees is still told.
    ALLOCATOR.let_in_own(slot());
    record::process_ends();
    ALLOCATOR.finish_report();
}

/// What stands in `.init_array`.
pub type Start = extern "C" fn(c_int, *const *const c_char, *const *const c_char);
/// What stands in `.fini_array`.
pub type Finish = extern "C" fn();

/// A thread ends. Other destructors may still allocate and free: the cache is
/// kept until the last round.
extern "C" fn thread_exit(round: *mut c_void) {
    let key = ALLOCATOR.os.exit_key.load(Acquire) - 1;
    if round.addr() < DESTRUCTOR_ROUNDS {
        // SAFETY: our key.
        unsafe { pthread_setspecific(key, at::<c_void>(round.addr() + 1)) };
    } else {
        ALLOCATOR.detach(slot());
        record::thread_ends();
    }
}

extern "C" fn before_fork() {
    ALLOCATOR.before_fork();
    record::process_forks();
}

extern "C" fn after_fork_in_parent() {
    // Before another thread may fork.
    record::process_forked();
    ALLOCATOR.after_fork_in_parent();
}

extern "C" fn after_fork_in_child() {
    ALLOCATOR.after_fork_in_child(slot());
    ALLOCATOR.report_fork();
    record::forked();
}
