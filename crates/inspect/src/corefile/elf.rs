//! The headers and notes of a core file.
//!
//! ```text
//! NT_PRSTATUS (x86-64)   32 tid    112 registers: … 264 rsp  280 fs_base: the thread pointer
//! NT_PRPSINFO            24 pid    40 name, 16 bytes    56 arguments, 80 bytes
//! NT_AUXV                pairs of words: AT_PAGESZ, AT_ENTRY, AT_EXECFN, AT_SYSINFO_EHDR
//! NT_FILE                count, page size, count × (start, end, offset in pages), names
//! ```

use std::fs::File;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

use super::CoreError;

/// A PT_LOAD as it stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// First address.
    pub start: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Where they begin.
    pub offset: u64,
    /// Readable, writable, executable: PF_R, PF_W, PF_X.
    pub flags: u32,
}

/// A thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub tid: u32,
    /// Its stack pointer.
    pub stack_pointer: usize,
    /// Its thread pointer.
    pub thread_pointer: usize,
}

/// A part of a mapped file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedFile {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Its path.
    pub name: String,
}

/// What the notes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, cut to 80 bytes.
    pub command: String,
    /// Its threads.
    pub threads: Vec<Status>,
    /// The mapped files.
    pub files: Vec<MappedFile>,
    /// The auxiliary vector.
    pub auxiliary: Vec<(u64, u64)>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The segments, as they stand there.
    pub loads: Vec<Load>,
    /// The notes.
    pub notes: Notes,
}

/// No process has more mappings (65,530 unless the limit was raised).
const MOST_HEADERS: usize = 1 << 20;
/// No core has more notes: about 4 KiB a thread, 100 bytes a mapping.
const MOST_NOTE_BYTES: u64 = 256 << 20;
/// The page size where the notes do not tell.
const USUAL_PAGE_BYTES: usize = 4096;

impl Notes {
    /// An entry of the auxiliary vector.
    pub fn auxiliary(&self, key: u64) -> Option<u64> {
        self.auxiliary.iter().find(|entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        const POSSIBLE: std::ops::RangeInclusive<usize> = 4096..=65536;
        self.auxiliary(libc::AT_PAGESZ)
            .map(|bytes| bytes as usize)
            .filter(|bytes| bytes.is_power_of_two() && POSSIBLE.contains(bytes))
            .unwrap_or(USUAL_PAGE_BYTES)
    }
}

/// Reads headers and notes, and nothing else of the file.
pub fn parse(file: File) -> Result<Parsed, CoreError> {
    let cache = ReadCache::new(file);
    let data = &cache;
    let first = data.read_bytes_at(0, super::FIRST_BYTES as u64).unwrap_or_default();
    if !super::is_core(first) {
        return Err(CoreError::Foreign);
    }
    check_machine(first)?;
    let damaged = |why: &str| CoreError::Damaged(why.into());
    let header =
        FileHeader64::<Endianness>::parse(data).map_err(|_| damaged("it ends in its header"))?;
    let endian = header.endian().map_err(|_| damaged("its byte order"))?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err(CoreError::OtherMachine(format!("machine {}", header.e_machine(endian))));
    }
    if header.phnum(endian, data).is_ok_and(|count| count > MOST_HEADERS) {
        return Err(damaged("more segments than any process has mappings"));
    }
    let headers = header
        .program_headers(endian, data)
        .map_err(|_| damaged("it ends in its program headers"))?;
    let mut parsed = Parsed::default();
    for header in headers {
        match header.p_type(endian) {
            elf::PT_LOAD => parsed.loads.push(Load {
                start: header.p_vaddr(endian),
                memory_bytes: header.p_memsz(endian),
                file_bytes: header.p_filesz(endian),
                offset: header.p_offset(endian),
                flags: header.p_flags(endian),
            }),
            elf::PT_NOTE if header.p_filesz(endian) <= MOST_NOTE_BYTES => {
                // What a cut file has no longer is simply not there.
                let Ok(Some(mut notes)) = header.notes(endian, data) else { continue };
                while let Ok(Some(note)) = notes.next() {
                    parsed.notes.take(note.n_type(endian), note.name(), note.desc());
                }
            }
            _ => {}
        }
    }
    if parsed.notes.pid == 0 {
        parsed.notes.pid = parsed.notes.threads.first().map_or(0, |thread| thread.tid);
    }
    Ok(parsed)
}

