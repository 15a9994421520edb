//! Where in a target's own code a system call can be made in its name.
//!
//! Its files are searched, not its memory: a look at a page that was never used would map it there.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::super::files::path;
use super::super::maps::{Mapping, find};
use super::super::pages::Pages;
use super::super::remote;
use super::x86_64::{BACK, CALL};
use crate::span::Span;

/// Addresses of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The mapping that has both.
    code: Mapping,
    /// `CALL`.
    pub call: usize,
    /// `BACK`.
    pub back: usize,
}

/// No library's code is longer.
const MOST_BYTES: usize = 64 << 20;

impl Places {
    /// Looks for them in what is mapped: the C library first.
    #[must_use]
    pub fn find(pid: u32, maps: &[Mapping], page_bytes: usize) -> Option<Self> {
        let is_code =
            |mapping: &&Mapping| mapping.executable && !mapping.shared && mapping.inode != 0;
        let mut code: Vec<&Mapping> = maps.iter().filter(is_code).collect();
        code.sort_by_key(|mapping| !mapping.file_name().starts_with("libc"));
        code.into_iter().find_map(|mapping| {
            let bytes = content(pid, mapping)?;
            let runs = Pages::runs_of(pid, &[mapping.span]).ok().flatten().unwrap_or_default();
            let pages = &Pages::from_runs(page_bytes, runs, true);
            let place = |pattern: &[u8]| place(&bytes, pattern, mapping.span, pages);
            Some(Self { call: place(CALL)?, back: place(BACK)?, code: mapping.clone() })
        })
    }

    /// Whether they are still mapped.
    #[must_use]
    pub fn are_mapped(&self, maps: &[Mapping]) -> bool {
        find(maps, self.call) == Some(&self.code)
    }

    /// Whether they still are what they were, the target standing still: nobody has written there.
    #[must_use]
    pub fn hold(&self, pid: u32, maps: &[Mapping]) -> bool {
        let holds = |address: usize, pattern: &[u8]| {
            let mut bytes = vec![0; pattern.len()];
            // What is not there yet comes from the file.
            !super::is_resident(pid, Span::new(address, address + pattern.len()))
                || remote::read(pid, address, &mut bytes).is_ok() && bytes == pattern
        };
        self.are_mapped(maps) && holds(self.call, CALL) && holds(self.back, BACK)
    }
}

fn is_resident(pages: &Pages, address: usize, pattern: &[u8]) -> bool {
    pages.resident(Span::new(address, address + pattern.len())) == pattern.len()
}

/// A place of the pattern, on a page that is in use if there is one.
fn place(bytes: &[u8], pattern: &[u8], span: Span, pages: &Pages) -> Option<usize> {
    let all = || {
        let places = bytes.windows(pattern.len()).enumerate();
        places.filter(|(_, window)| *window == pattern).map(|(at, _)| span.start + at)
    };
    all().find(|&address| is_resident(pages, address, pattern)).or_else(|| all().next())
}

/// What the file has there; it must be the file that is mapped.
fn content(pid: u32, mapping: &Mapping) -> Option<Vec<u8>> {
    let Span { start, end } = mapping.span;
    if mapping.span.bytes() > MOST_BYTES {
        return None;
    }
    let mapped = File::open(path(pid, &format!("map_files/{start:x}-{end:x}")));
    let named = || {
        let root = path(pid, "root");
        let file = File::open(Path::new(&root).join(mapping.name.trim_start_matches('/'))).ok()?;
        (file.metadata().ok()?.ino() == mapping.inode).then_some(file)
    };
    let file = mapped.ok().or_else(named)?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = vec![0; mapping.span.bytes()];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], (mapping.offset + filled) as u64) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::maps;
    use super::*;

    #[test]
    fn this_process_has_such_places() {
        let pid = std::process::id();
        let maps = maps::of(pid).unwrap();
        let Some(places) = Places::find(pid, &maps, 4096) else { return };
        assert!(places.hold(pid, &maps));
        let elsewhere = Places { call: places.call + 1, ..places };
        assert!(!elsewhere.hold(pid, &maps));
    }
}
