//! Which allocator a process uses, told from what is mapped into it.

use heapwise_layout::walk::Read;
use serde::{Deserialize, Serialize};

use crate::glibc::locate::{self, Found, Parameters, Search};
use crate::glibc::survey::breaks;
use crate::glibc::symbols;
use crate::glibc::version::{self, Table};
use crate::images::{Files, From};
use crate::ours::root::{self, Root};
use crate::process::maps::{Mapping, data_of};
use crate::process::memory::Memory;
use crate::span::Span;

/// glibc, found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Glibc {
    /// Its version's table.
    pub table: Table,
    /// Where its arena is; none before the first allocation.
    pub found: Option<Found>,
    /// What `mp_` says.
    pub parameters: Option<Parameters>,
    /// Offsets of its thread-local variables from a thread pointer.
    pub tls_offsets: Vec<isize>,
}

/// What was recognised.
#[derive(Clone, Debug, Default)]
pub struct Recognised {
    /// Our own state.
    pub ours: Option<Root>,
    /// The writable data of our library, empty if we are linked into the program.
    pub our_data: Vec<Span>,
    /// glibc's; it is there beside ours too.
    pub glibc: Option<Glibc>,
    /// Why neither can be read, in words: "jemalloc", "musl", …
    pub other: Option<String>,
    /// What else should be said.
    pub notes: Vec<String>,
}

/// Libraries that replace malloc.
const REPLACEMENTS: [(&str, &str); 9] = [
    ("libjemalloc", "jemalloc"),
    ("libmimalloc", "mimalloc"),
    ("libtcmalloc", "tcmalloc"),
    ("libsnmalloc", "snmalloc"),
    ("librpmalloc", "rpmalloc"),
    ("libhardened_malloc", "hardened_malloc"),
    ("libscudo", "scudo"),
    ("libasan", "the address sanitizer's allocator"),
    ("libhoard", "hoard"),
];

/// Marks of allocators and runtimes in a program without a C library to load.
const STATIC_MARKS: [(&[u8], &str); 5] = [
    (b"GLIBC_TUNABLES", "a statically linked glibc"),
    (b"<jemalloc>", "a statically linked jemalloc"),
    (b"mimalloc", "a statically linked mimalloc"),
    (b"Go buildinf", "the Go runtime"),
    (b"musl", "a statically linked musl"),
];

/// Looks at what is mapped, and into the writable data of what is.
#[must_use]
pub fn recognise(files: Files<'_>, maps: &[Mapping], memory: &Memory<'_>) -> Recognised {
    let mut found = Recognised::default();
    let executable = files.executable();
    let library = data_of(maps, |mapping| mapping.file_name().starts_with("libheapwise.so"));
    let program = data_of(maps, |mapping| mapping.name == executable);
    let ours = root::find(memory, &resident(memory, &library)).map(|root| (root, library));
    match ours.or_else(|| Some((root::find(memory, &resident(memory, &program))?, Vec::new()))) {
        Some((root::Found::Root(root), data)) => {
            found.ours = Some(root);
            found.our_data = data;
        }
        Some((root::Found::OtherVersion(version), _)) => {
            found.other = Some(format!(
                "Heapwise of layout version {version}, which this command does not read"
            ));
        }
        None => {}
    }
    if found.other.is_some() {
        return found;
    }
    let replacement = REPLACEMENTS.iter().find(|(file, _)| {
        maps.iter().any(|mapping| mapping.executable && mapping.file_name().starts_with(file))
    });
    let glibc = glibc(files, maps, memory);
    if let Some((_, name)) = replacement
        && found.ours.is_none()
    {
        if !glibc.as_ref().is_ok_and(|(glibc, _)| is_used(glibc, memory)) {
            found.other = Some((*name).to_owned());
            return found;
        }
        // It stands behind the C library in the order of search, or was loaded later.
        found.notes.push(format!(
            "{name} is loaded too, but malloc is glibc's: what it has is other anonymous memory"
        ));
    }
    match glibc {
        Ok((glibc, note)) => {
            found.glibc = Some(glibc);
            found.notes.extend(note);
        }
        Err(why) if found.ours.is_none() => found.other = Some(why),
        Err(_) => {}
    }
    found
}

