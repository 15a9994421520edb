//! The stack of a call as a number: known stacks by a hash, new ones as a copy for the recorder.
//!
//! ```text
//! stack pointer ─► word word word … ─► the end of the stack, or of what a sample may copy
//!                       └ those that point into code, with their places, make the key
//! ```
//! Two calls with the same key have the same return addresses in the same
//! places, so the same stack. Only a key that is not known costs a copy of the
//! stack itself, which the recorder unwinds outside: by unwind tables, frame
//! pointers or both. Nothing here allocates.

use crate::linux::each_part;
use crate::linux::machine::{registers, thread_pointer};
use crate::stream;
use core::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use heapwise_layout::record::blob;

/// Known stacks; the newest of a place wins.
const KNOWN: usize = 1 << 14;
/// Where libraries lie, not programs.
const LIBRARIES: usize = 0x7000_0000_0000;

struct Known {
    key: AtomicU64,
    id: AtomicU32,
}

static TABLE: [Known; KNOWN] =
    [const { Known { key: AtomicU64::new(0), id: AtomicU32::new(0) } }; KNOWN];

/// Code of the program, code of libraries: first and last address.
static CODE: [(AtomicUsize, AtomicUsize); 2] =
    [const { (AtomicUsize::new(usize::MAX), AtomicUsize::new(0)) }; 2];

/// Where the frames of the first thread's stack end: arguments and environment stand above.
static FIRST_END: AtomicUsize = AtomicUsize::new(0);

/// Notes the address of the program's arguments: there the frames of its first thread end.
pub fn note_stack_end(arguments: usize) {
    FIRST_END.store(arguments, Relaxed);
}

/// Notes that code lies at `start..end`.
pub fn note_code(start: usize, end: usize) {
    let (low, high) = &CODE[usize::from(start >= LIBRARIES)];
    low.fetch_min(start, Relaxed);
    high.fetch_max(end, Relaxed);
}

/// The stack of the caller as an id; 0 if it cannot be taken.
#[inline(never)]
pub fn capture(most_bytes: usize) -> u32 {
    let (instruction, stack, frame) = registers();
    let Some(end) = stack_end(stack) else { return 0 };
    let end = end.min(stack + most_bytes) & !7;
    let Some(header) = stream::header() else { return 0 };
    // A number is one recording's. Their mappings stay, so each has an address of its own.
    let recording = core::ptr::from_ref(header).addr();
    let key = key(stack, end, recording);
    let place = &TABLE[(key >> 32) as usize % KNOWN];
    if place.key.load(Acquire) == key {
        let id = place.id.load(Acquire);
        if id != 0 {
            return id;
        }
    }
    let id = header.stacks.fetch_add(1, Relaxed) + 1;
    let mut words = [0; 24];
    for (to, word) in words.chunks_exact_mut(8).zip([instruction, stack, frame]) {
        to.copy_from_slice(&(word as u64).to_le_bytes());
    }
    // SAFETY: the part of this thread's own stack above its stack pointer, all of it mapped (see
    // `stack_end`); frames above do not change while this one runs.
    let bytes = unsafe {
        core::slice::from_raw_parts(crate::chunk::at::<u8>(stack), end.saturating_sub(stack))
    };
    if !stream::write_blob(blob::SNIPPET, id, &[&words, bytes]) {
        return 0;
    }
    // Two threads may race for a place: each id is right for its key, so the pair must not mix.
    place.id.store(0, Release);
    place.key.store(key, Release);
    place.id.store(id, Release);
    id
}

/// A hash of all words of the stack that point into code, in this recording.
fn key(stack: usize, end: usize, recording: usize) -> u64 {
    let range = |index: usize| {
        let low = CODE[index].0.load(Relaxed);
        (low, CODE[index].1.load(Relaxed).saturating_sub(low))
    };
    let ((low, span), (low_libraries, span_libraries)) = (range(0), range(1));
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ recording as u64;
    let mut at = stack;
    while at < end {
        // SAFETY: aligned words of this thread's own stack, see `capture`.
        let word = unsafe { crate::chunk::at::<usize>(at).read_volatile() };
        if word.wrapping_sub(low) < span || word.wrapping_sub(low_libraries) < span_libraries {
            let here = (word as u64) ^ ((at - stack) as u64) << 48;
            hash = (hash ^ here).wrapping_mul(0xd6e8_feb8_6659_fd93);
            hash ^= hash >> 32;
        }
        at += 8;
    }
    hash | 1
}

/// The end of the frames on this thread's stack, or of the mapping that holds its stack pointer.
fn stack_end(stack: usize) -> Option<usize> {
    let bounds = stream::stack_bounds()?;
    let (low, high) = (bounds.0.load(Relaxed) as usize, bounds.1.load(Relaxed) as usize);
    if (low..high).contains(&stack) {
        return Some(high);
    }
    // Once a thread, and when it runs on another stack or deeper than ever.
    let (low, end) = mapping_at(stack)?;
    // glibc puts what it knows of a thread at the end of the thread's stack.
    let ends = [FIRST_END.load(Relaxed), thread_pointer(), end];
    let high = ends.into_iter().find(|high| (stack + 1..=end).contains(high))?;
    bounds.0.store(low as u64, Relaxed);
    bounds.1.store(high as u64, Relaxed);
    Some(high)
}

/// The mapping that holds `address`, by `/proc/self/maps`.
///
/// Not inlined: the buffer that it reads into would be part of the stack that is taken.
#[cold]
#[inline(never)]
fn mapping_at(address: usize) -> Option<(usize, usize)> {
    let mut found = None;
    let (mut start, mut number, mut in_range) = (0usize, 0usize, true);
    each_part(b"/proc/self/maps\0", |part| {
        for &byte in part {
            match byte {
                b'\n' => (start, number, in_range) = (0, 0, true),
                _ if !in_range => {}
                b'-' => (start, number) = (number, 0),
                b' ' => {
                    in_range = false;
                    if (start..number).contains(&address) {
                        found = Some((start, number));
                    }
                }
                _ => {
                    let digit = (byte as char).to_digit(16).unwrap_or(0) as usize;
                    number = number << 4 | digit;
                }
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_a_local_is_the_stack() {
        let local = 0u64;
        let here = core::ptr::from_ref(&local).expose_provenance();
        let (low, high) = mapping_at(here).expect("mapped");
        assert!((low..high).contains(&here) && high - low >= 4096);
        assert_eq!(mapping_at(8), None);
    }
}
