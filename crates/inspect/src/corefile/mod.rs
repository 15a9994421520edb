//! Core files: a process's memory after its end, by the kernel or by gcore.
//!
//! ```text
//! │ ELF header │ program headers │ notes │ pages of segment 1 │ pages of segment 2 │ …
//!                PT_LOAD: vaddr, offset, filesz ≤ memsz (less: not dumped, or cut off)
//!                PT_NOTE: NT_PRSTATUS a thread, NT_PRPSINFO, NT_AUXV, NT_FILE
//! ```
//! A core has no page states. What the account counts is what the file holds:
//! its pages that are not all zero. The kernel leaves pages that were never
//! touched out as holes of a sparse file, gcore writes them as zeros, and a copy
//! may turn one into the other; so a page of zeros is not counted, whoever wrote
//! it. It can be read all the same.

mod elf;
mod maps;
mod pages;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::process::maps::Mapping;
use crate::process::pages::Pages;
use crate::process::threads::Thread;
use crate::span::Span;

/// Why a core file could not be read.
#[derive(Debug)]
pub enum CoreError {
    /// It is something else.
    Foreign,
    /// A core of another word size, byte order or processor.
    OtherMachine(String),
    /// It says what cannot be.
    Damaged(String),
    /// It could not be read.
    Io(io::Error),
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "not a core file"),
            Self::OtherMachine(what) => write!(f, "a core file of {what}; only x86-64 is read"),
            Self::Damaged(why) => write!(f, "a damaged core file: {why}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for CoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A core file, its headers read.
#[derive(Debug)]
pub struct Core {
    file: File,
    segments: Vec<Segment>,
    /// Every page in the file.
    held: Pages,
    /// Bytes that the headers promise and the file does not have.
    missing_bytes: u64,
    notes: elf::Notes,
    maps: Vec<Mapping>,
    written: SystemTime,
    sysroot: PathBuf,
}

/// Addresses whose bytes are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    span: Span,
    offset: u64,
}

/// How many bytes are enough to tell whether a file [`is_core`].
pub const FIRST_BYTES: usize = 18;

/// Whether a file that begins so is a core file, ours to read or not.
#[must_use]
pub fn is_core(first: &[u8]) -> bool {
    const ELF: &[u8] = b"\x7fELF";
    const TYPE_CORE: u8 = 4;
    // The type is the half word behind e_ident, in either byte order.
    first.starts_with(ELF) && matches!(first.get(16..18), Some([TYPE_CORE, 0] | [0, TYPE_CORE]))
}

impl Core {
    /// Reads the headers. `sysroot` is where the paths of the process's files begin: `/`
    /// on the machine that it ran on.
    ///
    /// # Errors
    /// Not a core, of another machine, damaged; what the file says.
    pub fn open(path: &Path, sysroot: &Path) -> Result<Self, CoreError> {
        let file = File::open(path)?;
        let data = file.metadata()?;
        let parsed = elf::parse(file.try_clone()?)?;
        let page_bytes = parsed.notes.page_bytes();
        let (segments, missing_bytes) =
            pages::segments(&parsed.loads, data.len(), page_bytes).map_err(CoreError::Damaged)?;
        let maps = maps::of(&parsed);
        Ok(Self {
            held: pages::held(&segments, page_bytes),
            file,
            segments,
            missing_bytes,
            notes: parsed.notes,
            maps,
            written: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            sysroot: sysroot.to_owned(),
        })
    }

    /// Every page in the file: what can be read.
    #[must_use]
    pub fn held(&self) -> &Pages {
        &self.held
    }

    /// The pages that are not all zero. Reads all of the file, a stretch at a time.
    ///
    /// # Errors
    /// What the file says.
    pub fn filled(&self) -> io::Result<Pages> {
        pages::filled(&self.file, &self.segments, self.held.page_bytes())
    }

    /// The mappings, as far as the core tells. Names in brackets are inferred.
    #[must_use]
    pub fn maps(&self) -> &[Mapping] {
        &self.maps
    }

    /// The threads with their thread pointers, the one that died first.
    #[must_use]
    pub fn threads(&self) -> Vec<Thread> {
        let thread = |status: &elf::Status| Thread {
            tid: status.tid,
            name: if status.tid == self.pid() { self.name().to_owned() } else { String::new() },
            pointer: (status.thread_pointer != 0).then_some(status.thread_pointer),
            stack: None,
        };
        self.notes.threads.iter().map(thread).collect()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.notes.pid
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.notes.name
    }

    /// The begin of its command line, in one piece.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.notes.command
    }

    /// Path of its program; empty where the core does not tell.
    #[must_use]
    pub fn executable(&self) -> &str {
        maps::executable(&self.maps, &self.notes).unwrap_or_default()
    }

    /// Where the paths of its files begin.
    #[must_use]
    pub fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// When the file was last written.
    #[must_use]
    pub fn written(&self) -> SystemTime {
        self.written
    }

    /// Bytes that the headers promise and the file does not have: it was cut.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// Reads the spans one behind the other; the bytes read, short of all where one is not there.
    ///
    /// # Errors
    /// What the file says.
    pub(crate) fn read(&self, spans: &[Span], into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        for span in spans {
            let mut at = span.start;
            while at < span.end {
                let index = self.segments.partition_point(|segment| segment.span.end <= at);
                let Some(segment) = self.segments.get(index).filter(|s| s.span.contains(at)) else {
                    return Ok(done);
                };
                let length = segment.span.end.min(span.end) - at;
                let Some(target) = into.get_mut(done..done + length) else { return Ok(done) };
                let offset = segment.offset + (at - segment.span.start) as u64;
                self.file.read_exact_at(target, offset)?;
                done += length;
                at += length;
            }
        }
        Ok(done)
    }
}
