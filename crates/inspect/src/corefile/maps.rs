//! The mappings of a process from its core: segments, with names from NT_FILE,
//! and names in brackets by where things must be.
//!
//! ```text
//! program: text, data │ .bss │ … at most 1 GiB … │ [heap] │ … │ libraries │ … │ [stack] │ [vdso]
//! ```
//! AT_ENTRY lies in the program, AT_EXECFN on the stack, AT_SYSINFO_EHDR is the vdso.

use libc::{AT_ENTRY, AT_EXECFN, AT_SYSINFO_EHDR};
use object::elf::{PF_R, PF_W, PF_X};

use super::elf::{Load, Notes, Parsed};
use crate::process::maps::{Mapping, find};
use crate::span::Span;

/// The break begins at most this far above the program (`arch_randomize_brk`).
const BREAK_REACH: usize = 1 << 30;
/// Files that hold memory, not content.
const SHARED: [&str; 4] = ["/dev/zero", "/SYSV", "/memfd:", "/dev/shm/"];

/// The mappings in address order.
pub fn of(parsed: &Parsed) -> Vec<Mapping> {
    let mut maps: Vec<Mapping> = parsed.loads.iter().filter_map(mapping).collect();
    maps.sort_by_key(|mapping| mapping.span.start);
    let mut end = 0;
    maps.retain(|mapping| {
        let follows = mapping.span.start >= end;
        end = end.max(mapping.span.end);
        follows
    });
    name_files(&mut maps, &parsed.notes);
    let is_free = |mapping: &Mapping| mapping.inode == 0 && mapping.name.is_empty();
    let mut name = |address: usize, name: &str| {
        let index = maps.partition_point(|mapping| mapping.span.end <= address);
        if let Some(found) = maps.get_mut(index).filter(|m| m.span.contains(address) && is_free(m))
        {
            found.name = name.into();
        }
    };
    if let Some(vdso) = parsed.notes.auxiliary(AT_SYSINFO_EHDR) {
        name(vdso as usize, "[vdso]");
    }
    let on_stack = parsed.notes.auxiliary(AT_EXECFN).map(|address| address as usize);
    let main = parsed.notes.threads.iter().find(|thread| thread.tid == parsed.notes.pid);
    if let Some(address) = on_stack.or(main.map(|thread| thread.stack_pointer)) {
        name(address, "[stack]");
    }
    name_break(&mut maps, &parsed.notes);
    maps
}

fn mapping(load: &Load) -> Option<Mapping> {
    let start = usize::try_from(load.start).ok()?;
    let end = start.checked_add(usize::try_from(load.memory_bytes.max(load.file_bytes)).ok()?)?;
    (end > start).then(|| Mapping {
        span: Span::new(start, end),
        readable: load.flags & PF_R != 0,
        writable: load.flags & PF_W != 0,
        executable: load.flags & PF_X != 0,
        shared: false,
        offset: 0,
        inode: 0,
        name: String::new(),
    })
}

/// A core has no inodes: 1 stands for "has a file".
fn name_files(maps: &mut [Mapping], notes: &Notes) {
    for file in &notes.files {
        let (start, end) = (file.start as usize, file.end as usize);
        let first = maps.partition_point(|mapping| mapping.span.end <= start);
        for mapping in maps[first..].iter_mut().take_while(|mapping| mapping.span.start < end) {
            mapping.name.clone_from(&file.name);
            mapping.inode = 1;
            mapping.offset =
                (file.offset as usize).saturating_add(mapping.span.start.saturating_sub(start));
            mapping.shared = SHARED.iter().any(|shared| file.name.starts_with(shared));
        }
    }
}

/// The program: its entry point lies in it.
pub fn executable<'a>(maps: &'a [Mapping], notes: &Notes) -> Option<&'a str> {
    let entry = notes.auxiliary(AT_ENTRY)? as usize;
    find(maps, entry).filter(|mapping| mapping.inode != 0).map(|mapping| mapping.name.as_str())
}

/// The first writable anonymous mapping behind the program and its `.bss`; the `.bss` itself
/// where nothing else follows: without randomisation, the break grows out of it.
fn name_break(maps: &mut [Mapping], notes: &Notes) {
    let Some(program) = executable(maps, notes).map(str::to_owned) else { return };
    let Some(last) = maps.iter().rposition(|mapping| mapping.name == program) else { return };
    let program_end = maps[last].span.end;
    let mut bss = None;
    for (index, mapping) in maps.iter_mut().enumerate().skip(last + 1) {
        let is_near = mapping.span.start - program_end <= BREAK_REACH;
        if !is_near || mapping.inode != 0 || !mapping.name.is_empty() {
            break;
        }
        if !mapping.is_plain_data() {
            continue;
        }
        if mapping.span.start == program_end && bss.is_none() {
            bss = Some(index);
            continue;
        }
        mapping.name = "[heap]".into();
        return;
    }
    if let Some(index) = bss {
        maps[index].name = "[heap]".into();
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::{MappedFile, Status};
    use super::*;

    fn load(start: u64, end: u64, flags: u32) -> Load {
        Load { start, memory_bytes: end - start, file_bytes: 0, offset: 0, flags }
    }

    fn names(loads: Vec<Load>) -> Vec<String> {
        let file = |start, end, name: &str| MappedFile { start, end, offset: 0, name: name.into() };
        let notes = Notes {
            pid: 7,
            threads: vec![Status { tid: 7, stack_pointer: 0x90800, thread_pointer: 0 }],
            files: vec![file(0x1000, 0x3000, "/bin/a"), file(0x70000, 0x72000, "/lib/b")],
            auxiliary: vec![(AT_ENTRY, 0x1100), (AT_SYSINFO_EHDR, 0xa0000), (AT_EXECFN, 0x90f00)],
            ..Notes::default()
        };
        of(&Parsed { loads, notes }).into_iter().map(|mapping| mapping.name).collect()
    }

    #[test]
    fn what_has_no_name_is_told_by_its_place() {
        let found = names(vec![
            load(0x90000, 0x91000, 6),
            load(0x1000, 0x2000, 5),
            load(0x2000, 0x3000, 6),
            load(0x3000, 0x4000, 6),
            load(0x8000, 0x9000, 6),
            load(0x70000, 0x72000, 5),
            load(0x72000, 0x73000, 6),
            load(0xa0000, 0xa1000, 5),
        ]);
        assert_eq!(found, ["/bin/a", "/bin/a", "", "[heap]", "/lib/b", "", "[stack]", "[vdso]"]);
    }

    #[test]
    fn without_randomisation_the_break_grows_out_of_bss() {
        let found = names(vec![
            load(0x1000, 0x3000, 6),
            load(0x3000, 0x9000, 6),
            load(0x70000, 0x72000, 5),
        ]);
        assert_eq!(found, ["/bin/a", "[heap]", "/lib/b"]);
    }
}
