//! The player: plays the streams of one file on whatever malloc this process has.
//!
//! ```text
//! shared mapping (counted as shared memory, so the anonymous RSS is the heap's alone)
//! ┌─────────────────┬─────────┬────────────────────┬───────────────────────┐
//! │ slots: pointer, │ samples │ threads: how far,  │ buffers: 16 KiB a     │
//! │ size            │         │ window, handle     │ thread, read by pread │
//! └─────────────────┴─────────┴────────────────────┴───────────────────────┘
//! ```
//! Invariant: between the first step and the last nothing here allocates, but
//! for what the C library does when a thread begins, as it did in the original.
//!
//! The process runs nothing else: [`crate::launch`] starts it.

use std::ffi::{OsStr, c_int, c_void};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use crate::calls::{MARK_BEGIN, MARK_END};
use crate::figures::Figures;
use crate::script::{Op, Step};
use crate::streams::{ENTRY_BYTES, HEAD_BYTES, MAGIC, NEVER, Touch};

/// Steps of a buffer.
const BUFFER_STEPS: usize = 1024;
const BUFFER_BYTES: usize = BUFFER_STEPS * Step::BYTES;
const PAGE: usize = 4096;
/// What is written into blocks.
const PATTERN: u8 = 0xa5;
/// A thread that waits for a step of another looks so often before it sleeps.
const SPINS: u32 = 200;

/// A block.
#[repr(C)]
struct Slot {
    pointer: AtomicU64,
    /// As far as it was written to.
    size: AtomicU64,
}

/// A thread, on cache lines of its own.
#[repr(C, align(128))]
struct Thread {
    /// Steps done.
    done: AtomicU64,
    /// The window it is in, or next has something to do in.
    window: AtomicU64,
    handle: AtomicU64,
}

/// Everything that the threads share.
struct Stage {
    file: File,
    statm: File,
    touch: Touch,
    slots: &'static [Slot],
    samples: &'static [AtomicU64],
    threads: &'static [Thread],
    entries: Vec<[u64; 3]>,
    buffers: usize,
    /// Changes whenever a window is reached, and who sleeps for that.
    turn: AtomicU32,
    sleepers: AtomicU32,
    begun_ns: AtomicU64,
    failed: AtomicU64,
    /// 1 when a stream cannot be read.
    broken: AtomicU32,
    /// Anonymous pages that are there before the first step, bytes.
    base: AtomicU64,
}

/// Plays `path` and prints the figures on standard output.
///
/// # Errors
/// The file cannot be read, or is none of ours; memory for the tables is not to be had.
pub fn play(path: &OsStr) -> io::Result<()> {
    let stage = Stage::set(File::open(path)?)?;
    stage.reset_peak();
    let before = Usage::now();
    stage.base.store(stage.anonymous() as u64, Relaxed);
    mark(MARK_BEGIN);
    let begun = clock_ns(libc::CLOCK_MONOTONIC);
    stage.begun_ns.store(begun, Relaxed);
    run(stage, 0);
    for thread in &stage.threads[1..] {
        join(thread);
    }
    let wall_ns = clock_ns(libc::CLOCK_MONOTONIC) - begun;
    mark(MARK_END);
    let after = Usage::now();
    let figures = stage.figures(wall_ns, &before, &after)?;
    io::stdout().write_all(figures.to_text().as_bytes())
}

impl Stage {
    fn set(file: File) -> io::Result<&'static Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a file of steps");
        let mut head = [0u8; HEAD_BYTES];
        file.read_exact_at(&mut head, 0)?;
        let word = |bytes: &[u8], index: usize| {
            let word = bytes[8 * index..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(word)
        };
        let (threads, slots, samples) = (word(&head, 1), word(&head, 2), word(&head, 3));
        let touch = Touch::of(word(&head, 4)).ok_or_else(bad)?;
        let fits = (1..=1 << 16).contains(&threads) && slots < 1 << 32 && samples < 1 << 32;
        if word(&head, 0) != MAGIC || !fits {
            return Err(bad());
        }
        let (threads, slots, samples) = (threads as usize, slots as usize, samples as usize);
        let mut entries = vec![0u8; threads * ENTRY_BYTES];
        file.read_exact_at(&mut entries, HEAD_BYTES as u64)?;
        let entries: Vec<[u64; 3]> = entries
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| [word(entry, 0), word(entry, 1), word(entry, 2)])
            .collect();

