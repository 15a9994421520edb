//! The threads of a process, their stacks and where their thread-local storage is.
//!
//! No debugger's stop is needed. A thread control block of glibc on x86_64
//! stands at the thread pointer and gives itself away:
//!
//! ```text
//! tp + 0      tp           the block's own address, twice
//! tp + 0x10   tp
//! tp + 0x2d0  tid          0 or −1 in the kept stack of a thread that has ended
//! ```
//! Before 2.34 it is 0 also in the main thread of a program without libpthread;
//! its block is no stack, so no guard lies below its mapping.
//!
//! It is looked for at the upper end of anonymous mappings (stacks), in all of
//! the small ones (the main thread's), and above a waiting thread's stack pointer;
//! where mapped chunks have joined the main thread's mapping, by the C library's
//! list of stacks, which leads to its blocks.

use std::collections::BTreeMap;
use std::fs;

use heapwise_layout::walk::Read;
use serde::{Deserialize, Serialize};

use super::files::path;
use super::maps::{Mapping, data_of, find};
use super::memory::Memory;
use crate::span::{Span, page_up};

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its thread pointer, where found.
    pub pointer: Option<usize>,
    /// The mapping of its stack, where found.
    pub stack: Option<Span>,
}

/// Threads, and stacks that glibc keeps for the next one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Threads {
    /// All threads, by number.
    pub all: Vec<Thread>,
    /// Stacks of ended threads.
    pub kept_stacks: Vec<Span>,
}

/// Offset of the thread's number in its control block (2.26 to 2.43).
const TID_OFFSET: usize = 0x2d0;
/// Offset of its link in the list of stacks (2.26 to 2.43).
const LIST_OFFSET: usize = 0x2c0;
/// What `pthread_join` leaves as the number.
const JOINED: u32 = u32::MAX;
/// Control blocks are aligned to this.
const BLOCK_ALIGNMENT: usize = 64;
/// A mapping up to this long is searched as a whole.
const SMALL_MAPPING: usize = 1 << 20;
/// Of a longer one the last part is: more than a control block.
const STACK_END: usize = 16 << 10;
/// How far above a stack pointer the block is looked for.
const STACK_REACH: usize = 64 << 20;
/// The control block is smaller than this, and the stack ends on such a boundary.
const SMALLEST_PAGE: usize = 4096;
/// More threads are not listed.
const MAX_THREADS: usize = 1 << 16;

/// Lists the threads, and finds their stacks as far as memory can be read.
#[must_use]
pub fn of(pid: u32, maps: &[Mapping], memory: Option<&Memory<'_>>) -> Threads {
    find_all(pid, list(pid), maps, memory)
}

/// The same for threads that were listed before.
#[must_use]
pub fn find_all(
    pid: u32,
    all: Vec<Thread>,
    maps: &[Mapping],
    memory: Option<&Memory<'_>>,
) -> Threads {
    let mut threads = Threads { all, kept_stacks: Vec::new() };
    if let Some(memory) = memory {
        search_mappings(pid, &mut threads, maps, memory);
        search_above_stack_pointers(pid, &mut threads, maps, memory);
        search_lists(pid, &mut threads, maps, memory);
    }
    place_stacks(pid, &mut threads, maps);
    threads
}

/// The same for a core file, which lists the threads with their pointers.
#[must_use]
pub fn in_core(pid: u32, all: Vec<Thread>, maps: &[Mapping], memory: &Memory<'_>) -> Threads {
    let mut threads = Threads { all, kept_stacks: Vec::new() };
    search_mappings(pid, &mut threads, maps, memory);
    place_stacks(pid, &mut threads, maps);
    threads
}

fn place_stacks(pid: u32, threads: &mut Threads, maps: &[Mapping]) {
    // The main thread's stack has a name; its control block lies elsewhere.
    let main_stack = maps.iter().find(|mapping| mapping.name == "[stack]").map(|m| m.span);
    for thread in &mut threads.all {
        if thread.tid == pid {
            thread.stack = main_stack;
        } else if let Some(pointer) = thread.pointer {
            let mapping = find(maps, pointer).map(|mapping| mapping.span);
            thread.stack = mapping.map(|span| Span::new(span.start, stack_end(pointer)));
        }
    }
    part_shared_mappings(threads);
}

/// A stack ends with the page of its control block: something else may follow in the mapping.
fn stack_end(pointer: usize) -> usize {
    page_up(pointer + 1, SMALLEST_PAGE)
}

/// Stacks in one mapping (guards need no mapping of their own since 2.42):
/// each begins where the one below it ends.
fn part_shared_mappings(threads: &mut Threads) {
    let own = threads.all.iter_mut().filter_map(|thread| thread.stack.as_mut());
    let mut all: Vec<&mut Span> = own.chain(&mut threads.kept_stacks).collect();
    all.sort_by_key(|span| span.end);
    let mut end = 0;
    for span in all {
        *span = Span::new(span.start.max(end), span.end);
        end = span.end;
    }
}

/// The threads by number, without their stacks.
#[must_use]
pub fn list(pid: u32) -> Vec<Thread> {
    let Ok(entries) = fs::read_dir(path(pid, "task")) else { return Vec::new() };
    let mut all: Vec<Thread> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .take(MAX_THREADS)
        .map(|tid: u32| Thread {
            tid,
            name: fs::read_to_string(path(pid, &format!("task/{tid}/comm")))
                .map(|name| name.trim_end().to_owned())
                .unwrap_or_default(),
            pointer: None,
            stack: None,
        })
        .collect();
    all.sort_by_key(|thread| thread.tid);
    all
}

