//! The kernel's own totals: `statm`, `status`, `smaps_rollup`, and `smaps` a mapping.

use serde::{Deserialize, Serialize};

use super::files::{read, read_text};
use crate::error::Error;

/// What the kernel says about a process as a whole, bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Its name (`comm`).
    pub name: String,
    /// RSS by the kernel's counters (`statm`). May lag by some pages before Linux 6.16.
    pub rss_statm: usize,
    /// RSS by the kernel's own page walk (`smaps_rollup`), where it may be read.
    pub rss_rollup: Option<usize>,
    /// Of it anonymous, by the counters.
    pub rss_anon: usize,
    /// Of it pages of files.
    pub rss_file: usize,
    /// Of it shared memory.
    pub rss_shmem: usize,
    /// Page tables.
    pub page_tables: usize,
    /// Swapped out.
    pub swap: usize,
    /// In huge pages set aside by the administrator: not part of the RSS.
    pub hugetlb: usize,
    /// Anonymous memory in transparent huge pages.
    pub anon_huge: usize,
    /// Threads.
    pub threads: usize,
}

/// RSS by the kernel's counters: one short file, for looks between looks.
///
/// # Errors
/// No such process.
pub fn rss(pid: u32, page_bytes: usize) -> Result<usize, Error> {
    let statm = read_text(pid, "statm")?;
    let pages: usize = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(pages.saturating_mul(page_bytes))
}

impl Figures {
    /// Reads what may be read; `smaps_rollup` needs more rights than the rest, and walks all
    /// pages: 15 ms a GiB.
    ///
    /// # Errors
    /// No such process, or `status` cannot be read.
    pub fn read(pid: u32, page_bytes: usize) -> Result<Self, Error> {
        let mut figures = Self::counters(pid, page_bytes)?;
        if let Ok(rollup) = read_text(pid, "smaps_rollup") {
            figures.rss_rollup = Some(kibibytes(&rollup, "Rss"));
            figures.anon_huge = kibibytes(&rollup, "AnonHugePages");
        }
        Ok(figures)
    }

    /// The kernel's counters alone, which cost no walk.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn counters(pid: u32, page_bytes: usize) -> Result<Self, Error> {
        let status = read_text(pid, "status")?;
        let kib = |name| kibibytes(&status, name);
        Ok(Self {
            name: field(&status, "Name").unwrap_or_default().to_owned(),
            rss_statm: rss(pid, page_bytes)?,
            rss_rollup: None,
            rss_anon: kib("RssAnon"),
            rss_file: kib("RssFile"),
            rss_shmem: kib("RssShmem"),
            page_tables: kib("VmPTE"),
            swap: kib("VmSwap"),
            hugetlb: kib("HugetlbPages"),
            anon_huge: 0,
            threads: field(&status, "Threads").and_then(|n| n.parse().ok()).unwrap_or(0),
        })
    }
}

/// When a process started, in clock ticks since boot: with its number, its identity.
///
/// # Errors
/// No such process.
pub fn start_time(pid: u32) -> Result<u64, Error> {
    stat(pid, 19)
}

/// Its page faults so far that needed no disk, all threads together.
///
/// # Errors
/// No such process.
pub fn faults(pid: u32) -> Result<u64, Error> {
    stat(pid, 7)
}

/// Its processor time so far, all threads together: in the program and in the kernel, nanoseconds.
///
/// # Errors
/// No such process.
pub fn processor_ns(pid: u32) -> Result<(u64, u64), Error> {
    // SAFETY: asks for a constant.
    let ticks_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let time = |place| Ok(stat(pid, place)?.saturating_mul(1_000_000_000 / ticks_a_second));
    Ok((time(11)?, time(12)?))
}

/// A number of `/proc/PID/stat`, counted from behind the name.
fn stat(pid: u32, place: usize) -> Result<u64, Error> {
    let stat = read_text(pid, "stat")?;
    // The name in parentheses may hold blanks and parentheses.
    let rest = stat.rfind(')').map_or("", |at| &stat[at + 1..]);
    let number = rest.split_whitespace().nth(place).and_then(|number| number.parse().ok());
    number.ok_or(Error::NoSuchProcess(pid))
}

/// The value of `name:` in a file of lines `name: value`.
#[must_use]
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The same where it is a number of kB, in bytes; 0 if it is not there.
#[must_use]
pub fn kibibytes(text: &str, name: &str) -> usize {
    field(text, name)
        .and_then(|value| value.split_whitespace().next()?.parse::<usize>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// What `smaps` says about one mapping, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingFigures {
    /// First address.
    pub start: usize,
    /// Resident.
    pub rss: usize,
    /// Resident and dirty, shared or not.
    pub dirty: usize,
    /// Swapped out.
    pub swap: usize,
    /// Pages of hugetlbfs, which no RSS counts.
    pub hugetlb: bool,
}

/// `smaps`, in address order.
///
/// # Errors
/// No such process, no permission.
pub fn smaps(pid: u32) -> Result<Vec<MappingFigures>, Error> {
    Ok(parse_smaps(&String::from_utf8_lossy(&read(pid, "smaps")?)))
}

fn parse_smaps(text: &str) -> Vec<MappingFigures> {
    let mut all: Vec<MappingFigures> = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let Some(key) = key.strip_suffix(':') else {
            let start =
                key.split_once('-').and_then(|(start, _)| usize::from_str_radix(start, 16).ok());
            if let Some(start) = start {
                all.push(MappingFigures { start, ..MappingFigures::default() });
            }
            continue;
        };
        let Some(last) = all.last_mut() else { continue };
        let bytes = || {
            let number = value.split_whitespace().next().and_then(|n| n.parse::<usize>().ok());
            number.unwrap_or(0).saturating_mul(1024)
        };
        match key {
            "Rss" => last.rss = bytes(),
            "Shared_Dirty" | "Private_Dirty" => last.dirty += bytes(),
            "Swap" => last.swap = bytes(),
            "VmFlags" => last.hugetlb = value.split_whitespace().any(|flag| flag == "ht"),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_is_read_a_mapping_at_a_time() {
        let text = "1000-2000 rw-p 0 0:0 0 [heap]\nRss:   4 kB\nShared_Dirty: 1 kB\nPrivate_Dirty: 3 kB\n\
                    VmFlags: rd wr ht\n5000-6000 r--p 0 0:0 0\nRss: 8 kB\n";
        assert_eq!(
            parse_smaps(text),
            [
                MappingFigures { start: 0x1000, rss: 4096, dirty: 4096, swap: 0, hugetlb: true },
                MappingFigures { start: 0x5000, rss: 8192, ..MappingFigures::default() },
            ]
        );
        assert!(parse_smaps("Rss: 4 kB\nnonsense\n\n").is_empty());
    }

    #[test]
    fn our_own_figures_are_there() {
        let own = Figures::read(std::process::id(), 4096).unwrap();
        assert!(own.rss_statm > 0 && own.rss_rollup.unwrap() > 0 && own.page_tables > 0);
        assert!(start_time(std::process::id()).unwrap() > 0);
        assert!(matches!(Figures::read(u32::MAX, 4096), Err(Error::NoSuchProcess(_))));
    }
}
