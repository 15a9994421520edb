//! This process's part in a recording: joining it, and one function a kind of event.
//!
//! While a recording is on, the caches are closed as for any other count of
//! calls, so every call comes by here; when it ends each thread opens its own
//! again at its next call.

use crate::chunk::at;
use crate::global::ALLOCATOR;
use crate::linux::machine::{nr, syscall};
use crate::linux::may_have_stream;
use crate::linux::{decimal, each_part, map_shared_file, path, read_file, wiped_page};
use crate::os::{KernelNote, Os};
use crate::report::status_kib;
use crate::threads::Slot;
use crate::tunables::TABLE;
use crate::{stacks, stream, touched};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use heapwise_layout::live::{
    LIVE_ENV, LIVE_FILE_BYTES, LIVE_MAGIC, LIVE_VERSION, LiveHeader, RUNNING,
};
use heapwise_layout::record::{
    BEGINS, Cause, FORKED, KernelOp, Kind, NO_PROCESS, PROCESS_ENDS, ProcessStart, THREAD_ENDS,
    blob, zigzag,
};

pub use crate::stacks::note_stack_end;
pub use crate::stream::{ENDED, OFF, SAMPLING, state};

/// Whether calls are recorded.
#[inline(always)]
pub fn active() -> bool {
    stream::state() == stream::ON
}

/// Whether a recording is on, of calls or of samples.
#[inline(always)]
fn open() -> bool {
    matches!(stream::state(), stream::ON | SAMPLING)
}

/// This process's pid as the recorder knows it; 0 if that knows it by another.
static OUTSIDE_PID: AtomicU32 = AtomicU32::new(0);

/// See [`OUTSIDE_PID`].
pub(crate) fn outside_pid() -> u32 {
    OUTSIDE_PID.load(Relaxed)
}

