//! Which pages a core file holds, and which of them are not all zero.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::Segment;
use super::elf::Load;
use crate::process::pages::{Pages, Run};
use crate::span::Span;

/// Where user space ends on the largest machines (57-bit addresses).
const USER_END: u64 = 1 << 57;
/// So much is looked at in one go.
const STRETCH_BYTES: usize = 1 << 20;

/// The segments in address order, whole pages that the file of `length` bytes really has; and
/// how many bytes it lacks.
pub fn segments(
    loads: &[Load],
    length: u64,
    page_bytes: usize,
) -> Result<(Vec<Segment>, u64), String> {
    let mut segments = Vec::new();
    let mut missing = 0;
    for load in loads {
        let end = load.start.checked_add(load.memory_bytes.max(load.file_bytes));
        // The vsyscall page lies above user space, and is nobody's memory.
        if load.start >= USER_END {
            continue;
        }
        if end.is_none_or(|end| end > USER_END) || !load.start.is_multiple_of(page_bytes as u64) {
            return Err(format!(
                "a segment at {:#x} of {:#x} bytes",
                load.start, load.memory_bytes
            ));
        }
        let there = length.saturating_sub(load.offset).min(load.file_bytes);
        missing += load.file_bytes - there;
        let start = load.start as usize;
        let span = Span::new(start, start + there as usize / page_bytes * page_bytes);
        if span.bytes() > 0 {
            segments.push(Segment { span, offset: load.offset });
        }
    }
    segments.sort_by_key(|segment| segment.span.start);
    if !segments.is_sorted_by(|a, b| a.span.end <= b.span.start) {
        return Err("its segments overlap".into());
    }
    Ok((segments, missing))
}

/// All pages of the segments.
pub fn held(segments: &[Segment], page_bytes: usize) -> Pages {
    let run = |segment: &Segment| Run { span: segment.span, of_file: false, huge: false };
    Pages::from_runs(page_bytes, segments.iter().map(run).collect(), true)
}

/// The pages that are not all zero. Holes of a sparse file are not even read.
pub fn filled(file: &File, segments: &[Segment], page_bytes: usize) -> io::Result<Pages> {
    let mut runs: Vec<Run> = Vec::new();
    let mut buffer = vec![0; STRETCH_BYTES];
    for segment in segments {
        let mut at = segment.span.start;
        while at < segment.span.end {
            let offset = segment.offset + (at - segment.span.start) as u64;
            // On with the page that holds the next data.
            let skipped = next_data(file, offset).map_or(usize::MAX, |data| {
                usize::try_from(data - offset).unwrap_or(usize::MAX) / page_bytes * page_bytes
            });
            if skipped > 0 {
                at = at.saturating_add(skipped);
                continue;
            }
            let length = STRETCH_BYTES.min(segment.span.end - at);
            file.read_exact_at(&mut buffer[..length], offset)?;
            for (index, page) in buffer[..length].chunks(page_bytes).enumerate() {
                if !is_zero(page) {
                    let start = at + index * page_bytes;
                    push(&mut runs, Span::new(start, start + page_bytes));
                }
            }
            at += length;
        }
    }
    Ok(Pages::from_runs(page_bytes, runs, true))
}

fn push(runs: &mut Vec<Run>, span: Span) {
    match runs.last_mut() {
        Some(last) if last.span.end == span.start => last.span.end = span.end,
        _ => runs.push(Run { span, of_file: false, huge: false }),
    }
}

fn is_zero(page: &[u8]) -> bool {
    // By blocks: the compiler makes wide compares of them.
    page.chunks(64).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Where the next data are at or behind `offset`; `None` if there are none. A file system that
/// knows no holes says `offset`.
fn next_data(file: &File, offset: u64) -> Option<u64> {
    let Ok(from) = libc::off_t::try_from(offset) else { return None };
    // SAFETY: takes numbers; the position of this descriptor is used by nobody.
    let data = unsafe { libc::lseek(file.as_raw_fd(), from, libc::SEEK_DATA) };
    match u64::try_from(data) {
        Ok(data) => Some(data.max(offset)),
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => None,
        Err(_) => Some(offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load(start: u64, file_bytes: u64, offset: u64) -> Load {
        Load { start, memory_bytes: file_bytes, file_bytes, offset, flags: 6 }
    }

    #[test]
    fn segments_are_what_the_file_has() {
        let loads = [load(0x9000, 0x3000, 0x1000), load(0x1000, 0x1000, 0)];
        let (found, missing) = segments(&loads, 0x2800, 4096).unwrap();
        let spans: Vec<_> = found.iter().map(|segment| segment.span).collect();
        assert_eq!(spans, [Span::new(0x1000, 0x2000), Span::new(0x9000, 0xa000)]);
        assert_eq!(missing, 0x1800);
        for bad in [load(0x1001, 4096, 0), load(u64::MAX / 2 - 4095, 4096, 0), load(0, 1 << 58, 0)]
        {
            let found = segments(&[bad], 0x2000, 4096);
            assert!(found.is_err() || found.is_ok_and(|(all, _)| all.is_empty()), "{bad:?}");
        }
        assert!(segments(&[load(0, 0x2000, 0), load(0x1000, 0x1000, 0)], 0x2000, 4096).is_err());
    }

    #[test]
    fn pages_of_zeros_are_not_counted_written_or_not() {
        let path = std::env::temp_dir().join(format!("heapwise-filled-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        file.write_all(&[0; 4096]).unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.set_len(4096 * 600).unwrap();
        file.write_all_at(&[2; 1], 4096 * 500 + 17).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let all = [Segment { span: Span::new(0x1000, 0x1000 + 4096 * 600), offset: 0 }];
        let pages = filled(&file, &all, 4096).unwrap();
        assert_eq!(pages.total(), 2 * 4096);
        assert!(pages.is_resident(0x2000) && pages.is_resident(0x1000 + 4096 * 500));
        assert_eq!(held(&all, 4096).total(), 4096 * 600);
    }
}
