//! A thread's stream of records into the memory that it shares with a recorder.
//!
//! ```text
//! the thread's word ──► ChunkHead │ record record record …      `used` moves behind each
//!                        full: handed over, the next free one is claimed
//! ```
//! Nothing here allocates. A record is a few stores; only once in thousands is
//! there a chunk to hand over, and a system call only if the recorder sleeps or
//! is behind.
//!
//! Invariant: a thread writes only to chunks of its own process. A fork that
//! ran no handlers (a bare `clone`) finds its process's number wiped and joins
//! anew.

use crate::chunk::at;
use crate::linux::machine::{
    is_undisturbed, nr, section_place, stream_address, stream_slot, syscall, ticks, ticks_loosely,
    watch_for_the_kernel,
};
use crate::linux::{exact_ns, futex_wait_shared, futex_wake_shared};
use core::sync::atomic::{
    AtomicIsize, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    compiler_fence,
};
use heapwise_layout::live::{
    CHUNK_BYTES, CHUNK_FULL, CHUNK_HEAD_BYTES, CHUNK_OPEN, ChunkHead, LIVE_FILE_BYTES, LiveHeader,
    RUNNING, TICK_SHIFT, WAKE_CHUNKS, WRITING, chunk_offset,
};
use heapwise_layout::record::{BEGINS, Coder, Kind, RECORD_ROOM_BYTES, Record};

/// A chunk with less room than this is full: two records are written at once at most, and a run
/// of short ones that a signal handler has cut in two may be one run too long.
const MARGIN_BYTES: usize = 2 * RECORD_ROOM_BYTES + MAX_RUN as usize * SHORT_BYTES;
/// Most bytes of a short record.
const SHORT_BYTES: usize = 8;
/// A reading of the counter is good for so many records at most.
const MAX_RUN: u32 = 24;
/// A run that took less, in ticks (some 0.6 µs), may be twice as long the next time.
const DENSE_TICKS: u64 = 100;
/// One that took more (some 1.6 µs) is half as long.
const SPARSE_TICKS: u64 = 250;
/// After so long (some 10 µs) each record is timed again.
const PAUSE_TICKS: u64 = 1500;
/// No blob is longer.
pub const MAX_BLOB_BYTES: usize = CHUNK_BYTES / 2;
/// A recorder that has not looked for so long is taken for dead.
const PATIENCE_NS: u64 = 10_000_000_000;
/// A thread without a chunk looks again after so long.
const WAIT_NS: u64 = 20_000_000;

/// Nothing is recorded.
pub const OFF: u32 = 0;
/// Calls are recorded.
pub const ON: u32 = 1;
/// The recorder has ended: caches are to be opened again.
pub const ENDED: u32 = 2;
/// Samples are recorded.
pub const SAMPLING: u32 = 3;

static STATE: AtomicU32 = AtomicU32::new(OFF);
/// Where the recording's memory is mapped.
static BASE: AtomicUsize = AtomicUsize::new(0);
/// Address of what this process calls itself in the recording, see [`owner_of`], in a page that
/// forks wipe.
static OWN: AtomicUsize = AtomicUsize::new(0);

/// What is recorded: `OFF`, `ON`, `SAMPLING` or `ENDED`.
#[inline(always)]
pub fn state() -> u32 {
    STATE.load(Relaxed)
}

/// The recording's header, if there is one.
pub fn header() -> Option<&'static LiveHeader> {
    let base = BASE.load(Acquire);
    // SAFETY: mapped before `prepare` for as long as the process lives.
    (base != 0).then(|| unsafe { &*at::<LiveHeader>(base) })
}

/// Records will go to the mapping at `base`. `own` is the address of a word, zero, in a
/// page that a fork wipes.
pub fn prepare(base: usize, own: usize) {
    RECORDINGS.fetch_add(1, Relaxed);
    OWN.store(own, Relaxed);
    BASE.store(base, Release);
}

/// From now on records are written, in state [`ON`] or [`SAMPLING`]; [`prepare`] came before.
pub fn begin(state: u32) {
    SECTION.store(section_place(), Relaxed);
    STATE.store(state, Release);
}

/// Nothing is recorded any more.
pub fn end() {
    STATE.store(ENDED, Release);
}

/// Recordings that this process has been in.
static RECORDINGS: AtomicU32 = AtomicU32::new(0);

