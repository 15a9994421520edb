//! Which pages of a process are resident: the moment that the account is of.
//!
//! Read before any memory, so that only present pages are ever touched: a read
//! of an untouched page would map the zero page into the target.
//!
//! Two ways to ask the kernel: the `PAGEMAP_SCAN` call (Linux 6.7, 3 to 14 ms a GiB,
//! tells the zero page apart), else a word a page from `/proc/PID/pagemap`.
//! A resident page here is one that the kernel counts in the RSS: present, not
//! the shared zero page, not of hugetlbfs.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{convert, open};
use super::maps::Mapping;
use crate::error::Error;
use crate::span::Span;
use crate::turns::{Turns, processors};

/// Resident pages in a row, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their addresses.
    pub span: Span,
    /// Pages of a file or of shared memory.
    pub of_file: bool,
    /// Inside a huge page.
    pub huge: bool,
}

/// The resident pages of a process, in address order. A clone shares them; each thread has its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Listed", try_from = "Listed")]
pub struct Pages {
    page_bytes: usize,
    runs: Arc<[Run]>,
    /// Resident bytes before each run, and in all.
    before: Arc<[usize]>,
    /// The run that was asked about last: walks go upwards.
    cursor: Cell<usize>,
    zero_pages_told: bool,
}

/// As a snapshot has it: of each run the pages left out before it, its pages, and its kind.
#[derive(Serialize, Deserialize)]
struct Listed {
    page_bytes: usize,
    zero_pages_told: bool,
    runs: Vec<(usize, usize, u8)>,
}

const LISTED_FILE: u8 = 1;
const LISTED_HUGE: u8 = 2;
/// Sizes of pages that are believed.
const LISTED_PAGE_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 21;

impl From<Pages> for Listed {
    fn from(pages: Pages) -> Self {
        let mut end = 0;
        let runs = pages.runs.iter().map(|run| {
            let skipped = (run.span.start - end) / pages.page_bytes;
            end = run.span.end;
            let kind = u8::from(run.of_file) * LISTED_FILE + u8::from(run.huge) * LISTED_HUGE;
            (skipped, run.span.bytes() / pages.page_bytes, kind)
        });
        Self {
            runs: runs.collect(),
            page_bytes: pages.page_bytes,
            zero_pages_told: pages.zero_pages_told,
        }
    }
}

impl TryFrom<Listed> for Pages {
    type Error = String;

    fn try_from(listed: Listed) -> Result<Self, Self::Error> {
        let page_bytes = listed.page_bytes;
        if !page_bytes.is_power_of_two() || !LISTED_PAGE_BYTES.contains(&page_bytes) {
            return Err(format!("pages of {page_bytes} bytes"));
        }
        let mut end = 0usize;
        let mut runs = Vec::with_capacity(listed.runs.len());
        for (skipped, pages, kind) in listed.runs {
            let behind = |start: usize, pages: usize| {
                start.checked_add(pages.checked_mul(page_bytes)?).filter(|&end| end <= LISTED_END)
            };
            let start = behind(end, skipped).ok_or("a page beyond user space")?;
            end = behind(start, pages).ok_or("a page beyond user space")?;
            let (of_file, huge) = (kind & LISTED_FILE != 0, kind & LISTED_HUGE != 0);
            push(&mut runs, Run { span: Span::new(start, end), of_file, huge });
        }
        Ok(Self::from_runs(page_bytes, runs, listed.zero_pages_told))
    }
}

/// Where user space ends on the largest machines (57-bit addresses).
const LISTED_END: usize = 1 << 57;

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
const PAGE_IS_HUGE: u64 = 1 << 6;
/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
/// Regions a call.
const SCAN_REGIONS: usize = 8192;
/// What one thread looks at before it takes the next piece, at least, and pieces in all but for the
/// borders of mappings.
const PIECE_BYTES: usize = 128 << 20;
const MOST_PIECES: usize = 128;
/// Where user space ends (48-bit addresses).
const USER_END: usize = (1 << 47) - 4096;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const _: () = assert!(size_of::<ScanArgument>() == 96);

