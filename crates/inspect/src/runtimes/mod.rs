//! Runtimes that keep objects in heaps of their own, past malloc: Python's, Java's, Go's.
//!
//! What they map is told by its place and shape, without debug info: figures beside the
//! account's rows, of which they are a part.

pub mod pymalloc;

use serde::{Deserialize, Serialize};

use self::pymalloc::Pools;
use crate::images::Files;
use crate::process::maps::Mapping;
use crate::process::memory::Image;
use crate::process::pages::Pages;
use crate::span::Span;
use crate::wire;

/// Whose runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// CPython.
    Python,
    /// A JVM.
    Java,
    /// Go.
    Go,
}

/// A runtime, and what of the process is its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Whose.
    pub language: Language,
    /// Its memory past malloc, the objects' heap first; empty if none was found.
    #[serde(deserialize_with = "wire::list")]
    pub parts: Vec<Part>,
    /// How full pymalloc's pools are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Pools>,
}

/// Memory of one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: "Java heap".
    pub name: String,
    /// Where, in address order.
    #[serde(deserialize_with = "wire::list")]
    pub spans: Vec<Span>,
    /// Resident bytes.
    #[serde(deserialize_with = "wire::figure")]
    pub resident: usize,
}

impl Language {
    /// The name that programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Java => "java",
            Self::Go => "go",
        }
    }
}

impl Runtime {
    /// Resident bytes of the objects' heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        self.parts.first().map_or(0, |part| part.resident)
    }

    /// Whether its collector, not malloc, has the program's objects.
    #[must_use]
    pub const fn collects(&self) -> bool {
        matches!(self.language, Language::Java | Language::Go)
    }
}

/// With pointers of 32 bits a Java heap ends below this; classes follow.
const COMPRESSED_END: usize = 32 << 30;
/// Space for classes with pointers of 32 bits ends below this.
const CLASSES_END: usize = COMPRESSED_END + (4 << 30);
/// Go's first arena, and where it goes on for a while.
const GO_ARENAS: Span = Span { start: 0xc0_0000_0000, end: 0xe0_0000_0000 };

/// The runtimes of a process. `taken` is what malloc and the stacks have, in address order.
#[must_use]
pub fn find(
    files: Files<'_>,
    maps: &[Mapping],
    taken: &[Span],
    memory: &impl Image,
) -> Vec<Runtime> {
    let pages = memory.pages();
    let mut found = Vec::new();
    if is_python(files, maps) {
        found.push(pymalloc::find(memory, maps, taken));
    }
    if has_file(maps, "libjvm.so") {
        found.push(java(maps, pages));
    }
    let starts =
        |mapping: &&Mapping| mapping.is_anonymous() && mapping.span.start == GO_ARENAS.start;
    if maps.iter().find(starts).is_some() && is_go(files) {
        found.push(go(maps, pages));
    }
    found
}

fn has_file(maps: &[Mapping], start: &str) -> bool {
    maps.iter().any(|mapping| mapping.file_name().starts_with(start))
}

/// By the program, the library, or a module of compiled code.
fn is_python(files: Files<'_>, maps: &[Mapping]) -> bool {
    let executable = files.executable();
    executable.rsplit('/').next().is_some_and(|program| program.starts_with("python"))
        || has_file(maps, "libpython")
        || maps.iter().any(|mapping| mapping.file_name().contains(".cpython-3"))
}

fn is_go(files: Files<'_>) -> bool {
    const MARK: &[u8] = b"Go buildinf";
    files.program().windows(MARK.len()).any(|window| window == MARK)
}

fn java(maps: &[Mapping], pages: &Pages) -> Runtime {
    let own = |mapping: &&Mapping| mapping.is_anonymous();
    let in_heap = |mapping: &&Mapping| {
        mapping.name.contains("java_heap") || own(mapping) && mapping.span.end <= COMPRESSED_END
    };
    let in_classes = |mapping: &&Mapping| {
        own(mapping) && mapping.span.start >= COMPRESSED_END && mapping.span.end <= CLASSES_END
    };
    let is_code = |mapping: &&Mapping| own(mapping) && mapping.executable;
    let parts = [
        part("Java heap", maps.iter().filter(in_heap), pages),
        part("classes", maps.iter().filter(in_classes), pages),
        part("compiled code", maps.iter().filter(is_code), pages),
    ];
    let heap_first = parts.into_iter().filter(|part| part.resident > 0).collect();
    Runtime { language: Language::Java, parts: heap_first, pools: None }
}

fn go(maps: &[Mapping], pages: &Pages) -> Runtime {
    let in_heap =
        |mapping: &&Mapping| mapping.is_anonymous() && GO_ARENAS.contains(mapping.span.start);
    let heap = part("Go heap", maps.iter().filter(in_heap), pages);
    Runtime { language: Language::Go, parts: vec![heap], pools: None }
}

fn part<'a>(name: &str, mappings: impl Iterator<Item = &'a Mapping>, pages: &Pages) -> Part {
    let spans = joined(mappings.map(|mapping| mapping.span));
    let resident = spans.iter().map(|&span| pages.resident(span)).sum();
    Part { name: name.into(), spans, resident }
}

/// Neighbours as one; not more than a snapshot may hold.
fn joined(spans: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    for span in spans {
        match out.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => out.push(span),
        }
    }
    out.truncate(wire::MOST_LISTED);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pages::Run;

    #[test]
    fn a_java_heap_is_told_from_classes_and_code_by_its_place() {
        let mapping = |start: usize, bytes: usize, executable: bool| Mapping {
            span: Span::new(start, start + bytes),
            readable: true,
            writable: true,
            executable,
            shared: false,
            offset: 0,
            inode: 0,
            name: String::new(),
        };
        let maps = [
            mapping(0x7_0000_0000, 0x40_0000, false),
            mapping(0x7_0040_0000, 0x10_0000, false),
            mapping(0x8_0000_0000, 0x8000, false),
            mapping(0x7f00_0000_0000, 0x4000, true),
            mapping(0x7f10_0000_0000, 0x9000, false),
        ];
        let run = |mapping: &Mapping| Run { span: mapping.span, of_file: false, huge: false };
        let pages = Pages::from_runs(4096, maps.iter().map(run).collect(), true);
        let found = java(&maps, &pages);
        let parts: Vec<_> = found.parts.iter().map(|p| (p.name.as_str(), p.resident)).collect();
        assert_eq!(
            parts,
            [("Java heap", 0x50_0000), ("classes", 0x8000), ("compiled code", 0x4000)]
        );
        assert_eq!(found.parts[0].spans.len(), 1);
        assert_eq!(found.heap(), 0x50_0000);
    }
}