/// The word in the wiped page: [`owner_of`] this process's number, 0 if it has none.
#[inline(always)]
fn own() -> &'static AtomicU64 {
    // SAFETY: set before the state was on; the page is never unmapped.
    unsafe { &*at::<AtomicU64>(OWN.load(Relaxed)) }
}

/// What tells the chunks of process `number` from those of others, and of other recordings.
fn owner_of(number: u32) -> u64 {
    u64::from(RECORDINGS.load(Relaxed)) << 32 | (u64::from(number) + 1)
}

/// Takes a number for this process in the recording.
pub fn join() -> Option<u32> {
    let header = header()?;
    let number = header.processes.fetch_add(1, Relaxed);
    own().store(owner_of(number), Relaxed);
    forget_stream();
    Some(number)
}

/// This thread has no stream (in a fork child: it is its parent's).
pub fn forget_stream() {
    // SAFETY: this thread's word.
    unsafe { at::<usize>(stream_slot()).write(0) };
}

/// Writes a record, timed now.
#[inline]
pub fn write(kind: Kind, a: u64, b: u64, c: u64) {
    if let Some(head) = stream() {
        write_to(head, kind, a, b, c, &[]);
    }
}

/// Writes the two records of a realloc, timed together.
pub fn write_realloc(old: usize, size: usize, new: usize, stack: u64, kept: bool) {
    let Some(head) = stream() else { return };
    let Some(left) = begin_writing(head) else { return };
    let time = now();
    let pause = time.saturating_sub(head.time.load(Relaxed)) > PAUSE_TICKS;
    let from = Record { kind: Kind::ReallocFrom, time, a: kept.into(), b: old as u64, c: 0 };
    let to = Record { kind: Kind::Realloc, time, a: size as u64, b: new as u64, c: stack };
    let (coder, end) = append(head, place(head), from);
    let (coder, end) = append(head, (coder, end), to);
    end_writing(head, coder, end, 2, if pause { 0 } else { left });
}

/// Writes the record of a call that this thread's cache alone served, without a stack, at the time
/// of the last reading of the counter; false if that is too old, or the record is no short one.
///
/// It is too old after [`MAX_RUN`] records, fewer if these take long; as soon as the kernel has taken
/// the thread off its processor; and when the recorder has looked meanwhile.
#[inline(always)]
pub fn write_short(kind: Kind, size: usize, address: usize) -> bool {
    let Some(head) = own_head() else { return false };
    let left = head.left.load(Relaxed);
    // SAFETY: a thread that has a run is one of the C library's, and the place is known.
    if left.wrapping_sub(1) >= MAX_RUN || !unsafe { is_undisturbed(SECTION.load(Relaxed)) } {
        return false;
    }
    head.left.store(WRITING, Relaxed);
    compiler_fence(Release);
    let used = head.used.load(Relaxed) as usize;
    let mut coder = Coder { time: 0, address: head.address.load(Relaxed) };
    // SAFETY: the chunk is this thread's, and a run begins only if there is room for all of it.
    let out = unsafe { &mut *at::<[u8; RECORD_ROOM_BYTES]>(address_of(head) + used) };
    let (size, address) = (size as u64, address as u64);
    let length = match kind {
        Kind::Malloc => coder.encode_malloc(size, address, out),
        Kind::Free => coder.encode_free(address, out),
        _ => coder.encode_short(kind, size, address, out),
    };
    if length != 0 {
        head.address.store(coder.address, Relaxed);
        head.records.store(head.records.load(Relaxed) + 1, Relaxed);
        head.used.store((used + length) as u32, Release);
    }
    compiler_fence(Release);
    head.left.store(left - u32::from(length != 0), Relaxed);
    length != 0
}

/// [`write_short`] of the two records of a realloc that moved its block.
#[inline(always)]
pub fn write_short_realloc(old: usize, size: usize, new: usize) -> bool {
    let Some(head) = own_head() else { return false };
    let left = head.left.load(Relaxed);
    // SAFETY: as in `write_short`.
    if left.wrapping_sub(2) >= MAX_RUN - 1 || !unsafe { is_undisturbed(SECTION.load(Relaxed)) } {
        return false;
    }
    head.left.store(WRITING, Relaxed);
    compiler_fence(Release);
    let used = head.used.load(Relaxed) as usize;
    let mut coder = Coder { time: 0, address: head.address.load(Relaxed) };
    let mut append = |kind, size: usize, address: usize, at_byte: usize| {
        // SAFETY: as in `write_short`; the run has room for both.
        let out = unsafe { &mut *at::<[u8; RECORD_ROOM_BYTES]>(address_of(head) + at_byte) };
        coder.encode_short(kind, size as u64, address as u64, out)
    };
    let from = append(Kind::ReallocFrom, 0, old, used);
    let to = if from == 0 { 0 } else { append(Kind::Realloc, size, new, used + from) };
    if to != 0 {
        head.address.store(coder.address, Relaxed);
        head.records.store(head.records.load(Relaxed) + 2, Relaxed);
        head.used.store((used + from + to) as u32, Release);
    }
    compiler_fence(Release);
    head.left.store(left - 2 * u32::from(to != 0), Relaxed);
    to != 0
}