/// Takes `HEAPWISE_RECORD_FILE=…`: maps the file. [`begin`] then joins the recording.
pub fn take_variable(variable: &[u8]) -> bool {
    let Some(name) =
        variable.strip_prefix(LIVE_ENV.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    else {
        return false;
    };
    let mut buffer = [0; 4096];
    if let Some(name) = path(&mut buffer, &[name]) {
        attach(name);
    }
    true
}

/// Maps the recording's file `name`, which ends in NUL; false if it is none, or one is on.
pub fn attach(name: &[u8]) -> bool {
    if open() {
        return false;
    }
    let Some(base) = map_shared_file(name, LIVE_FILE_BYTES) else { return false };
    // SAFETY: the mapping begins with the header, and stays.
    let header = unsafe { &*at::<LiveHeader>(base) };
    if header.magic.load(Relaxed) != LIVE_MAGIC
        || header.version.load(Relaxed) != LIVE_VERSION
        || header.stop.load(Relaxed) != RUNNING
    {
        return false;
    }
    let Some(own) = wiped_page() else { return false };
    stream::prepare(base, own);
    true
}

/// Joins the recording whose file is attached; false if there is none.
pub fn begin() -> bool {
    let Some(header) = stream::header() else { return false };
    let mean = header.sample_bytes.load(Relaxed);
    MEAN.store(mean, Relaxed);
    SNIPPET.store(header.snippet_bytes.load(Relaxed), Relaxed);
    touched::set_from(if mean > 0 { 0 } else { header.touched_bytes.load(Relaxed) });
    stream::begin(if mean > 0 { SAMPLING } else { stream::ON });
    join(NO_PROCESS);
    true
}

/// Mean distance of samples, bytes.
static MEAN: AtomicU64 = AtomicU64::new(0);
/// Bytes of the stack that make a stack; 0 for none.
static SNIPPET: AtomicU32 = AtomicU32::new(0);

/// The stack of the caller as an id, 0 if none is wanted.
#[inline(always)]
fn stack() -> u64 {
    match SNIPPET.load(Relaxed) {
        0 => 0,
        bytes => stacks::capture(bytes as usize).into(),
    }
}

/// Joins the recording of a recorder that found this process running: of samples only, since
/// the threads that run would have to be told to count every call.
pub(crate) fn join_from_outside(pid: u32, descriptor: u32) -> bool {
    if !may_have_stream() {
        return false;
    }
    let (mut digits, mut more_digits, mut buffer) = ([0; 20], [0; 20], [0; 64]);
    let pieces: [&[u8]; 4] = [
        b"/proc/",
        decimal(pid.into(), &mut digits),
        b"/fd/",
        decimal(descriptor.into(), &mut more_digits),
    ];
    let Some(name) = path(&mut buffer, &pieces) else { return false };
    if !attach(name) || stream::header().is_none_or(|h| h.sample_bytes.load(Relaxed) == 0) {
        return false;
    }
    begin();
    ALLOCATOR.set_sampling(true);
    true
}

/// In a fork child: a process of its own.
pub fn forked() {
    if !open() {
        return;
    }
    // What the parent noted outside the page that the fork wiped.
    let parent = NUMBER.load(Relaxed);
    stream::forget_stream();
    join(parent);
    FORKS.store(0, Relaxed);
}

/// In a child that no handler told of its fork.
pub(crate) fn join_as_stranger() {
    stream::forget_stream();
    FORKS.store(0, Relaxed);
    join(NUMBER.load(Relaxed));
}

/// This process's number in the recording, for its children.
static NUMBER: AtomicU32 = AtomicU32::new(NO_PROCESS);

/// Takes a number and says who this is.
fn join(forked_from: u32) {
    let (Some(number), Some(header)) = (stream::join(), stream::header()) else { return };
    NUMBER.store(number, Relaxed);
    // SAFETY: no arguments.
    let (pid, parent) = unsafe { (syscall(nr::GETPID, [0; 6]), syscall(nr::GETPPID, [0; 6])) };
    let known = pid_namespace() == header.pid_namespace.load(Relaxed);
    OUTSIDE_PID.store(if known { pid as u32 } else { 0 }, Relaxed);
    let start = ProcessStart {
        pid: pid as u32,
        parent_pid: parent as u32,
        forked_from,
        page_bytes: ALLOCATOR.os.page_bytes() as u32,
        sample_bytes: header.sample_bytes.load(Relaxed),
        stack_depth: header.stack_depth.load(Relaxed),
        cores: ALLOCATOR.os.usable_cores() as u32,
        break_start: ALLOCATOR.os.sbrk(0).unwrap_or(0) as u64,
        fork_number: if forked_from == NO_PROCESS { 0 } else { FORKS.load(Relaxed) },
    };
    stream::write_blob(blob::PROCESS, 0, &[&start.to_bytes()]);
    let mut text = [0; 4096];
    if let Some(words) = read_file(b"/proc/self/cmdline\0", &mut text) {
        stream::write_blob(blob::COMMAND, 0, &[words.strip_suffix(b"\0").unwrap_or(words)]);
    }
    write_settings(&mut text);
    stream::write(Kind::Process, BEGINS, 0, 0);
    write_sample();
    if SNIPPET.load(Relaxed) > 0 {
        write_maps();
    }
}

/// The settings that are not the defaults, a line each.
fn write_settings(text: &mut [u8; 4096]) {
    let mut length = 0;
    for tunable in TABLE {
        let value = ALLOCATOR.settings.get(tunable.setting);
        if value == tunable.default {
            continue;
        }
        let mut digits = [0; 20];
        let pieces = [tunable.heapwise.as_bytes(), b"=", decimal(value as u64, &mut digits), b"\n"];
        for piece in pieces {
            if let Some(room) = text.get_mut(length..length + piece.len()) {
                room.copy_from_slice(piece);
                length += piece.len();
            }
        }
    }
    stream::write_blob(blob::SETTINGS, 0, &[&text[..length]]);
}

/// The lines of `/proc/self/maps` that are code of a file.
pub(crate) fn write_maps() {
    let mut lines = [0; 8192];
    let mut kept = 0;
    let mut rest = 0;
    each_part(b"/proc/self/maps\0", |part| {
        // Behind `kept` lie whole lines to keep, then the beginning of one that is cut.
        for &byte in part {
            if kept + rest == lines.len() {
                // A line longer than any path, or time to send what there is.
                stream::write_blob(blob::MAPS, 0, &[&lines[..kept]]);
                lines.copy_within(kept..kept + rest, 0);
                kept = 0;
                if rest == lines.len() {
                    rest = 0;
                }
            }
            lines[kept + rest] = byte;
            rest += 1;
            if byte == b'\n' {
                let line = &lines[kept..kept + rest];
                let code =
                    line.split(|&b| b == b' ').nth(1).is_some_and(|p| p.get(2) == Some(&b'x'));
                if code {
                    note_code(line);
                    kept += rest;
                }
                rest = 0;
            }
        }
    });
    stream::write_blob(blob::MAPS, 0, &[&lines[..kept]]);
}

/// A line of `/proc/self/maps` that is code: `7f…-7f… r-xp …`.
fn note_code(line: &[u8]) {
    let hex = |text: &[u8]| {
        text.iter().try_fold(0, |number, &b| {
            (b as char).to_digit(16).map(|digit| number << 4 | digit as usize)
        })
    };
    let mut ends = line.split(|&b| b == b'-' || b == b' ');
    if let (Some(start), Some(end)) = (ends.next().and_then(hex), ends.next().and_then(hex)) {
        stacks::note_code(start, end);
    }
}

/// What the kernel says of this process's memory. Shared memory is left out: the
/// recording itself is such.
fn write_sample() {
    let mut text = [0; 2048];
    let Some(status) = read_file(b"/proc/self/status\0", &mut text) else { return };
    let rss_kib = status_kib(status, b"RssAnon:") + status_kib(status, b"RssFile:");
    let Some(stat) = read_file(b"/proc/self/stat\0", &mut text) else { return };
    // pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt …
    let after = stat.iter().rposition(|&b| b == b')').map_or(&stat[..0], |at| &stat[at + 1..]);
    let fields = after.split(|&b| b == b' ').filter(|f| !f.is_empty());
    let mut numbers = [0u64; 10];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = crate::tunables::parse(field).unwrap_or(0) as u64;
    }
    stream::write(Kind::Sample, rss_kib, numbers[7], numbers[9]);
}

