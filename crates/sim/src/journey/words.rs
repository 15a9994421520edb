//! What each step means, told from the states around it.

use super::heap::{Class, HeapState};
use super::{Act, Layer, State};
use crate::event::{Event, What, access_name};
use heapwise_layout::header::Header;
use heapwise_layout::size::{SMALL_MAX_REQUEST, cache_bin, chunk_size};
use heapwise_vm::{Fault, VirtAddr};

type Told = (Layer, String, Vec<String>);

fn kib(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn chunks(classes: &[Class]) -> String {
    let count: usize = classes.iter().map(|class| class.chunks).sum();
    match count {
        0 => "nothing".into(),
        1 => format!("1 chunk, {}", kib(HeapState::bytes(classes))),
        _ => format!("{count} chunks, {}", kib(HeapState::bytes(classes))),
    }
}

/// What a call meets on its way down.
pub(super) fn opening(act: &Act, before: &HeapState, by_cache: bool) -> Vec<Told> {
    let (call, request) = match act {
        Act::Malloc { name, bytes } => (format!("{name} = malloc({bytes})"), Some(*bytes)),
        Act::Calloc { name, bytes } => (format!("{name} = calloc(1, {bytes})"), Some(*bytes)),
        Act::Realloc { name, bytes } => {
            (format!("{name} = realloc({name}, {bytes})"), Some(*bytes))
        }
        Act::Touch { name } => (format!("the program writes to {name}"), None),
        Act::Free { name } => (format!("free({name})"), None),
        Act::Trim => ("malloc_trim(0)".into(), None),
        Act::Idle => ("half a second passes; the idle helper looks".into(), None),
    };
    let Some(request) = request else { return vec![(Layer::Program, call, Vec::new())] };
    let Some(size) = chunk_size(request) else {
        return vec![(Layer::Program, call, vec!["more than any address space has".into()])];
    };
    let mut detail = vec![format!(
        "a chunk of {size} bytes: {request} + 8 for the header, rounded up to a multiple of 16, \
         at least 32"
    )];
    if let Some(class) = cache_bin(size).map(heapwise_layout::size::bin_size)
        && class != size
    {
        detail.push(format!("its class in the thread cache has chunks of {class} bytes"));
    }
    let mut told = vec![(Layer::Program, call, detail)];
    let class = cache_bin(size).map(heapwise_layout::size::bin_size);
    let ready = class.map_or(0, |class| before.ready(class));
    told.push(match class {
        None => (
            Layer::Cache,
            "the thread cache has no class for it".into(),
            vec!["requests up to 64 KiB have classes".into()],
        ),
        Some(_) if by_cache || ready > 0 => (
            Layer::Cache,
            format!("the thread cache has {ready} ready: one is popped"),
            vec!["no lock, no call; the header gets the tag of a live chunk".into()],
        ),
        Some(_) => (
            Layer::Cache,
            "the thread cache has none of this class".into(),
            vec![if request <= SMALL_MAX_REQUEST {
                "a refill: what other threads sent back, then a run of chunks".into()
            } else {
                "a medium size: a refill of few chunks".into()
            }],
        ),
    });
    if by_cache || ready > 0 {
        return told;
    }
    told.push((
        Layer::Arena,
        "the arena is asked, in the order of the textbook".into(),
        vec![
            format!("fastbins: {}", chunks(&before.fast)),
            format!("small bins: {}", chunks(&before.small)),
            format!("unsorted: {}", chunks(&before.unsorted)),
            format!("large bins, best fit: {}", chunks(&before.large)),
            if before.top == 0 {
                "top: there is no heap yet".into()
            } else {
                format!("top: {} at {:#x}", kib(before.top_bytes), before.top)
            },
        ],
    ));
    told
}

/// A fault's beginning, before the steps of the page allocator that it causes. `fresh`:
/// the event before was not one of these.
pub(super) fn fault_begins(events: &[Event], fresh: bool, state: &State) -> Option<Told> {
    let first = events.iter().find(|event| !matches!(event.what, What::Taken { .. }))?;
    let What::Fault { at, access, .. } = first.what else { return None };
    if !fresh {
        return None;
    }
    let line = state.machine.maps.iter().find(|line| holds(line, at.get()));
    let vma = line.map_or_else(
        || "no VMA holds it".to_owned(),
        |line| format!("the VMA that holds it: {line}"),
    );
    let title = format!("{} {at:#x}: no entry of the page table lets it pass", access_name(access));
    Some((Layer::Fault, title, vec![vma]))
}

/// One event, between two states.
pub(super) fn event(event: &Event, before: &State, after: &State) -> Told {
    let title = event.what.to_string();
    let (machine, was) = (&after.machine, &before.machine);
    let mut detail = Vec::new();
    let layer = match event.what {
        What::Brk { was: old, now, .. } => {
            if now > old {
                detail.push(format!(
                    "the kernel only moves a number and grows a VMA: {} of address space, no frame",
                    kib(now.since(old) as usize)
                ));
            } else if now < old {
                detail.push("the pages above go back at once".into());
            }
            Layer::Call
        }
        What::Mmap { length, outcome: Ok(_), .. } => {
            detail
                .push(format!("a VMA of {}; frames come when it is touched", kib(length as usize)));
            Layer::Call
        }
        What::Fault { at, answer, .. } => {
            detail.push(place(at, after));
            match answer {
                Ok((Fault::Zeroed, pfn)) => detail.push(format!(
                    "page table: {:#x} → frame {}, read and write; resident {} → {} pages",
                    at.page(),
                    pfn.get(),
                    was.rss_pages,
                    machine.rss_pages
                )),
                Ok((Fault::ZeroPage, _)) => {
                    detail.push("read-only, and nobody's: resident memory does not grow".into());
                }
                _ => {}
            }
            Layer::Fault
        }
        What::Hit { at, .. } => {
            detail.push(format!("{:#x} has an entry in the page table", at.page()));
            Layer::Fault
        }
        What::Taken { .. } | What::Given { .. } | What::Compacted { .. } => Layer::Pages,
        What::Switch { .. } | What::Injected { .. } => Layer::Program,
        _ => Layer::Call,
    };
    if machine.maps.len() != was.maps.len() {
        let (more, fewer) = (machine.maps.len(), was.maps.len());
        detail.push(format!("mappings: {fewer} → {more}"));
    }
    if machine.tables > was.tables {
        detail.push(format!("page tables: {} → {}", was.tables, machine.tables));
    }
    let orders = heapwise_pages::ORDERS;
    let changed: Vec<String> = (0..orders)
        .filter(|&order| machine.blocks[order] != was.blocks[order])
        .map(|order| format!("{order}: {} → {}", was.blocks[order], machine.blocks[order]))
        .collect();
    if !changed.is_empty() {
        detail.push(format!("free blocks by order: {}", changed.join(", ")));
    }
    if machine.ready != was.ready {
        detail.push(format!("ready on this processor: {} → {}", was.ready, machine.ready));
    }
    (layer, title, detail)
}

/// What lies at an address of the program's.
fn place(at: VirtAddr, state: &State) -> String {
    let address = at.get();
    let (machine, heap) = (&state.machine, &state.heap);
    if (machine.start_brk..machine.brk).contains(&address) {
        let offset = address - machine.start_brk;
        if offset < 4096 && heap.system_bytes == 0 {
            "the head of the heap, or its first chunk".into()
        } else {
            format!("in the heap, {} above its start", kib(offset as usize))
        }
    } else {
        let line = machine.maps.iter().find(|line| holds(line, address));
        line.map_or_else(|| "nothing is mapped there".into(), |line| format!("in {line}"))
    }
}

fn holds(line: &str, address: u64) -> bool {
    let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
    range.is_some_and(|(from, to)| {
        let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        (number(from)..number(to)).contains(&address)
    })
}

/// What came of the call.
pub(super) fn closing(
    act: &Act,
    last: &State,
    after: &State,
    pointer: usize,
    by_cache: bool,
) -> Vec<Told> {
    let mut told = Vec::new();
    let heap = &after.heap;
    match act {
        Act::Malloc { name, .. } | Act::Calloc { name, .. } | Act::Realloc { name, .. } => {
            if pointer == 0 {
                told.push((Layer::Program, format!("{name} is null: ENOMEM"), Vec::new()));
                return told;
            }
            if !by_cache {
                told.push(arena_afterwards(&last.heap, heap));
            }
            let mut detail = Vec::new();
            let chunk = pointer - 16;
            let header = Header(word(chunk + 8));
            detail.push(format!("chunk at {chunk:#x}, header {:#018x}: {header:?}", header.0));
            told.push((Layer::Program, format!("{name} = {pointer:#x}"), detail));
        }
        Act::Free { name } => {
            let (before, now) = (HeapState::bytes(&last.heap.cache), HeapState::bytes(&heap.cache));
            if now > before {
                told.push((
                    Layer::Cache,
                    format!("{name} is in the thread cache now, first to be handed out again"),
                    vec![
                        "one compare of the header said: live, mine, of this class".into(),
                        "its tag is cleared: a second free would be found".into(),
                        format!("the cache holds {}", chunks(&heap.cache)),
                    ],
                ));
            } else {
                told.push(arena_afterwards(&last.heap, heap));
            }
            told.push((Layer::Program, "free returns".into(), Vec::new()));
        }
        Act::Touch { name } => {
            let pages = after.machine.rss_pages;
            told.push((
                Layer::Program,
                format!("{name} is written to; the process has {pages} pages resident"),
                Vec::new(),
            ));
        }
        Act::Trim | Act::Idle => {
            told.push(arena_afterwards(&last.heap, heap));
        }
    }
    told
}

fn arena_afterwards(before: &HeapState, after: &HeapState) -> Told {
    let mut detail = Vec::new();
    let mut row = |name: &str, old: &[Class], new: &[Class]| {
        if old != new {
            detail.push(format!("{name}: {} → {}", chunks(old), chunks(new)));
        }
    };
    row("thread cache", &before.cache, &after.cache);
    row("fastbins", &before.fast, &after.fast);
    row("unsorted", &before.unsorted, &after.unsorted);
    row("small bins", &before.small, &after.small);
    row("large bins", &before.large, &after.large);
    if (before.top, before.top_bytes) != (after.top, after.top_bytes) {
        detail.push(format!("top: {} → {}", kib(before.top_bytes), kib(after.top_bytes)));
    }
    if before.mapped_chunks != after.mapped_chunks {
        let (old, new) = (before.mapped_chunks, after.mapped_chunks);
        detail.push(format!("chunks with mappings of their own: {old} → {new}"));
    }
    let title = if detail.is_empty() { "the bins are as they were" } else { "the bins afterwards" };
    (Layer::Arena, title.into(), detail)
}

fn word(at: usize) -> u64 {
    let place: *const u64 = std::ptr::with_exposed_provenance(at);
    // SAFETY: the header of a chunk that the allocator has just handed out.
    unsafe { place.read_volatile() }
}