/// Writes the record of such a call, timed now, and begins a run.
///
/// The counter may be read some nanoseconds early. That does no harm where this thread's cache alone
/// served: what came to that from other threads came with a record in order, and the times of a
/// thread never fall. Only if `begins` is said do short records follow: they have no stacks.
pub fn write_served(kind: Kind, size: usize, address: usize, begins: bool) {
    let Some(head) = stream() else { return };
    let Some(before) = begin_writing(head) else { return };
    let time = ticks_loosely() >> TICK_SHIFT;
    let gap = time.saturating_sub(head.time.load(Relaxed));
    let mut run = head.run.load(Relaxed);
    if gap > PAUSE_TICKS {
        run = 1;
    } else if before == 0 {
        // The last run is over: so many records took so long.
        if gap < DENSE_TICKS {
            run = (2 * run).min(MAX_RUN);
        } else if gap > SPARSE_TICKS {
            run = (run / 2).max(1);
        }
    }
    head.run.store(run, Relaxed);
    let record = Record { kind, time, a: size as u64, b: address as u64, c: 0 };
    let (coder, end) = append(head, place(head), record);
    let section = SECTION.load(Relaxed);
    if section == 0 || !begins {
        run = 1;
    } else {
        // SAFETY: the place is not 0. This thread called the C ABI's malloc: the helper, which has
        // a thread pointer of its own, never comes by here.
        unsafe { watch_for_the_kernel(section) };
    }
    end_writing(head, coder, end, 1, run - 1);
}

/// Where a thread's word for its critical section lies, see [`section_place`].
static SECTION: AtomicIsize = AtomicIsize::new(0);

/// Writes a blob; false if it found no room.
pub fn write_blob(what: u64, id: u32, parts: &[&[u8]]) -> bool {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    if bytes > MAX_BLOB_BYTES {
        return false;
    }
    let Some(mut head) = stream() else { return false };
    if room(head) < bytes {
        match next_chunk() {
            Some(next) => head = next,
            None => return false,
        }
    }
    write_to(head, Kind::Blob, what, bytes as u64, id.into(), parts);
    true
}

/// Where this thread's stack lies, as far as its stream knows.
pub fn stack_bounds() -> Option<(&'static AtomicU64, &'static AtomicU64)> {
    stream().map(|head| (&head.stack_low, &head.stack_high))
}

/// Notes which call of the program runs on this thread.
#[inline]
pub fn set_cause(cause: u32) {
    if let Some(head) = stream() {
        head.cause.store(cause, Relaxed);
    }
}

/// The call of the program that runs on this thread.
pub fn cause() -> u32 {
    stream().map_or(0, |head| head.cause.load(Relaxed))
}

/// The thread ends: its chunk is the recorder's.
pub fn hand_over() {
    let Some(address) = own_chunk() else { return };
    // SAFETY: a chunk of the mapping, see `stream`.
    let head = unsafe { &*at::<ChunkHead>(address) };
    if head.owner.load(Relaxed) == own().load(Relaxed) {
        give(head);
    }
    forget_stream();
}

/// The address of this thread's chunk. What a former recording left in the word is none.
#[inline(always)]
fn own_chunk() -> Option<usize> {
    let address = stream_address();
    (address.wrapping_sub(BASE.load(Relaxed)) < LIVE_FILE_BYTES).then_some(address)
}

/// Bytes left for records.
#[inline(always)]
fn room(head: &ChunkHead) -> usize {
    (CHUNK_BYTES - MARGIN_BYTES).saturating_sub(head.used.load(Relaxed) as usize)
}

/// This thread's chunk, if it has one.
#[inline(always)]
fn own_head() -> Option<&'static ChunkHead> {
    let address = stream_address();
    if address == 0 {
        return None;
    }
    // SAFETY: a chunk of this recording's mapping or of a former one's; none is ever unmapped.
    let head = unsafe { &*at::<ChunkHead>(address) };
    (head.owner.load(Relaxed) == own().load(Relaxed)).then_some(head)
}