fn search_mappings(pid: u32, threads: &mut Threads, maps: &[Mapping], memory: &Memory<'_>) {
    let mut index: BTreeMap<u32, usize> =
        threads.all.iter().enumerate().map(|(at, thread)| (thread.tid, at)).collect();
    let mut nameless = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.is_plain_data()) {
        let span = mapping.span;
        let searched = if span.bytes() <= SMALL_MAPPING {
            span
        } else {
            Span::new(span.end - STACK_END, span.end)
        };
        for (pointer, tid) in control_blocks(memory, searched) {
            if tid == 0 && !has_guard(maps, span) {
                nameless.push(pointer);
            } else if tid == 0 || tid == JOINED {
                threads.kept_stacks.push(Span::new(span.start, stack_end(pointer)));
            } else if let Some(at) = index.remove(&tid) {
                threads.all[at].pointer = Some(pointer);
            }
        }
    }
    if let (Some(&at), [pointer]) = (index.get(&pid), &nameless[..]) {
        threads.all[at].pointer = Some(*pointer);
    }
}

/// Whether the mapping below forbids all access, as a guard does.
fn has_guard(maps: &[Mapping], span: Span) -> bool {
    span.start
        .checked_sub(1)
        .and_then(|below| find(maps, below))
        .is_some_and(|below| !below.readable && !below.writable && !below.executable)
}

/// For threads not found yet: `/proc/PID/task/TID/syscall` tells where a waiting thread's stack is.
fn search_above_stack_pointers(
    pid: u32,
    threads: &mut Threads,
    maps: &[Mapping],
    memory: &Memory<'_>,
) {
    for thread in threads.all.iter_mut().filter(|thread| thread.pointer.is_none()) {
        let Some(sp) = stack_pointer(pid, thread.tid) else { continue };
        let Some(mapping) = find(maps, sp).filter(|mapping| mapping.is_plain_data()) else {
            continue;
        };
        let reach = Span::new(sp, mapping.span.end.min(sp.saturating_add(STACK_REACH)));
        thread.pointer = control_blocks(memory, reach)
            .find(|&(_, tid)| tid == thread.tid)
            .map(|(pointer, _)| pointer);
    }
}

/// For threads not found yet: words of the loader's and the C library's data that lead to a block.
fn search_lists(pid: u32, threads: &mut Threads, maps: &[Mapping], memory: &Memory<'_>) {
    if threads.all.iter().all(|thread| thread.pointer.is_some()) {
        return;
    }
    let data = data_of(maps, |mapping| {
        ["ld-", "libc.so.6", "libc-2.", "libpthread"]
            .iter()
            .any(|name| mapping.file_name().starts_with(name))
    });
    for at in data.iter().flat_map(|span| (span.start..span.end).step_by(8)) {
        let block = memory.word(at).and_then(|word| (word as usize).checked_sub(LIST_OFFSET));
        let Some((pointer, tid)) = block.and_then(|block| control_block(memory, block)) else {
            continue;
        };
        // The main thread may not know its number; nobody else's block outside a stack is 0.
        let tid = if tid == 0 { pid } else { tid };
        let unknown =
            threads.all.iter_mut().find(|thread| thread.tid == tid && thread.pointer.is_none());
        if let Some(thread) = unknown {
            let in_stack = |span: &Span| span.contains(pointer);
            if !threads.kept_stacks.iter().any(in_stack) {
                thread.pointer = Some(pointer);
            }
        }
    }
}

fn stack_pointer(pid: u32, tid: u32) -> Option<usize> {
    let text = fs::read_to_string(path(pid, &format!("task/{tid}/syscall"))).ok()?;
    let word = text.split_whitespace().rev().nth(1)?;
    usize::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// What looks like a control block in the resident pages of `span`: thread pointer and number.
fn control_blocks<'a>(
    memory: &'a Memory<'_>,
    span: Span,
) -> impl Iterator<Item = (usize, u32)> + 'a {
    memory.pages().runs_in(span).filter(|run| !run.of_file).flat_map(move |run| {
        let first = run.span.start.next_multiple_of(BLOCK_ALIGNMENT);
        (first..run.span.end).step_by(BLOCK_ALIGNMENT).filter_map(|at| control_block(memory, at))
    })
}

/// The control block at `at`, if one is there: thread pointer and number.
fn control_block(memory: &Memory<'_>, at: usize) -> Option<(usize, u32)> {
    let word = |offset| memory.word(at.checked_add(offset)?);
    let is_self = |offset| word(offset) == Some(at as u64);
    let is_block = at.is_multiple_of(BLOCK_ALIGNMENT) && is_self(0) && is_self(0x10);
    if is_block { Some((at, word(TID_OFFSET)? as u32)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::{maps, pages::Pages};
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_threads_of_this_process_are_found_with_their_stacks() {
        let (stop, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let local = 1u8;
            tell.send((&raw const local).addr()).unwrap();
            let _ = wait.recv();
        });
        let on_stack = told.recv().unwrap();
        let pid = std::process::id();
        let maps = maps::of(pid).unwrap();
        let pages = Pages::of(pid, &maps, 4096).unwrap();
        let memory = Memory::open(pid, &pages).unwrap();
        let threads = of(pid, &maps, Some(&memory));
        drop(stop);
        waiting.join().unwrap();
        let holder = threads.all.iter().find(|t| t.stack.is_some_and(|s| s.contains(on_stack)));
        assert!(holder.is_some_and(|thread| thread.pointer.is_some()), "{threads:?}");
        let main = threads.all.iter().find(|thread| thread.tid == pid).unwrap();
        assert!(main.stack.is_some() && main.pointer.is_some());
    }
}