        let up = |bytes: usize| bytes.next_multiple_of(PAGE);
        let slots_bytes = up(slots * size_of::<Slot>());
        let samples_bytes = up(samples * size_of::<AtomicU64>());
        let threads_bytes = up(threads * size_of::<Thread>());
        let tables = slots_bytes + samples_bytes + threads_bytes;
        let tables_at = shared(tables.max(PAGE), libc::MAP_POPULATE)?;
        let buffers = shared(threads * BUFFER_BYTES, libc::MAP_NORESERVE)?;
        // SAFETY: all three lie in the fresh mapping, page by page, which is never unmapped; zero
        // is a value of every atomic.
        let (slots, samples, threads) = unsafe {
            (
                std::slice::from_raw_parts(at::<Slot>(tables_at), slots),
                std::slice::from_raw_parts(at::<AtomicU64>(tables_at + slots_bytes), samples),
                std::slice::from_raw_parts(
                    at::<Thread>(tables_at + slots_bytes + samples_bytes),
                    threads,
                ),
            )
        };
        for (thread, entry) in threads.iter().zip(&entries) {
            thread.window.store(entry[2], Relaxed);
        }
        Ok(Box::leak(Box::new(Self {
            file,
            statm: File::open("/proc/self/statm")?,
            touch,
            slots,
            samples,
            threads,
            entries,
            buffers,
            turn: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            begun_ns: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            broken: AtomicU32::new(0),
            base: AtomicU64::new(0),
        })))
    }

    /// The kernel's high-water mark of the RSS begins anew.
    fn reset_peak(&self) {
        // Without it the peak may be one of our start; that is small.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }

    /// Resident anonymous bytes.
    fn anonymous(&self) -> usize {
        let mut text = [0u8; 128];
        let length = self.statm.read_at(&mut text, 0).unwrap_or(0);
        let mut numbers = text[..length].split(|&byte| byte == b' ').map(|digits| {
            digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0usize, |number, digit| {
                number.wrapping_mul(10).wrapping_add(usize::from(digit - b'0'))
            })
        });
        let (resident, shared) = (numbers.nth(1).unwrap_or(0), numbers.next().unwrap_or(0));
        resident.saturating_sub(shared) * PAGE
    }

    fn figures(&self, wall_ns: u64, before: &Usage, after: &Usage) -> io::Result<Figures> {
        if self.broken.load(SeqCst) != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a stream of steps ends early"));
        }
        let status = std::fs::read_to_string("/proc/self/status")?;
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        let base = self.base.load(Relaxed);
        // What is not anonymous has not changed but for code first run meanwhile.
        let other = kib("RssFile:") + kib("RssShmem:");
        let samples: Vec<u64> = self.samples.iter().map(|sample| sample.load(Relaxed)).collect();
        let mean = samples.iter().sum::<u64>() / (samples.len() as u64).max(1);
        let peak = kib("VmHWM:").saturating_sub(other).saturating_sub(base);
        Ok(Figures {
            machine: None,
            wall_ns,
            user_ns: after.user_ns - before.user_ns,
            system_ns: after.system_ns - before.system_ns,
            rss_peak_bytes: peak.max(samples.iter().copied().max().unwrap_or(0)),
            rss_mean_bytes: mean,
            rss_end_bytes: samples.last().copied().unwrap_or(0),
            faults: after.faults - before.faults,
            calls: None,
            failed: self.failed.load(Relaxed),
            samples,
        })
    }
}