impl Pages {
    /// Looks at all pages of a process. `maps` bounds the slower way.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn of(pid: u32, maps: &[Mapping], page_bytes: usize) -> Result<Self, Error> {
        let file = open(pid, "pagemap")?;
        let (mut regions, mut runs) = (vec![Region::default(); SCAN_REGIONS], Vec::new());
        match scan(&file, Span::new(0, USER_END), &mut regions, &mut runs) {
            Ok(()) => Ok(Self::from_runs(page_bytes, runs, true)),
            Err(error) if is_unknown(&error) => read_words(&file, maps, page_bytes)
                .map(|runs| Self::from_runs(page_bytes, runs, false))
                .map_err(|error| convert(pid, "pagemap", error)),
            Err(error) => Err(convert(pid, "pagemap", error)),
        }
    }

    /// Looks at the pages in `spans`, which are in address order, and no others; none on a kernel
    /// without the call. Long ones are looked at by several threads.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn runs_of(pid: u32, spans: &[Span]) -> Result<Option<Vec<Run>>, Error> {
        let file = open(pid, "pagemap")?;
        let bytes: usize = spans.iter().map(|span| span.bytes()).sum();
        let threads = if bytes < 2 * PIECE_BYTES { 1 } else { processors() };
        // What is reserved may be thousands of times what is there.
        let piece_bytes = (bytes / MOST_PIECES).next_multiple_of(PIECE_BYTES).max(PIECE_BYTES);
        let pieces: Vec<Span> = spans.iter().flat_map(|span| span.pieces(piece_bytes)).collect();
        let turns = &Turns::new(pieces.len());
        let look = || -> io::Result<Vec<(usize, Vec<Run>)>> {
            let mut regions = vec![Region::default(); SCAN_REGIONS];
            turns
                .map(|piece| {
                    let mut runs = Vec::new();
                    scan(&file, pieces[piece], &mut regions, &mut runs)?;
                    Ok((piece, runs))
                })
                .collect()
        };
        let found = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(look)).collect();
            let mut found = look()?;
            for other in others {
                found.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(found)
        });
        match found {
            Ok(mut found) => {
                found.sort_unstable_by_key(|(piece, _)| *piece);
                let mut whole = Vec::new();
                found.into_iter().flat_map(|(_, runs)| runs).for_each(|run| push(&mut whole, run));
                Ok(Some(whole))
            }
            Err(error) if is_unknown(&error) => Ok(None),
            Err(error) => Err(convert(pid, "pagemap", error)),
        }
    }

    /// Joins what two looks have found; where they overlap the second one counts for nothing.
    #[must_use]
    pub fn joined(page_bytes: usize, mut runs: Vec<Run>, more: Vec<Run>) -> Self {
        runs.extend(more);
        runs.sort_by_key(|run| run.span);
        let mut whole = Vec::with_capacity(runs.len());
        let mut end = 0;
        for run in runs {
            let span = Span::new(run.span.start.max(end), run.span.end);
            end = end.max(span.end);
            push(&mut whole, Run { span, ..run });
        }
        Self::from_runs(page_bytes, whole, true)
    }

    /// Takes a list of runs in address order.
    #[must_use]
    pub fn from_runs(page_bytes: usize, runs: Vec<Run>, zero_pages_told: bool) -> Self {
        let mut sum = 0;
        let mut before = Vec::with_capacity(runs.len() + 1);
        before.push(0);
        before.extend(runs.iter().map(|run| {
            sum += run.span.bytes();
            sum
        }));
        Self {
            page_bytes,
            runs: runs.into(),
            before: before.into(),
            cursor: Cell::new(0),
            zero_pages_told,
        }
    }

    /// The same without what lies in `spans`, which are in address order: pages of hugetlbfs.
    #[must_use]
    pub fn without(self, spans: &[Span]) -> Self {
        if spans.is_empty() {
            return self;
        }
        let outside = |run: &Run| !spans.iter().any(|span| span.covers(run.span));
        let runs = self.runs.iter().copied().filter(outside).collect();
        Self::from_runs(self.page_bytes, runs, self.zero_pages_told)
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Whether shared zero pages could be told from others (they are not in the RSS).
    #[must_use]
    pub fn zero_pages_told(&self) -> bool {
        self.zero_pages_told
    }

    /// All resident bytes: the RSS.
    #[must_use]
    pub fn total(&self) -> usize {
        self.before.last().copied().unwrap_or(0)
    }

    /// The resident bytes of `span`. O(log runs); O(1) where the last question was.
    #[must_use]
    pub fn resident(&self, span: Span) -> usize {
        if span.bytes() == 0 {
            return 0;
        }
        if let Some(run) = self.runs.get(self.cursor.get())
            && run.span.covers(span)
        {
            return span.bytes();
        }
        let first = self.first_behind(span.start);
        let end = self.runs.partition_point(|run| run.span.start < span.end);
        if first >= end {
            return 0;
        }
        self.cursor.set(end - 1);
        let whole = self.before[end] - self.before[first];
        let cut = |run: Run| run.span.bytes() - run.span.overlap(span).bytes();
        let cut_left = cut(self.runs[first]);
        let cut_right = if end - first > 1 { cut(self.runs[end - 1]) } else { 0 };
        whole - cut_left - cut_right
    }

    /// Bytes of anonymous memory in huge pages.
    #[must_use]
    pub fn huge_anonymous(&self) -> usize {
        let huge = self.runs.iter().filter(|run| run.huge && !run.of_file);
        huge.map(|run| run.span.bytes()).sum()
    }

    /// Whether the page at `address` is resident.
    #[must_use]
    pub fn is_resident(&self, address: usize) -> bool {
        self.resident(Span::new(address, address.saturating_add(1))) == 1
    }

    /// The runs that reach into `span`, cut to it.
    pub fn runs_in(&self, span: Span) -> impl Iterator<Item = Run> + '_ {
        let first = self.first_behind(span.start);
        self.runs[first..]
            .iter()
            .take_while(move |run| run.span.start < span.end)
            .map(move |run| Run { span: run.span.overlap(span), ..*run })
    }

    /// Where the resident pages in a row from `address` on, which is resident, end.
    #[must_use]
    pub fn run_end(&self, address: usize) -> usize {
        self.runs.get(self.first_behind(address)).map_or(address, |run| run.span.end)
    }

    /// Index of the first run that does not end at or below `address`.
    fn first_behind(&self, address: usize) -> usize {
        self.runs.partition_point(|run| run.span.end <= address)
    }
}

