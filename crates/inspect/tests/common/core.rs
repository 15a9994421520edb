//! Writes a core file of a live process, as the kernel lays one out, without stopping it.
//!
//! ```text
//! ELF header │ program headers │ notes │ … page boundary │ pages; what is not resident: holes
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use heapwise_inspect::Survey;
use heapwise_inspect::process::maps::Mapping;
use heapwise_inspect::process::memory::Memory;
use heapwise_inspect::span::Span;

const PAGE: u64 = 4096;

/// Where the parts of the file are.
pub struct Written {
    /// End of headers and notes.
    pub head_bytes: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Writes it.
pub fn write(seen: &Survey, path: &Path) -> Written {
    let memory = Memory::open(seen.pid, &seen.pages).expect("our own child");
    let maps: Vec<&Mapping> =
        seen.maps.iter().filter(|mapping| mapping.span.end < 1 << 47).collect();
    let notes = notes(seen);
    let headers = 64 + 56 * (maps.len() as u64 + 1);
    let head_bytes = headers + notes.len() as u64;
    let mut offset = head_bytes.next_multiple_of(PAGE);

    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0, 64, 0u64] {
        head.extend(word.to_le_bytes());
    }
    head.extend(0u32.to_le_bytes());
    for half in [64, 56, maps.len() as u16 + 1, 0, 0, 0] {
        head.extend(half.to_le_bytes());
    }
    program_header(&mut head, 4, 0, [headers, 0, 0, notes.len() as u64, 0, 1]);
    let file = File::create(path).expect("a directory of our own");
    for mapping in maps {
        let flags = u32::from(mapping.readable) * 4
            + u32::from(mapping.writable) * 2
            + u32::from(mapping.executable);
        let span = mapping.span;
        // The kernel's default: private memory that was written to, and the first page of a file.
        let dumped = match (mapping.inode, mapping.writable || mapping.name.ends_with(".so.6")) {
            (0, _) if mapping.readable => span.bytes(),
            (0, _) => 0,
            (_, true) if mapping.offset > 0 && !mapping.executable => span.bytes(),
            (_, true) if mapping.writable => span.bytes(),
            _ if mapping.offset == 0 => PAGE as usize,
            _ => 0,
        } as u64;
        let start = span.start as u64;
        program_header(&mut head, 1, flags, [offset, start, 0, dumped, span.bytes() as u64, PAGE]);
        let dumped_span = Span::new(span.start, span.start + dumped as usize);
        for run in seen.pages.runs_in(dumped_span) {
            if let Some(bytes) = memory.copy(run.span) {
                let at = offset + (run.span.start - span.start) as u64;
                file.write_all_at(&bytes, at).expect("room on the disk");
            }
        }
        offset += dumped;
    }
    head.extend(notes);
    file.write_all_at(&head, 0).expect("room on the disk");
    file.set_len(offset).expect("room on the disk");
    Written { head_bytes, bytes: offset }
}

fn program_header(head: &mut Vec<u8>, kind: u32, flags: u32, words: [u64; 6]) {
    head.extend(kind.to_le_bytes());
    head.extend(flags.to_le_bytes());
    words.iter().for_each(|word| head.extend(word.to_le_bytes()));
}

fn notes(seen: &Survey) -> Vec<u8> {
    let mut notes = Vec::new();
    for thread in &seen.threads.all {
        let mut status = vec![0; 336];
        status[32..36].copy_from_slice(&thread.tid.to_le_bytes());
        let stack = thread.stack.map_or(0, |stack| stack.end - 64);
        status[264..272].copy_from_slice(&stack.to_le_bytes());
        status[280..288].copy_from_slice(&thread.pointer.unwrap_or(0).to_le_bytes());
        note(&mut notes, 1, &status);
    }
    let mut info = vec![0; 136];
    info[24..28].copy_from_slice(&seen.pid.to_le_bytes());
    let name = seen.figures.name.as_bytes();
    info[40..40 + name.len().min(15)].copy_from_slice(&name[..name.len().min(15)]);
    note(&mut notes, 3, &info);
    note(&mut notes, 6, &std::fs::read(format!("/proc/{}/auxv", seen.pid)).expect("it lives"));
    let files: Vec<&Mapping> = seen.maps.iter().filter(|mapping| mapping.inode != 0).collect();
    let mut content = Vec::new();
    let mut push = |word: u64| content.extend(word.to_le_bytes());
    push(files.len() as u64);
    push(PAGE);
    for mapping in &files {
        push(mapping.span.start as u64);
        push(mapping.span.end as u64);
        push(mapping.offset as u64 / PAGE);
    }
    for mapping in &files {
        content.extend(mapping.name.as_bytes());
        content.push(0);
    }
    note(&mut notes, 0x4649_4c45, &content);
    notes
}

fn note(notes: &mut Vec<u8>, kind: u32, content: &[u8]) {
    for word in [5, content.len() as u32, kind] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(b"CORE\0\0\0\0");
    notes.extend(content);
    notes.resize(notes.len().next_multiple_of(4), 0);
}
