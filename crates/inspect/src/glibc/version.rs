//! Which glibc it is, and where its fields stand.
//!
//! The tables were made from glibc's release tags and confirmed against the
//! debug symbols of 2.31, 2.36, 2.41 and 2.43. What every version agrees on is
//! given relative to `bins`.

use serde::{Deserialize, Serialize};

/// Offsets of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Table {
    /// The minor version: 36 for 2.36.
    pub minor: u32,
    /// `malloc_state.bins`.
    pub bins: usize,
    /// `malloc_state.fastbinsY`; none from 2.43.
    pub fastbins: Option<usize>,
    /// Size of `malloc_state`.
    pub arena_bytes: usize,
    /// Size of `heap_info`.
    pub heap_info_bytes: usize,
    /// `mp_.hp_pagesize`, where it exists.
    pub hp_pagesize: Option<usize>,
    /// `mp_.n_mmaps`.
    pub n_mmaps: usize,
    /// `mp_.no_dyn_threshold`.
    pub no_dyn_threshold: usize,
    /// `mp_.mmapped_mem`.
    pub mmapped_mem: usize,
    /// `mp_.sbrk_base`.
    pub sbrk_base: usize,
    /// The thread cache.
    pub tcache: Tcache,
    /// `next` pointers in lists are mixed with their own address.
    pub safe_linking: bool,
    /// A mapped chunk's mapping is longer than `prev_size + size` by this.
    pub mapped_extra: usize,
}

/// Where things stand in a `tcache_perthread_struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcache {
    /// Number of lists, one a size.
    pub bins: usize,
    /// Further lists of mixed sizes.
    pub large_bins: usize,
    /// Bytes of a counter.
    pub counter_bytes: usize,
    /// Whether counters count what is there (else what still fits).
    pub counts_up: bool,
    /// Offset of the list heads.
    pub entries: usize,
    /// Size of the chunk that holds it.
    pub chunk_bytes: usize,
}

/// Relative to `bins`.
pub mod from_bins {
    /// `top`.
    pub const TOP: isize = -0x10;
    /// `next`: the ring of arenas.
    pub const NEXT: isize = 0x800;
    /// `attached_threads`.
    pub const ATTACHED: isize = 0x810;
    /// `system_mem`.
    pub const SYSTEM_MEM: isize = 0x818;
}

/// `mp_` fields that never moved.
pub mod params {
    /// `trim_threshold`.
    pub const TRIM_THRESHOLD: usize = 0;
    /// `mmap_threshold`.
    pub const MMAP_THRESHOLD: usize = 0x10;
    /// `arena_max`.
    pub const ARENA_MAX: usize = 0x20;
}

/// Oldest version with a table.
pub const OLDEST: u32 = 26;
/// Newest version with a table; later ones are tried with it.
pub const NEWEST: u32 = 43;

impl From<Table> for u32 {
    fn from(table: Table) -> Self {
        table.minor
    }
}

impl TryFrom<u32> for Table {
    type Error = String;

    fn try_from(minor: u32) -> Result<Self, Self::Error> {
        Self::of(minor).ok_or_else(|| format!("no tables of glibc 2.{minor}"))
    }
}

impl Table {
    /// The table of 2.`minor`; none before 2.26.
    #[must_use]
    pub fn of(minor: u32) -> Option<Self> {
        if minor < OLDEST {
            return None;
        }
        let (bins, fastbins, arena_bytes) = match minor {
            26 => (0x68, Some(0x8), 0x890),
            27..43 => (0x70, Some(0x10), 0x898),
            _ => (0x18, None, 0x840),
        };
        let (hp_pagesize, n_mmaps, no_dyn_threshold, mmapped_mem, sbrk_base) = match minor {
            ..35 => (None, 0x28, 0x34, 0x38, 0x48),
            35..43 => (Some(0x30), 0x3c, 0x48, 0x50, 0x60),
            _ => (Some(0x38), 0x44, 0x50, 0x58, 0x68),
        };
        let tcache = match minor {
            ..30 => Tcache {
                bins: 64,
                large_bins: 0,
                counter_bytes: 1,
                counts_up: true,
                entries: 0x40,
                chunk_bytes: 0x250,
            },
            30..42 => Tcache {
                bins: 64,
                large_bins: 0,
                counter_bytes: 2,
                counts_up: true,
                entries: 0x80,
                chunk_bytes: 0x290,
            },
            _ => Tcache {
                bins: 64,
                large_bins: 12,
                counter_bytes: 2,
                counts_up: false,
                entries: 0x98,
                chunk_bytes: 0x300,
            },
        };
        Some(Self {
            minor,
            bins,
            fastbins,
            arena_bytes,
            heap_info_bytes: if minor < 35 { 0x20 } else { 0x30 },
            hp_pagesize,
            n_mmaps,
            no_dyn_threshold,
            mmapped_mem,
            sbrk_base,
            tcache,
            safe_linking: minor >= 32,
            mapped_extra: if minor < 43 { 0 } else { 0x10 },
        })
    }

    /// The address behind a link stored at `place`.
    #[must_use]
    pub fn reveal(&self, place: usize, stored: u64) -> usize {
        if self.safe_linking { stored as usize ^ (place >> 12) } else { stored as usize }
    }
}

/// The minor version from the text that every glibc carries:
/// `GNU C Library (…) stable release version 2.36.`
#[must_use]
pub fn of_library(file: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"GNU C Library";
    const VERSION: &[u8] = b"version 2.";
    let at = find(file, NAME)?;
    let line = file[at..].split(|&byte| byte == b'\n' || byte == 0).next()?;
    let digits = &line[find(line, VERSION)? + VERSION.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_text() {
        let text = b"\0\x7fELF GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n";
        assert_eq!(of_library(text), Some(36));
        assert_eq!(of_library(b"musl libc"), None);
        assert_eq!(of_library(b"GNU C Library"), None);
    }

    #[test]
    fn the_tables_agree_with_what_never_changes() {
        for minor in OLDEST..=NEWEST {
            let table = Table::of(minor).unwrap();
            // next, next_free, attached, system_mem and its maximum close the struct.
            assert_eq!(table.arena_bytes, table.bins + 0x818 + 16, "2.{minor}");
            let lists = table.tcache.bins + table.tcache.large_bins;
            let end = table.tcache.entries + lists * 8;
            assert_eq!((end + 8 + 15) & !15, table.tcache.chunk_bytes, "2.{minor}");
        }
        assert_eq!(Table::of(25), None);
    }
}