/// Appends, joined to the last run where nothing differs.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && last.span.end == run.span.start
        && (last.of_file, last.huge) == (run.of_file, run.huge)
    {
        last.span.end = run.span.end;
    } else if run.span.bytes() > 0 {
        runs.push(run);
    }
}

/// The kernel does not know the call.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL))
}

/// Whether there is a present page in `span`; stops at the first one.
pub(super) fn has_any(file: &File, span: Span) -> io::Result<bool> {
    let mut region = Region::default();
    let mut argument = ScanArgument {
        max_pages: 1,
        ..argument_for(span.start as u64, span.end as u64, std::slice::from_mut(&mut region))
    };
    // SAFETY: the argument has the size that it names, and `vec` points to one region of ours.
    let filled = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
    if filled < 0 { Err(io::Error::last_os_error()) } else { Ok(filled > 0) }
}

fn argument_for(start: u64, end: u64, regions: &mut [Region]) -> ScanArgument {
    ScanArgument {
        size: size_of::<ScanArgument>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr().expose_provenance() as u64,
        vec_len: regions.len() as u64,
        category_mask: PAGE_IS_PRESENT,
        return_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO | PAGE_IS_HUGE,
        ..ScanArgument::default()
    }
}

/// Asks for all present pages of `span`, so many at a time as there are `regions`; ENOTTY before
/// Linux 6.7.
fn scan(file: &File, span: Span, regions: &mut [Region], runs: &mut Vec<Run>) -> io::Result<()> {
    let end = span.end.min(USER_END) as u64;
    let mut start = span.start as u64;
    while start < end {
        let mut argument = argument_for(start, end, regions);
        // SAFETY: the argument has the size that it names, and `vec` points to
        // `vec_len` regions of ours that the kernel may write.
        let filled = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
        let Ok(filled) = usize::try_from(filled) else {
            return Err(io::Error::last_os_error());
        };
        for region in regions.iter().take(filled) {
            if region.categories & PAGE_IS_PFNZERO == 0 {
                push(
                    runs,
                    Run {
                        span: Span::new(region.start as usize, region.end as usize),
                        of_file: region.categories & PAGE_IS_FILE != 0,
                        huge: region.categories & PAGE_IS_HUGE != 0,
                    },
                );
            }
        }
        // The kernel's `walk_end` is stale where its own buffer filled up on the way
        // (as of Linux 6.18), so go on behind the last region, while there may be more.
        match regions.get(filled.wrapping_sub(1)) {
            Some(last) if filled == regions.len() && last.end > start => start = last.end,
            _ => break,
        }
    }
    Ok(())
}

