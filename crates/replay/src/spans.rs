//! Which of a program's pages are its malloc's: those of the break, and of the mappings that the
//! malloc asked for. A program may have far more of its own, a garbage collector for one.

use std::sync::{Arc, Mutex, PoisonError};

use heapwise_inspect::process::maps::{self, Mapping};
use heapwise_inspect::process::pages::Pages;
use heapwise_inspect::span::Span;
use heapwise_inspect::survey::page_bytes;

/// The mappings of a malloc, as they come and go. A clone is the same one.
#[derive(Clone, Default)]
pub struct Spans(Arc<Mutex<Vec<Span>>>);

impl Spans {
    /// A mapping was made.
    pub fn add(&self, span: Span) {
        self.with(|spans| spans.push(span));
    }

    /// What lies there is no longer mapped.
    pub fn remove(&self, gone: Span) {
        self.with(|spans| {
            let left = |span: &Span| {
                let before = Span::new(span.start, gone.start.min(span.end));
                let behind = Span::new(gone.end.max(span.start), span.end);
                [before, behind].into_iter().filter(|part| part.bytes() > 0)
            };
            *spans = spans.iter().flat_map(left).collect();
        });
    }

    /// Another program runs now.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// Bytes of them, and of the break, that are in memory; `None` if the process cannot be looked at.
    pub fn resident(&self, pid: u32) -> Option<u64> {
        let spans = self.with(|spans| spans.clone());
        let mut parts: Vec<Mapping> = Vec::new();
        for mapping in maps::of(pid).ok()? {
            if mapping.is_break() {
                parts.push(mapping);
            } else if mapping.is_anonymous() {
                // The kernel makes one of two mappings side by side, whoever asked for them.
                let common = spans.iter().map(|span| span.overlap(mapping.span));
                let part = |span| Mapping { span, ..mapping.clone() };
                parts.extend(common.filter(|span| span.bytes() > 0).map(part));
            }
        }
        parts.sort_unstable_by_key(|part| part.span.start);
        let pages = Pages::of(pid, &parts, page_bytes()).ok()?;
        Some(parts.iter().map(|part| pages.resident(part.span) as u64).sum())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Span>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unmapped_leaves_the_rest() {
        let spans = Spans::default();
        spans.add(Span::new(100, 200));
        spans.add(Span::new(300, 400));
        spans.remove(Span::new(150, 160));
        spans.remove(Span::new(190, 310));
        spans.remove(Span::new(500, 600));
        let left = spans.with(|spans| spans.clone());
        assert_eq!(left, [Span::new(100, 150), Span::new(160, 190), Span::new(310, 400)]);
    }

    #[test]
    fn only_touched_pages_of_these_mappings_count() {
        let page = |count: usize| count * page_bytes();
        let map = || {
            // SAFETY: a new private mapping.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    page(16),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(start, libc::MAP_FAILED);
            start.cast::<u8>()
        };
        let (heaps, others) = (map(), map());
        let spans = Spans::default();
        let before = spans.resident(std::process::id()).expect("our own pages");
        let start = heaps.addr();
        spans.add(Span::new(start, start + page(16)));
        for index in 0..5 {
            // SAFETY: both mappings are this test's, and longer.
            unsafe {
                heaps.add(page(2 * index)).write_volatile(1);
                others.add(page(index)).write_volatile(1);
            }
        }
        let with = spans.resident(std::process::id()).expect("our own pages");
        spans.clear();
        let without = spans.resident(std::process::id()).expect("our own pages");
        // The break may have moved meanwhile: other tests allocate.
        let slack = 1 << 20;
        assert!(with.abs_diff(before + page(5) as u64) < slack, "{before} {with}");
        assert!(with >= without.saturating_sub(slack), "{with} {without}");
        // SAFETY: both are still mapped, and nobody uses them.
        unsafe {
            libc::munmap(heaps.cast(), page(16));
            libc::munmap(others.cast(), page(16));
        }
    }
}