fn check_machine(first: &[u8]) -> Result<(), CoreError> {
    let (class, order) = (first[4], first[5]);
    match (class, order) {
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => Ok(()),
        (elf::ELFCLASS32, _) => Err(CoreError::OtherMachine("a 32-bit process".into())),
        (_, elf::ELFDATA2MSB) => Err(CoreError::OtherMachine("a big-endian machine".into())),
        _ => Err(CoreError::Damaged("its class or byte order".into())),
    }
}

impl Notes {
    fn take(&mut self, kind: u32, owner: &[u8], content: &[u8]) {
        if owner != b"CORE" {
            return;
        }
        match kind {
            elf::NT_PRSTATUS => self.threads.extend(status(content)),
            elf::NT_PRPSINFO => self.take_info(content),
            elf::NT_AUXV => {
                let pairs = content.chunks_exact(16);
                self.auxiliary =
                    pairs.filter_map(|pair| Some((word(pair, 0)?, word(pair, 8)?))).collect();
            }
            elf::NT_FILE => self.files = files(content).unwrap_or_default(),
            _ => {}
        }
    }

    fn take_info(&mut self, content: &[u8]) {
        const PID: usize = 24;
        const NAME: std::ops::Range<usize> = 40..56;
        const ARGUMENTS: std::ops::Range<usize> = 56..136;
        self.pid = half(content, PID).unwrap_or(0);
        self.name = content.get(NAME).map(text).unwrap_or_default();
        self.command = content.get(ARGUMENTS).map(text).unwrap_or_default();
    }
}

fn status(content: &[u8]) -> Option<Status> {
    const TID: usize = 32;
    const STACK_POINTER: usize = 264;
    const FS_BASE: usize = 280;
    Some(Status {
        tid: half(content, TID)?,
        stack_pointer: word(content, STACK_POINTER)? as usize,
        thread_pointer: word(content, FS_BASE)? as usize,
    })
}

fn files(content: &[u8]) -> Option<Vec<MappedFile>> {
    const HEAD: usize = 16;
    const ENTRY: usize = 24;
    let count = usize::try_from(word(content, 0)?).ok()?;
    let page_bytes = word(content, 8)?;
    let names_at = HEAD.checked_add(count.checked_mul(ENTRY)?)?;
    let mut names = content.get(names_at..)?.split(|&byte| byte == 0);
    let mut files = Vec::new();
    for index in 0..count {
        let at = HEAD + index * ENTRY;
        files.push(MappedFile {
            start: word(content, at)?,
            end: word(content, at + 8)?,
            offset: word(content, at + 16)?.saturating_mul(page_bytes),
            name: String::from_utf8_lossy(names.next()?).into_owned(),
        });
    }
    Some(files)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Up to the first zero byte, blanks at the end left out.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_files_have_their_names() {
        let mut content = Vec::new();
        for word in [2u64, 4096, 0x1000, 0x3000, 0, 0x3000, 0x4000, 2] {
            content.extend(word.to_le_bytes());
        }
        content.extend(b"/lib/a\0/lib/b c\0");
        let found = files(&content).unwrap();
        assert_eq!((found[1].name.as_str(), found[1].offset), ("/lib/b c", 0x2000));
        for length in 0..content.len() - 1 {
            let _ = files(&content[..length]);
        }
        content[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(files(&content), None);
    }

    #[test]
    fn what_is_no_core_is_told() {
        assert!(!super::super::is_core(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0"));
        assert!(super::super::is_core(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0"));
        assert!(!super::super::is_core(b"\x7fELF"));
    }
}
