//! `/proc/PID/maps`: the mappings of a process.

use serde::{Deserialize, Serialize};

use super::files::read;
use crate::error::Error;
use crate::span::Span;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its addresses.
    pub span: Span,
    /// Readable.
    pub readable: bool,
    /// Writable.
    pub writable: bool,
    /// Executable.
    pub executable: bool,
    /// Shared with other mappings of the same object.
    pub shared: bool,
    /// Offset in the file.
    pub offset: usize,
    /// Inode of the file, 0 without one.
    pub inode: u64,
    /// Path of the file, a name in brackets, or empty. What is not UTF-8 is replaced.
    pub name: String,
}

impl Mapping {
    /// Private memory of no file and no name, or named by `prctl` (`[anon:…]`).
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.inode == 0 && !self.shared && (self.name.is_empty() || self.name.starts_with("[anon:"))
    }

    /// Private memory of no file: what a fork copies page by page.
    #[must_use]
    pub fn is_copied_whole(&self) -> bool {
        self.is_anonymous() || self.is_break() || self.name == "[stack]"
    }

    /// Anonymous, readable and writable.
    #[must_use]
    pub fn is_plain_data(&self) -> bool {
        self.is_anonymous() && self.readable && self.writable
    }

    /// The program break's mapping. There can be several pieces.
    #[must_use]
    pub fn is_break(&self) -> bool {
        self.name == "[heap]"
    }

    /// Last part of the path, without " (deleted)".
    #[must_use]
    pub fn file_name(&self) -> &str {
        let name = self.name.strip_suffix(" (deleted)").unwrap_or(&self.name);
        name.rsplit('/').next().unwrap_or(name)
    }

    /// `rw-p`.
    #[must_use]
    pub fn permissions(&self) -> String {
        let letter = |on, letter| if on { letter } else { '-' };
        [
            letter(self.readable, 'r'),
            letter(self.writable, 'w'),
            letter(self.executable, 'x'),
            if self.shared { 's' } else { 'p' },
        ]
        .into_iter()
        .collect()
    }
}

/// The mappings of a process in address order.
///
/// # Errors
/// No such process, no permission.
pub fn of(pid: u32) -> Result<Vec<Mapping>, Error> {
    Ok(parse(&String::from_utf8_lossy(&read(pid, "maps")?)))
}

/// The mapping that holds `address`. O(log n).
#[must_use]
pub fn find(maps: &[Mapping], address: usize) -> Option<&Mapping> {
    let index = maps.partition_point(|mapping| mapping.span.end <= address);
    maps.get(index).filter(|mapping| mapping.span.contains(address))
}

/// The writable data of the files that `wanted` selects: their own writable
/// mappings and the nameless ones that follow without a gap (`.bss`).
#[must_use]
pub fn data_of(maps: &[Mapping], wanted: impl Fn(&Mapping) -> bool) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut end_of_data = None;
    let mut inside = false;
    for mapping in maps {
        let adjoins = end_of_data == Some(mapping.span.start);
        let of_file = mapping.inode != 0 && wanted(mapping);
        let is_bss = inside && adjoins && mapping.is_plain_data();
        if mapping.writable && (of_file || is_bss) {
            spans.push(mapping.span);
        }
        inside = of_file || is_bss;
        end_of_data = Some(mapping.span.end);
    }
    spans
}

fn parse(text: &str) -> Vec<Mapping> {
    let mut maps: Vec<Mapping> = text.lines().filter_map(parse_line).collect();
    maps.sort_by_key(|mapping| mapping.span.start);
    maps
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        (!word.is_empty()).then_some(word)
    };
    let (start, end) = word()?.split_once('-')?;
    let permissions = word()?.as_bytes();
    let offset = word()?;
    let _device = word()?;
    let inode = word()?;
    let hex = |digits| usize::from_str_radix(digits, 16).ok();
    let has = |at, letter| permissions.get(at) == Some(&letter);
    Some(Mapping {
        span: Span::new(hex(start)?, hex(end)?),
        readable: has(0, b'r'),
        writable: has(1, b'w'),
        executable: has(2, b'x'),
        shared: has(3, b's'),
        offset: hex(offset)?,
        inode: inode.parse().ok()?,
        name: rest.trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
1000-3000 r-xp 00000000 fe:00 7    /lib/a b.so (deleted)
3000-4000 rw-p 00002000 fe:00 7    /lib/a b.so (deleted)
4000-6000 rw-p 00000000 00:00 0
8000-9000 rw-p 00000000 00:00 0    [heap]
nonsense
a000-b000 rw-s 00000000 00:01 9    /dev/zero (deleted)
";

    #[test]
    fn lines_become_mappings() {
        let maps = parse(TEXT);
        assert_eq!(maps.len(), 5);
        assert_eq!(maps[0].name, "/lib/a b.so (deleted)");
        assert_eq!(maps[0].file_name(), "a b.so");
        assert_eq!(maps[0].permissions(), "r-xp");
        assert!(maps[2].is_plain_data() && maps[3].is_break() && !maps[4].is_anonymous());
        assert_eq!(find(&maps, 0x5fff).unwrap().span, Span::new(0x4000, 0x6000));
        assert!(find(&maps, 0x6000).is_none());
    }

    #[test]
    fn data_includes_bss_and_nothing_else() {
        let data = data_of(&parse(TEXT), |mapping| mapping.file_name() == "a b.so");
        assert_eq!(data, [Span::new(0x3000, 0x4000), Span::new(0x4000, 0x6000)]);
    }
}