/// The process is about to end.
pub fn process_ends() {
    if open() {
        write_sample();
        if active() {
            touched::process_ends();
        }
        if SNIPPET.load(Relaxed) > 0 {
            write_maps();
        }
        stream::write(Kind::Process, PROCESS_ENDS, 0, 0);
    }
}

/// Forks of this process with handlers. The child has its parent's count, and so its own number.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Before a fork.
pub fn process_forks() {
    FORKS.fetch_add(1, Relaxed);
}

/// In the parent, after a fork: the child's pid is not told to handlers, its number will do.
pub fn process_forked() {
    if open() {
        stream::write(Kind::Process, FORKED, 0, FORKS.load(Relaxed).into());
    }
}

/// The thread ends.
pub fn thread_ends() {
    if open() {
        stream::write(Kind::Thread, THREAD_ENDS, 0, 0);
        stream::hand_over();
    }
}

/// An allocation begins: what it asks of the kernel is noted as its.
#[inline(always)]
pub fn begins(cause: Cause) {
    if active() {
        stream::set_cause(cause as u32);
    }
}

/// It has ended: `kind` says what it was, `size` what was asked for.
#[inline(always)]
pub fn allocated(kind: Kind, size: u64, pointer: usize) {
    if active() {
        stream::write(kind, size, pointer as u64, stack());
        stream::set_cause(Cause::Other as u32);
    }
}

/// Size and alignment in one field, as a record of [`Kind::Aligned`] has them.
#[must_use]
pub fn aligned_size(align: usize, size: usize) -> usize {
    size.saturating_mul(64) | align.trailing_zeros() as usize
}

/// An allocation of a profile: if a sample falls into its `bytes` it is watched. `size` is what
/// the record says of it.
#[cold]
#[inline(never)]
pub fn sample(slot: &Slot, kind: Kind, bytes: usize, size: usize, pointer: usize) {
    if pointer != 0 && ALLOCATOR.count_down(slot, bytes, MEAN.load(Relaxed)) {
        if stream::header().is_none_or(|h| h.stop.load(Relaxed) != RUNNING) {
            // The next call that comes by the slow path opens malloc again.
            stream::end();
            return;
        }
        ALLOCATOR.watch(pointer);
        let stack = stack();
        stream::write(kind, size as u64, pointer as u64, stack);
    }
}

/// The end of a watched block.
pub(crate) fn sampled_freed(pointer: usize) {
    if stream::state() == SAMPLING {
        stream::write(Kind::Free, 0, pointer as u64, 0);
    }
}

/// A watched block has another size, in the room that it had.
pub(crate) fn sampled_resized(pointer: usize, request: usize) {
    if stream::state() == SAMPLING {
        stream::write_realloc(pointer, request, pointer, 0, true);
    }
}