/// This thread's chunk, with room for two records.
#[inline(always)]
fn stream() -> Option<&'static ChunkHead> {
    match own_head() {
        Some(head) if head.used.load(Relaxed) as usize <= CHUNK_BYTES - MARGIN_BYTES => Some(head),
        _ => next_chunk(),
    }
}

#[inline(always)]
fn write_to(head: &ChunkHead, kind: Kind, a: u64, b: u64, c: u64, parts: &[&[u8]]) {
    let Some(left) = begin_writing(head) else { return };
    let time = now();
    let pause = time.saturating_sub(head.time.load(Relaxed)) > PAUSE_TICKS;
    let (coder, mut end) = append(head, place(head), Record { kind, time, a, b, c });
    for part in parts {
        let to = at::<u8>(address_of(head) + end);
        // SAFETY: the caller made sure of room for all parts.
        unsafe { to.copy_from_nonoverlapping(part.as_ptr(), part.len()) };
        end += part.len();
    }
    let is_blob = kind == Kind::Blob;
    if is_blob {
        head.blobs.store(head.blobs.load(Relaxed) + 1, Relaxed);
    }
    end_writing(head, coder, end, u32::from(!is_blob), if pause { 0 } else { left });
}

/// Where the next record of a chunk goes, and what it builds on.
#[inline(always)]
fn place(head: &ChunkHead) -> (Coder, usize) {
    let coder = Coder { time: head.time.load(Relaxed), address: head.address.load(Relaxed) };
    (coder, head.used.load(Relaxed) as usize)
}

/// Packs a record at a place of a chunk that is being written to; the place behind it.
#[inline(always)]
fn append(head: &ChunkHead, (mut coder, end): (Coder, usize), record: Record) -> (Coder, usize) {
    // SAFETY: the chunk is this thread's, and has room for two records (see `stream`).
    let out = unsafe { &mut *at::<[u8; RECORD_ROOM_BYTES]>(address_of(head) + end) };
    let length = coder.encode(record, out);
    (coder, end + length)
}

/// The time, in order with what other threads do.
#[inline(always)]
fn now() -> u64 {
    // That costs a fence, and matters only if there are any.
    let alone = crate::global::ALLOCATOR.state.multi_threaded.load(Relaxed) == 0;
    if alone { ticks_loosely() >> TICK_SHIFT } else { ticks() >> TICK_SHIFT }
}

/// Where a chunk begins.
#[inline(always)]
fn address_of(head: &ChunkHead) -> usize {
    core::ptr::from_ref(head).expose_provenance()
}

/// The chunk is being written to; what its run had left. `None`, and one record is lost, if it is
/// already: by what a signal handler has interrupted.
#[inline(always)]
fn begin_writing(head: &ChunkHead) -> Option<u32> {
    let left = head.left.load(Relaxed);
    if left == WRITING {
        lose(Some(head));
        return None;
    }
    head.left.store(WRITING, Relaxed);
    // A handler runs on this thread: what the compiler leaves in order is in order.
    compiler_fence(Release);
    Some(left)
}

/// Publishes what stands before `end`, `records` more than before. A run of `left` short records
/// may follow, as far as there is room.
#[inline(always)]
fn end_writing(head: &ChunkHead, coder: Coder, end: usize, records: u32, left: u32) {
    head.time.store(coder.time, Relaxed);
    head.address.store(coder.address, Relaxed);
    head.records.store(head.records.load(Relaxed) + records, Relaxed);
    head.used.store(end as u32, Release);
    compiler_fence(Release);
    head.left.store(if end > CHUNK_BYTES - MARGIN_BYTES { 0 } else { left }, Relaxed);
}

#[cold]
#[inline(never)]
fn lose(head: Option<&ChunkHead>) {
    if let Some(head) = head {
        head.lost.store(head.lost.load(Relaxed) + 1, Relaxed);
    }
    if let Some(header) = header() {
        header.lost.fetch_add(1, Relaxed);
    }
}

/// Hands a chunk over as full.
fn give(head: &ChunkHead) {
    head.state.store(CHUNK_FULL, Release);
    let Some(header) = header() else { return };
    let filled = header.filled.fetch_add(1, AcqRel).wrapping_add(1);
    if header.recorder_waits.load(Acquire) != 0 && filled.is_multiple_of(WAKE_CHUNKS) {
        futex_wake_shared(&header.filled);
    }
}

