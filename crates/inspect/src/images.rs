//! The files that a target has mapped: its program and its libraries.
//!
//! Of a live process they are found through `/proc/PID/root`, as it sees them.
//! Of a core file they are looked for where its paths lead here; a library
//! counts only if its build id is the one in the core, and what the core itself
//! holds of it does where there is no such file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::corefile::Core;
use crate::process::files::path;
use crate::process::maps::Mapping;
use crate::process::memory::Memory;
use crate::span::Span;

/// Where they are.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// A live process's.
    Process(u32),
    /// Those of a process that left a core.
    Core(&'a Core),
}

/// Nothing larger is read.
const MAX_BYTES: u64 = 256 << 20;

impl Files<'_> {
    /// Path of the program, as the target knows it.
    #[must_use]
    pub fn executable(&self) -> String {
        match self {
            Self::Process(pid) => {
                let target = std::fs::read_link(path(*pid, "exe")).unwrap_or_default();
                target.to_string_lossy().into_owned()
            }
            Self::Core(core) => core.executable().to_owned(),
        }
    }

    /// What the program's file holds; empty if it cannot be read.
    #[must_use]
    pub fn program(&self) -> Vec<u8> {
        let content = match self {
            Self::Process(pid) => read_bounded(Path::new(&path(*pid, "exe"))),
            Self::Core(core) => read_bounded(&below(core.sysroot(), core.executable())),
        };
        content.unwrap_or_default()
    }

    /// Where the target's paths begin.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        match self {
            Self::Process(pid) => path(*pid, "root").into(),
            Self::Core(core) => core.sysroot().to_owned(),
        }
    }

    /// What a library's file holds; `first` is the mapping that begins it.
    #[must_use]
    pub fn library(&self, first: &Mapping, maps: &[Mapping], memory: &Memory<'_>) -> Library {
        match self {
            Self::Process(pid) => {
                let Span { start, end } = first.span;
                let named = below(&self.root(), &first.name);
                let mapped = path(*pid, &format!("map_files/{start:x}-{end:x}"));
                let content = read_bounded(&named).or_else(|| read_bounded(Path::new(&mapped)));
                Library { content: content.unwrap_or_default(), origin: From::File }
            }
            Self::Core(core) => of_core(core, first, maps, memory),
        }
    }
}

/// A library's content.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// As in its file; empty if there is none.
    pub content: Vec<u8>,
    /// Where it was found.
    pub origin: From,
}

/// Where a library's content comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// Its own file.
    #[default]
    File,
    /// A file of that name; the core does not hold what would tell whether it is the one.
    UnprovenFile,
    /// The parts of it that the core holds: in words, why not its file.
    Memory(String),
}

fn of_core(core: &Core, first: &Mapping, maps: &[Mapping], memory: &Memory<'_>) -> Library {
    let path = below(core.sysroot(), &first.name);
    let wanted = build_id_in(memory, first);
    let why = match read_bounded(&path) {
        None => format!("{} is not here", path.display()),
        Some(content) => match (&wanted, build_id(&content)) {
            (Some(wanted), Some(found)) if *wanted == found => {
                return Library { content, origin: From::File };
            }
            (None, _) => return Library { content, origin: From::UnprovenFile },
            _ => format!("{} is another one by its build id", path.display()),
        },
    };
    let id = wanted.map(|id| format!(", build id {}", hex(&id))).unwrap_or_default();
    Library { content: from_memory(first, maps, memory), origin: From::Memory(why + &id) }
}

/// What the core holds of the parts that a process does not change; zeros elsewhere.
fn from_memory(first: &Mapping, maps: &[Mapping], memory: &Memory<'_>) -> Vec<u8> {
    let parts = || maps.iter().filter(|part| part.name == first.name && !part.writable);
    let end = parts().map(|part| part.offset.saturating_add(part.span.bytes())).max().unwrap_or(0);
    if end as u64 > MAX_BYTES {
        return Vec::new();
    }
    let mut content = vec![0; end];
    for part in parts() {
        for run in memory.pages().runs_in(part.span) {
            let at = part.offset + (run.span.start - part.span.start);
            if let Some(bytes) = memory.copy(run.span)
                && let Some(target) = content.get_mut(at..at + bytes.len())
            {
                target.copy_from_slice(&bytes);
            }
        }
    }
    content
}

/// The build id in the first page of a mapped library, if the core has that page.
fn build_id_in(memory: &Memory<'_>, first: &Mapping) -> Option<Vec<u8>> {
    let page = Span::new(first.span.start, first.span.start + memory.pages().page_bytes());
    build_id(&memory.copy(page)?)
}

/// The build id in the notes of an ELF file, or of its first page.
fn build_id(content: &[u8]) -> Option<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(content).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, content).ok()?;
    let notes = headers.iter().filter(|header| header.p_type(endian) == PT_NOTE);
    for header in notes {
        let Ok(Some(mut notes)) = header.notes(endian, content) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"GNU" && note.n_type(endian) == object::elf::NT_GNU_BUILD_ID {
                return Some(note.desc().to_vec());
            }
        }
    }
    None
}

fn below(root: &Path, name: &str) -> PathBuf {
    root.join(name.trim_start_matches('/'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}