/// Plays one stream to its end.
fn run(stage: &'static Stage, index: usize) {
    let [offset, count, _] = stage.entries[index];
    let buffer = stage.buffers + index * BUFFER_BYTES;
    let own = &stage.threads[index];
    let mut done = 0;
    // Of the next block.
    let mut limit = usize::MAX;
    while done < count {
        let length = ((count - done) as usize).min(BUFFER_STEPS) * Step::BYTES;
        // SAFETY: this thread's buffer, `BUFFER_BYTES` long, which nobody else uses.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at::<u8>(buffer), length) };
        if stage.file.read_exact_at(bytes, offset + done * Step::BYTES as u64).is_err() {
            stage.broken.store(1, SeqCst);
            break;
        }
        for step in bytes.as_chunks::<{ Step::BYTES }>().0 {
            let Some(step) = Step::from_bytes(step) else {
                stage.broken.store(1, SeqCst);
                break;
            };
            act(stage, own, &step, &mut limit);
            done += 1;
            own.done.store(done, Release);
        }
    }
    own.done.store(u64::MAX, Release);
    reach(stage, own, NEVER);
    // SAFETY: this thread's buffer, not used any more.
    unsafe { libc::madvise(at::<c_void>(buffer), BUFFER_BYTES, libc::MADV_REMOVE) };
}

fn act(stage: &'static Stage, own: &Thread, step: &Step, limit: &mut usize) {
    let size = step.size as usize;
    let number = step.slot as usize;
    let mut fill = |from, pointer, zeroed| {
        let until = size.min(std::mem::replace(limit, usize::MAX));
        fill(stage, number, Part { from, until, size }, pointer, zeroed);
    };
    match step.op {
        Op::Nothing | Op::End => {}
        Op::Touch => *limit = size,
        // SAFETY: any size may be asked for.
        Op::Malloc => fill(0, unsafe { libc::malloc(size) }, false),
        // SAFETY: as above.
        Op::Calloc => fill(0, unsafe { libc::calloc(1, size) }, true),
        Op::Aligned => {
            // SAFETY: the alignment is a power of two.
            let pointer = unsafe { libc::memalign(1 << step.align_log2, size) };
            fill(0, pointer, false);
        }
        Op::Realloc => {
            let Some(slot) = stage.slots.get(number) else { return };
            let old = slot.pointer.load(Acquire) as usize;
            let old_size = if old == 0 { 0 } else { slot.size.load(Relaxed) as usize };
            // SAFETY: the block of this slot, which the stream says is held.
            let pointer = unsafe { libc::realloc(at(old), size) };
            if pointer.is_null() && size > 0 {
                // The old block stays.
                stage.failed.fetch_add(1, Relaxed);
                return;
            }
            fill(old_size, pointer, false);
        }
        Op::Free => {
            let Some(slot) = stage.slots.get(number) else { return };
            let pointer = slot.pointer.swap(0, Acquire) as usize;
            // SAFETY: the block of this slot, or null where its request failed.
            unsafe { libc::free(at(pointer)) };
        }
        Op::Sample => {
            let base = stage.base.load(Relaxed) as usize;
            if let Some(sample) = stage.samples.get(number) {
                sample.store(stage.anonymous().saturating_sub(base) as u64, Relaxed);
            }
        }
        Op::Time => sleep_until(stage.begun_ns.load(Relaxed) + step.size),
        Op::Spawn => spawn(stage, number),
        Op::Join => {
            if let Some(thread) = stage.threads.get(number) {
                join(thread);
            }
        }
        Op::Wait => {
            if let Some(other) = stage.threads.get(number) {
                wait_for(other, step.size);
            }
        }
        Op::Window => {
            reach(stage, own, step.size);
            wait_for_window(stage, step.size - 1);
        }
    }
}

/// What of a block is to be written.
struct Part {
    from: usize,
    until: usize,
    size: usize,
}

/// Puts a block into its slot and writes into it as the program did.
fn fill(stage: &Stage, number: usize, part: Part, pointer: *mut c_void, zeroed: bool) {
    let Part { from, until, size } = part;
    let Some(slot) = stage.slots.get(number) else { return };
    slot.pointer.store(pointer.expose_provenance() as u64, Release);
    slot.size.store(until as u64, Relaxed);
    if pointer.is_null() {
        if size > 0 {
            stage.failed.fetch_add(1, Relaxed);
        }
        return;
    }
    if from >= until {
        return;
    }
    match stage.touch {
        Touch::Nothing => {}
        Touch::NotCalloc if zeroed => {}
        // SAFETY: `size` bytes at `pointer`, so `until` too, are ours until the step that frees them.
        Touch::All | Touch::NotCalloc => unsafe {
            ptr::write_bytes(pointer.cast::<u8>().add(from), PATTERN, until - from);
        },
        Touch::Pages => {
            for offset in (from..until).step_by(PAGE).chain([until - 1]) {
                // SAFETY: below `until`, as above. Volatile: a write that nobody reads.
                unsafe { pointer.cast::<u8>().add(offset).write_volatile(PATTERN) };
            }
        }
    }
}