/// Hands this thread's chunk over and claims the next.
#[cold]
#[inline(never)]
fn next_chunk() -> Option<&'static ChunkHead> {
    if !matches!(state(), ON | SAMPLING) {
        return None;
    }
    let header = header()?;
    if header.stop.load(Relaxed) != RUNNING {
        end();
        return None;
    }
    if own().load(Relaxed) == 0 {
        // A fork without handlers.
        crate::record::join_as_stranger();
    }
    let chunk = own_chunk();
    let owner = own().load(Relaxed);
    let number = (owner as u32).wrapping_sub(1);
    // SAFETY: as in `stream`.
    let old = chunk.map(|address| unsafe { &*at::<ChunkHead>(address) });
    let old = old.filter(|head| head.owner.load(Relaxed) == owner);
    let carried = old.map(|head| {
        let stream = head.stream.load(Relaxed);
        let stack = (head.stack_low.load(Relaxed), head.stack_high.load(Relaxed));
        (
            stream,
            head.sequence.load(Relaxed) + 1,
            head.thread.load(Relaxed),
            head.cause.load(Relaxed),
            stack,
        )
    });
    let (time, address, lost) = old.map_or((ticks() >> TICK_SHIFT, 0, 0), |head| {
        (head.time.load(Relaxed), head.address.load(Relaxed), head.lost.load(Relaxed))
    });
    if let Some(head) = old {
        give(head);
    }
    forget_stream();
    let index = claim(header)?;
    let base = core::ptr::from_ref(header).expose_provenance() + chunk_offset(index);
    // SAFETY: a chunk of the mapping that is this thread's alone now.
    let head = unsafe { &*at::<ChunkHead>(base) };
    let new = carried.is_none();
    let (stream, sequence, thread, cause, stack) = carried.unwrap_or_else(|| {
        // SAFETY: no arguments.
        let thread = unsafe { syscall(nr::GETTID, [0; 6]) };
        (header.streams.fetch_add(1, Relaxed), 0, thread as u32, 0, (0, 0))
    });
    head.process.store(number, Relaxed);
    head.owner.store(owner, Relaxed);
    head.stream.store(stream, Relaxed);
    head.thread.store(thread, Relaxed);
    head.pid.store(crate::record::outside_pid(), Relaxed);
    head.sequence.store(sequence, Relaxed);
    for (word, value) in [
        (&head.base_time, time),
        (&head.time, time),
        (&head.base_address, address),
        (&head.address, address),
        (&head.stack_low, stack.0),
        (&head.stack_high, stack.1),
    ] {
        word.store(value, Relaxed);
    }
    for (word, value) in [
        (&head.left, 0),
        (&head.run, 1),
        (&head.records, 0),
        (&head.blobs, 0),
        (&head.cause, cause),
        (&head.lost, 0),
    ] {
        word.store(value, Relaxed);
    }
    head.used.store(CHUNK_HEAD_BYTES as u32, Relaxed);
    head.state.store(CHUNK_OPEN, Release);
    // SAFETY: this thread's word.
    unsafe { at::<usize>(stream_slot()).write(base) };
    if new {
        write_to(head, Kind::Thread, BEGINS, 0, 0, &[]);
    }
    if lost > 0 {
        write_to(head, Kind::Lost, lost.into(), 0, 0, &[]);
    }
    Some(head)
}

/// A free chunk; waits for one while the recorder lives.
fn claim(header: &LiveHeader) -> Option<usize> {
    loop {
        let before = header.freed.load(Acquire);
        for (number, word) in header.free.iter().enumerate() {
            let mut bits = word.load(Acquire);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                match word.compare_exchange_weak(bits, bits & !(1 << bit), AcqRel, Acquire) {
                    Ok(_) => {
                        let index = number * 64 + bit as usize;
                        header.high_water.fetch_max(index as u32 + 1, AcqRel);
                        return Some(index);
                    }
                    Err(now) => bits = now,
                }
            }
        }
        let late = exact_ns().saturating_sub(header.heartbeat_ns.load(Relaxed));
        if header.stop.load(Relaxed) != RUNNING || late > PATIENCE_NS {
            lose(None);
            end();
            return None;
        }
        header.starving.fetch_add(1, AcqRel);
        futex_wake_shared(&header.filled);
        futex_wait_shared(&header.freed, before, WAIT_NS);
        header.starving.fetch_sub(1, AcqRel);
    }
}