/// Whether recorded calls may be served as the fast paths would: nothing else wants to see them.
static PLAIN: AtomicU32 = AtomicU32::new(0);

/// See [`plain`].
pub fn set_plain(plain: bool) {
    PLAIN.store(u32::from(plain), Relaxed);
}

/// Whether a recording is on and nothing but it closes the caches.
#[inline(always)]
pub fn plain() -> bool {
    stream::state() == stream::ON && PLAIN.load(Relaxed) != 0
}

/// Whether calls are recorded without their stacks.
#[inline(always)]
fn without_stacks() -> bool {
    SNIPPET.load(Relaxed) == 0
}

/// An allocation that the thread cache served, if its record is a short one; see
/// `stream::write_short`.
#[inline(always)]
pub fn served_shortly(kind: Kind, size: usize, pointer: usize) -> bool {
    stream::write_short(kind, size, pointer)
}

/// An allocation that the thread cache served.
#[inline(never)]
pub fn served(kind: Kind, size: usize, pointer: usize) {
    if without_stacks() {
        stream::write_served(kind, size, pointer, true);
    } else {
        stream::write(kind, size as u64, pointer as u64, stack());
    }
}

/// A realloc that the thread cache served, if its records are short ones.
#[inline(always)]
pub fn moved_shortly(old: usize, size: usize, new: usize) -> bool {
    stream::write_short_realloc(old, size, new)
}

/// A free that the thread cache takes, if its record is a short one.
#[inline(always)]
pub fn gives_shortly(pointer: usize) -> bool {
    stream::write_short(Kind::Free, 0, pointer)
}

/// A free that the thread cache takes.
#[inline(never)]
pub fn gives(pointer: usize) {
    stream::write_served(Kind::Free, 0, pointer, without_stacks());
}

/// The bin that it went to is over its bound: what follows is because of it.
pub fn gives_slowly() {
    stream::set_cause(Cause::Free as u32);
}

/// A free begins.
#[inline(always)]
pub fn frees(pointer: usize) {
    if active() {
        touched::ends(pointer);
        stream::write(Kind::Free, 0, pointer as u64, 0);
        stream::set_cause(Cause::Free as u32);
    }
}

/// A free has ended.
#[inline(always)]
pub fn freed() {
    if active() {
        stream::set_cause(Cause::Other as u32);
    }
}

/// A block is about to be reallocated to another size.
#[inline(always)]
pub fn shrinks(pointer: usize, request: usize) {
    if active() {
        touched::shrinks(pointer, request);
    }
}

/// A realloc of `old` has ended, at `new`, or failed with 0. `kept`: in the room that it had.
#[inline(always)]
pub fn reallocated(old: usize, size: usize, new: usize, kept: bool) {
    if !active() {
        return;
    }
    stream::set_cause(Cause::Other as u32);
    let stack = if without_stacks() { 0 } else { stack() };
    stream::write_realloc(old, size, new, stack, kept);
}

/// A call to the kernel was made.
#[cold]
pub(crate) fn kernel(call: KernelNote) {
    if !may_have_stream() {
        return;
    }
    if call.op == KernelOp::Mremap {
        stream::write(Kind::KernelTo, 0, call.new_address as u64, call.new_bytes as u64);
    }
    let what = call.op as u64 | u64::from(stream::cause() & 15) << 4 | u64::from(call.failed) << 8;
    let bytes =
        if call.op == KernelOp::Brk { zigzag(call.bytes as i64) } else { call.bytes as u64 };
    stream::write(Kind::Kernel, what, call.address as u64, bytes);
}

/// The number in `pid:[4026531836]`, where this process's pid namespace is linked to.
fn pid_namespace() -> u64 {
    let mut text = [0; 64];
    let link = b"/proc/self/ns/pid\0";
    let args = [link.as_ptr().addr(), text.as_mut_ptr().addr(), text.len(), 0, 0, 0];
    // SAFETY: a NUL-terminated path, a buffer and its length.
    let length = unsafe { syscall(nr::READLINK, args) };
    let text: &[u8] = text.get(..length.max(0) as usize).unwrap_or(&[]);
    let digits = text.iter().filter(|b| b.is_ascii_digit());
    digits.fold(0, |number: u64, &b| number.wrapping_mul(10).wrapping_add(u64::from(b - b'0')))
}
