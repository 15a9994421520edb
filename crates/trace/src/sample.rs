//! An invented program, for tests: threads that allocate, reallocate, free, hand blocks over,
//! and an allocator below that calls the kernel.
//!
//! The same seed gives the same program. Addresses never overlap while they live.

use crate::builder::Builder;
use crate::event::{Event, KernelCall, What};
use heapwise_layout::record::{Cause, KernelOp, NO_PROCESS, ProcessStart};
use heapwise_seed::Rng;
use std::io;

/// Where the invented heap begins.
pub const HEAP_START: u64 = 0x5555_5555_6000;
/// Where invented mappings begin.
pub const MAPPINGS_START: u64 = 0x7f00_0000_0000;
const PAGE: u64 = 4096;
const MMAP_THRESHOLD: u64 = 128 << 10;
const BREAK_STEP: u64 = 132 << 10;

/// The program's allocator: the break grows, freed blocks of one size are used again.
struct Heap {
    rest: u64,
    end: u64,
    mappings: u64,
    free: Vec<(u64, u64)>,
    live: Vec<(u64, u64)>,
    faults: u64,
}

/// The events of an invented process (index 0, pid 1000): at least `count`, on `threads` threads.
///
/// Begins with [`What::ProcessStart`] and ends with [`What::ProcessEnd`]. Blocks of the
/// last fifth may outlive the program.
#[must_use]
pub fn program(seed: u64, threads: u32, count: usize) -> Vec<Event> {
    let mut rng = Rng::new(seed);
    let threads = threads.max(1);
    let mut heap = Heap {
        rest: HEAP_START,
        end: HEAP_START,
        mappings: MAPPINGS_START,
        free: Vec::new(),
        live: Vec::new(),
        faults: 0,
    };
    let mut events = Vec::with_capacity(count + 64);
    let mut time_ns = 0;
    let mut push = |events: &mut Vec<Event>, rng: &mut Rng, thread: u32, what| {
        time_ns += 1 + rng.below(200);
        events.push(Event { time_ns, process: 0, thread, what });
    };
    push(&mut events, &mut rng, 1000, What::ProcessStart);
    for thread in 0..threads {
        push(&mut events, &mut rng, 1000 + thread, What::ThreadStart);
    }
    while events.len() < count {
        let thread = 1000 + rng.below(threads.into()) as u32;
        let stack = rng.below(9) as u32;
        let mut calls = Vec::new();
        let what = match rng.below(16) {
            0 => What::Sample {
                rss_bytes: (heap.end - HEAP_START) + heap.faults * PAGE / 4,
                minor_faults: heap.faults,
                major_faults: 0,
            },
            1..=7 if !heap.live.is_empty() => {
                let victim = rng.below(heap.live.len() as u64) as usize;
                let (address, size) = heap.live.swap_remove(victim);
                heap.release(address, size, Cause::Free, &mut calls);
                What::Free { address }
            }
            8 if !heap.live.is_empty() => {
                let victim = rng.below(heap.live.len() as u64) as usize;
                let (old, old_size) = heap.live.swap_remove(victim);
                let size = 1 + old_size * (1 + rng.below(3));
                let address = heap.take(size, Cause::Realloc, &mut calls);
                heap.release(old, old_size, Cause::Realloc, &mut calls);
                What::Realloc { size, old, address, stack, kept: false }
            }
            kind => {
                let size = match rng.below(200) {
                    0 => MMAP_THRESHOLD + rng.below(1 << 20),
                    1..=20 => 1024 + rng.below(30_000),
                    _ => rng.below(512),
                };
                match kind {
                    9 => {
                        let address = heap.take(size, Cause::Calloc, &mut calls);
                        What::Calloc { size, address, stack }
                    }
                    10 => {
                        let address = heap.take(size, Cause::Aligned, &mut calls);
                        What::Aligned { size, align: 1 << rng.below(5), address, stack }
                    }
                    _ => {
                        let address = heap.take(size, Cause::Malloc, &mut calls);
                        What::Malloc { size, address, stack }
                    }
                }
            }
        };
        // A free's kernel calls come after it, all others before what caused them.
        let free = matches!(what, What::Free { .. });
        if free {
            push(&mut events, &mut rng, thread, what);
        }
        for call in calls {
            push(&mut events, &mut rng, thread, What::Kernel(call));
        }
        if !free {
            push(&mut events, &mut rng, thread, what);
        }
    }
    for thread in 1..threads {
        push(&mut events, &mut rng, 1000 + thread, What::ThreadEnd);
    }
    push(&mut events, &mut rng, 1000, What::ProcessEnd);
    events
}

/// [`program`] as the bytes of a trace, with its process and eight stacks defined.
///
/// # Errors
/// None: memory takes it all.
pub fn trace(seed: u64, threads: u32, count: usize) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new())?;
    let start = ProcessStart {
        pid: 1000,
        parent_pid: 1,
        forked_from: NO_PROCESS,
        page_bytes: PAGE as u32,
        stack_depth: 4,
        cores: 2,
        break_start: HEAP_START,
        ..ProcessStart::default()
    };
    let process = builder.process(start, &["sample", &seed.to_string()])?;
    for id in 1..9 {
        let frames: Vec<u64> = (0..=u64::from(id) % 4).map(|f| 0x40_0000 + 64 * f).collect();
        builder.definitions().stack(process, id, &frames);
    }
    for event in program(seed, threads, count) {
        builder.push(&event)?;
    }
    builder.finish()
}

impl Heap {
    fn take(&mut self, size: u64, cause: Cause, calls: &mut Vec<KernelCall>) -> u64 {
        let chunk = chunk(size);
        let address = if size >= MMAP_THRESHOLD {
            let bytes = (chunk + PAGE).next_multiple_of(PAGE);
            let start = self.mappings;
            self.mappings += bytes + PAGE;
            calls.push(call(KernelOp::Mmap, cause, start, bytes as i64));
            start + 16
        } else if let Some(at) = self.free.iter().rposition(|&(_, free)| free == chunk) {
            self.free.swap_remove(at).0
        } else {
            if self.end - self.rest < chunk + 16 {
                let bytes = (chunk + BREAK_STEP).next_multiple_of(PAGE);
                calls.push(call(KernelOp::Brk, cause, self.end, bytes as i64));
                self.end += bytes;
            }
            self.rest += chunk;
            self.rest - chunk + 16
        };
        self.faults += chunk / PAGE;
        self.live.push((address, size));
        address
    }

    fn release(&mut self, address: u64, size: u64, cause: Cause, calls: &mut Vec<KernelCall>) {
        if size >= MMAP_THRESHOLD {
            let bytes = (chunk(size) + PAGE).next_multiple_of(PAGE);
            calls.push(call(KernelOp::Munmap, cause, address - 16, bytes as i64));
        } else {
            self.free.push((address, chunk(size)));
        }
    }
}

fn chunk(size: u64) -> u64 {
    (size + 8).next_multiple_of(16).max(32)
}

fn call(op: KernelOp, cause: Cause, address: u64, bytes: i64) -> KernelCall {
    KernelCall { op, cause, failed: false, address, bytes, new_address: 0, new_bytes: 0 }
}
