//! Addresses of `main_arena` and `mp_` from symbols, where there are any.
//!
//! Looked for in the library itself, then in its separate debug file by build
//! id and by name. Distributions strip both symbols, so this is a help and not
//! the way; what it says is checked like a guess.
//!
//! The library's relocations, which nobody can strip, tell where the dynamic
//! loader noted the places of its thread-local variables.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, RelocationFlags};

/// Values of the two symbols, relative to the library's load address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// `main_arena`.
    pub main_arena: Option<usize>,
    /// `mp_`.
    pub mp: Option<usize>,
}

/// No debug file of a libc is longer.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Looks the symbols up. `root` is where the target's paths begin.
#[must_use]
pub fn of_library(root: &Path, path: &str, content: &[u8]) -> Symbols {
    let Ok(library) = object::File::parse(content) else { return Symbols::default() };
    let own = of_object(&library);
    if own.main_arena.is_some() {
        return own;
    }
    debug_files(root, path, &library)
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|data| data.len() <= MAX_FILE_BYTES))
        .filter_map(|path| fs::read(path).ok())
        .filter_map(|content| Some(of_object(&object::File::parse(&*content).ok()?)))
        .find(|symbols| symbols.main_arena.is_some())
        .unwrap_or(own)
}

fn of_object(file: &object::File<'_>) -> Symbols {
    let mut symbols = Symbols::default();
    for symbol in file.symbols() {
        let place = match symbol.name() {
            Ok("main_arena") => &mut symbols.main_arena,
            Ok("mp_") => &mut symbols.mp,
            _ => continue,
        };
        *place = Some(symbol.address() as usize);
    }
    symbols
}

/// Where in the library's data the offsets of its thread-local variables from
/// the thread pointer stand, relative to the load address.
#[must_use]
pub fn tls_slots(content: &[u8]) -> Vec<usize> {
    const R_X86_64_TPOFF64: u32 = 18;
    /// glibc has a dozen or two.
    const MOST: usize = 4096;
    let Ok(library) = object::File::parse(content) else { return Vec::new() };
    let Some(relocations) = library.dynamic_relocations() else { return Vec::new() };
    relocations
        .filter(|(_, relocation)| {
            matches!(relocation.flags(), RelocationFlags::Elf { r_type: R_X86_64_TPOFF64 })
        })
        .map(|(address, _)| address as usize)
        .take(MOST)
        .collect()
}

fn debug_files(root: &Path, path: &str, library: &object::File<'_>) -> Vec<PathBuf> {
    let debug = root.join("usr/lib/debug");
    let mut files = Vec::new();
    if let Ok(Some(id)) = library.build_id()
        && let Some((first, rest)) = id.split_first()
    {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        files.push(debug.join(".build-id").join(hex(&[*first])).join(hex(rest) + ".debug"));
    }
    if let Ok(Some((name, _))) = library.gnu_debuglink()
        && let Ok(name) = std::str::from_utf8(name)
        && let Some(directory) = Path::new(path.trim_start_matches('/')).parent()
    {
        files.push(debug.join(directory).join(name));
    }
    files
}