/// glibc, and what should be said about how it was found; else why not.
fn glibc(
    files: Files<'_>,
    maps: &[Mapping],
    memory: &Memory<'_>,
) -> Result<(Glibc, Option<String>), String> {
    let is_libc = |mapping: &&Mapping| {
        let name = mapping.file_name();
        mapping.inode != 0
            && (name == "libc.so.6" || name.starts_with("libc-2.") && name.ends_with(".so"))
    };
    let Some(first) = maps.iter().find(is_libc) else { return Err(without_libc(files, maps)) };
    let library = files.library(first, maps, memory);
    let content = library.content;
    let Some(minor) = version::of_library(&content) else {
        let why = match library.origin {
            From::Memory(why) => format!("{why}, and the core does not hold its text"),
            _ => first.name.clone(),
        };
        return Err(format!("a C library whose version cannot be read ({why})"));
    };
    let Some(table) = Table::of(minor) else {
        return Err(format!(
            "glibc 2.{minor}, which is older than the tables (2.{})",
            version::OLDEST
        ));
    };
    if !is_x86_64(&content) {
        return Err(format!("glibc 2.{minor} for another processor"));
    }
    let root = files.root();
    let data = resident(memory, &data_of(maps, |mapping| mapping.name == first.name));
    let search = Search {
        data: &data,
        base: first.span.start,
        symbols: symbols::of_library(&root, &first.name, &content),
        breaks: &breaks(maps),
    };
    let found = locate::find(memory, &table, &search);
    let parameters =
        found.and_then(|found| found.mp).and_then(|mp| locate::parameters(memory, &table, mp));
    let base = first.span.start;
    let tls_offsets = symbols::tls_slots(&content)
        .into_iter()
        .filter_map(|slot| Some(memory.word(base.checked_add(slot)? & !7)?.cast_signed() as isize))
        .collect();
    let note = match library.origin {
        From::File => None,
        From::UnprovenFile => Some(format!(
            "the C library is taken for the file {} of this machine; the core does not hold what \
             would prove it",
            first.name
        )),
        From::Memory(why) => Some(format!("the C library is read from the core: {why}")),
    };
    Ok((Glibc { table, found, parameters, tls_offsets }, note))
}

/// Whether anything was ever asked of it: under a replacement nothing is.
fn is_used(glibc: &Glibc, memory: &Memory<'_>) -> bool {
    let arena = glibc.found.and_then(|found| {
        crate::glibc::arena::read(memory, &glibc.table, found.main_arena, true, 0)
    });
    arena.is_some_and(|arena| arena.system_bytes > 0)
}

/// The resident parts of `spans`, neighbours joined: what a bent core says of a library's data may
/// be longer than anything that can be searched.
fn resident(memory: &Memory<'_>, spans: &[Span]) -> Vec<Span> {
    let mut parts: Vec<Span> = Vec::new();
    for run in spans.iter().flat_map(|&span| memory.pages().runs_in(span)) {
        match parts.last_mut() {
            Some(last) if last.end == run.span.start => last.end = run.span.end,
            _ => parts.push(run.span),
        }
    }
    parts
}

fn is_x86_64(content: &[u8]) -> bool {
    const CLASS_64: u8 = 2;
    const MACHINE: [u8; 2] = [62, 0];
    content.get(4) == Some(&CLASS_64) && content.get(18..20) == Some(&MACHINE)
}

fn without_libc(files: Files<'_>, maps: &[Mapping]) -> String {
    if maps.is_empty() {
        return "no memory of its own: a kernel thread, or a process that has ended".into();
    }
    // Its loader is the library, under the one name or the other.
    let is_musl = |mapping: &Mapping| {
        let file = mapping.file_name();
        file.starts_with("ld-musl")
            || file.starts_with("libc.musl")
            || file == "libc.so" && mapping.name.contains("musl")
    };
    if maps.iter().any(is_musl) {
        return "musl".into();
    }
    let content = files.program();
    let has = |mark: &[u8]| content.windows(mark.len()).any(|window| window == mark);
    STATIC_MARKS
        .iter()
        .find(|(mark, _)| has(mark))
        .map_or_else(|| "no C library that we know".into(), |(_, name)| (*name).into())
}