fn spawn(stage: &'static Stage, index: usize) {
    let Some(thread) = stage.threads.get(index) else { return };
    let mut handle = 0;
    STAGE.store(ptr::from_ref(stage).expose_provenance() as u64, Release);
    // SAFETY: `begin` takes a number in place of a pointer, and finds the stage through STAGE.
    let result =
        unsafe { libc::pthread_create(&raw mut handle, ptr::null(), begin, at::<c_void>(index)) };
    if result == 0 {
        thread.handle.store(handle, Release);
    } else {
        // Without the thread nobody may wait for it.
        stage.broken.store(1, SeqCst);
        thread.done.store(u64::MAX, Release);
        reach(stage, thread, NEVER);
    }
}

/// Address of the one stage of this process.
static STAGE: AtomicU64 = AtomicU64::new(0);

extern "C" fn begin(index: *mut c_void) -> *mut c_void {
    let stage = at::<Stage>(STAGE.load(Acquire) as usize);
    // SAFETY: the stage is leaked, and its address stored before any thread begins.
    let stage: &'static Stage = unsafe { &*stage };
    run(stage, index.addr());
    ptr::null_mut()
}

fn join(thread: &Thread) {
    let handle = thread.handle.swap(0, Acquire);
    if handle != 0 {
        // SAFETY: a thread of ours that nobody has joined: the swap gives its handle out once.
        unsafe { libc::pthread_join(handle, ptr::null_mut()) };
    }
}

/// Waits for a step of another thread: mostly it is near.
fn wait_for(other: &Thread, steps: u64) {
    let mut looks = 0;
    while other.done.load(Acquire) < steps {
        looks += 1;
        if looks < SPINS {
            std::hint::spin_loop();
        } else {
            let ns = (u64::from(looks - SPINS) + 1).min(50) * 20_000;
            pause_ns(ns);
        }
    }
}

fn reach(stage: &Stage, own: &Thread, window: u64) {
    own.window.store(window, SeqCst);
    stage.turn.fetch_add(1, SeqCst);
    if stage.sleepers.load(SeqCst) > 0 {
        futex(&stage.turn, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, u32::MAX >> 1);
    }
}

fn wait_for_window(stage: &Stage, window: u64) {
    loop {
        let turn = stage.turn.load(SeqCst);
        if stage.threads.iter().all(|thread| thread.window.load(SeqCst) >= window) {
            return;
        }
        stage.sleepers.fetch_add(1, SeqCst);
        futex(&stage.turn, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, turn);
        stage.sleepers.fetch_sub(1, SeqCst);
    }
}

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    // SAFETY: a word of ours; without a time nothing else is read.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, 0usize) };
}

fn sleep_until(ns: u64) {
    let now = clock_ns(libc::CLOCK_MONOTONIC);
    if ns > now {
        pause_ns(ns - now);
    }
}

fn pause_ns(ns: u64) {
    let time = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: a time to read; the rest of an interrupted sleep is not wanted.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Tells a tracer where the steps begin and end; without one the kernel refuses it, and that is all.
fn mark(which: usize) {
    // SAFETY: no range; the advice does not exist.
    unsafe { libc::syscall(libc::SYS_madvise, 0usize, 0usize, which) };
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a time to write to.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What this process has used so far.
struct Usage {
    user_ns: u64,
    system_ns: u64,
    faults: u64,
}

impl Usage {
    fn now() -> Self {
        // SAFETY: zero is a value of these plain integers, and the kernel writes them.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let ns =
            |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
        Self {
            user_ns: ns(usage.ru_utime),
            system_ns: ns(usage.ru_stime),
            faults: (usage.ru_minflt + usage.ru_majflt) as u64,
        }
    }
}

/// A fresh shared mapping of zeros; its address.
fn shared(bytes: usize, more: c_int) -> io::Result<usize> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | more;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel likes.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(start.expose_provenance())
}

fn at<T>(address: usize) -> *mut T {
    ptr::with_exposed_provenance_mut(address)
}