/// The same from the words of the file, mapping by mapping.
///
/// A zero page looks like any shared anonymous page there.
fn read_words(file: &File, maps: &[Mapping], page_bytes: usize) -> io::Result<Vec<Run>> {
    const PRESENT: u64 = 1 << 63;
    const OF_FILE: u64 = 1 << 61;
    let mut buffer = vec![0u8; 64 << 10];
    let mut runs = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.span.end <= USER_END) {
        let mut address = mapping.span.start;
        while address < mapping.span.end {
            let wanted = ((mapping.span.end - address) / page_bytes * 8).min(buffer.len());
            let got = file.read_at(&mut buffer[..wanted], (address / page_bytes * 8) as u64)?;
            if got < 8 {
                break;
            }
            for word in buffer[..got].chunks_exact(8) {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if word & PRESENT != 0 {
                    let span = Span::new(address, address + page_bytes);
                    push(&mut runs, Run { span, of_file: word & OF_FILE != 0, huge: false });
                }
                address += page_bytes;
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::super::maps;
    use super::*;

    fn run(start: usize, end: usize) -> Run {
        Run { span: Span::new(start, end), of_file: false, huge: false }
    }

    #[test]
    fn resident_bytes_are_those_of_a_naive_count() {
        let runs = vec![run(0x1000, 0x3000), run(0x5000, 0x6000), run(0x6000, 0x9000)];
        let pages = Pages::from_runs(4096, runs.clone(), true);
        assert_eq!(pages.total(), 0x6000);
        for start in (0..0xa000).step_by(0x400) {
            for end in (start..0xa000).step_by(0x300) {
                let span = Span::new(start, end);
                let naive: usize = runs.iter().map(|run| run.span.overlap(span).bytes()).sum();
                assert_eq!(pages.resident(span), naive, "{span:?}");
                let listed: usize = pages.runs_in(span).map(|run| run.span.bytes()).sum();
                assert_eq!(listed, naive, "{span:?}");
            }
        }
    }

    #[test]
    fn two_looks_are_joined_and_counted_once() {
        let pages = Pages::joined(
            4096,
            vec![run(0x5000, 0x6000), run(0x9000, 0xb000)],
            vec![run(0x1000, 0x3000), run(0x6000, 0x7000), run(0xa000, 0xc000)],
        );
        assert_eq!(pages.total(), 0x7000);
        assert_eq!(pages.resident(Span::new(0x9000, 0xc000)), 0x3000);
    }

    #[test]
    fn many_regions_are_seen_once() {
        const PAGES: usize = 80_000;
        // SAFETY: a fresh mapping of our own.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(
                std::ptr::null_mut(),
                PAGES * 4096,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        for page in (0..PAGES).step_by(2) {
            // SAFETY: inside that mapping.
            unsafe { start.cast::<u8>().add(page * 4096).write(1) };
        }
        let file = open(std::process::id(), "pagemap").unwrap();
        let (mut regions, mut runs) = (vec![Region::default(); SCAN_REGIONS], Vec::new());
        let Ok(()) = scan(&file, Span::new(0, USER_END), &mut regions, &mut runs) else { return };
        assert!(runs.is_sorted_by(|a, b| a.span.end <= b.span.start));
        let span = Span::new(start.addr(), start.addr() + PAGES * 4096);
        // Long enough for several threads.
        assert!(span.bytes() >= 2 * PIECE_BYTES);
        let among = |runs: &[Run]| -> Vec<Run> {
            runs.iter().copied().filter(|run| span.covers(run.span)).collect()
        };
        let in_pieces = Pages::runs_of(std::process::id(), &[span]).unwrap().unwrap();
        assert_eq!(in_pieces, among(&runs));
        assert_eq!(Pages::from_runs(4096, runs, true).resident(span), PAGES / 2 * 4096);
        // SAFETY: as above, used no more.
        unsafe { libc::munmap(start, PAGES * 4096) };
    }

    #[test]
    fn both_ways_see_what_this_process_touched() {
        let block = vec![1u8; 64 * 4096];
        let start = block.as_ptr().addr();
        let span = Span::new(start, start + block.len());
        let pid = std::process::id();
        let maps = maps::of(pid).unwrap();
        let file = open(pid, "pagemap").unwrap();
        let slow = Pages::from_runs(4096, read_words(&file, &maps, 4096).unwrap(), false);
        assert_eq!(slow.resident(span), span.bytes());
        let (mut regions, mut runs) = (vec![Region::default(); SCAN_REGIONS], Vec::new());
        if scan(&file, Span::new(0, USER_END), &mut regions, &mut runs).is_ok() {
            assert_eq!(Pages::from_runs(4096, runs, true).resident(span), span.bytes());
        }
        drop(block);
    }
}
