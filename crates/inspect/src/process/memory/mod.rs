//! The memory of another process, or of one that left a core file, present pages only,
//! as a walk needs it.
//!
//! ```text
//! dense:   ……│ window │ window │ window │   256 KiB each, where a walk touches much of them
//! sparse:  ···│line│······│line│·········   256 bytes each, where a walk leaps from header to header
//! ```
//! A walk that touches much of a window gets whole windows: one system call serves some
//! thousand chunks. One that touches little, since chunks are large or a list
//! jumps about, gets lines. Nothing is stopped: what two reads see may differ, and
//! callers must bear it. What is kept does not grow with the heap.

mod source;

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

use heapwise_layout::walk::Read;

pub use self::source::Opened;
use self::source::Source;
use super::pages::Pages;
use crate::corefile::Core;
use crate::error::Error;
use crate::span::Span;

const WINDOW_BYTES: usize = 256 << 10;
/// Windows kept: a walk and the lists beside it.
const SLOTS: usize = 16;
/// A walk alone; what it reads stays in the processor's second cache.
const TWIN_SLOTS: usize = 2;
const LINE_BYTES: usize = 256;
const LINES: usize = 1024;
/// So many lines of one window cost as much as the whole window.
const FEW_LINES: usize = 20;

/// Memory with the state of its pages: a process's, or an image of one in a test.
pub trait Image: Read {
    /// Which pages are resident; only those can be read.
    fn pages(&self) -> &Pages;

    /// The memory that another thread may read as well, if there is such.
    fn opened(&self) -> Option<Arc<Opened>> {
        None
    }

    /// Lends the memory from `address` on, as far as it can be had without another read; `look` says
    /// how many words of it were of use.
    fn lend(&self, address: usize, look: impl FnOnce(&[u8]) -> usize) {
        let _ = (address, look);
    }

    /// The first two words at each address; `None` for what cannot be read. The
    /// addresses are multiples of 16.
    fn heads(&self, addresses: &[usize]) -> Vec<Option<(u64, u64)>> {
        let head = |&address: &usize| Some((self.word(address)?, self.word(address + 8)?));
        addresses.iter().map(head).collect()
    }
}

/// Memory of a process, with the page state that tells what may be read.
pub struct Memory<'a> {
    source: Source<'a>,
    pages: &'a Pages,
    /// What can be read: of a live process what is resident.
    readable: &'a Pages,
    windows: RefCell<Vec<Window>>,
    near: Near,
    course: RefCell<Course>,
    calls: Cell<usize>,
}

/// How the reading goes, and the lines that were read.
struct Course {
    lines: Vec<Line>,
    /// The line that the last word was in.
    line: usize,
    /// The window that it was in, and how often another line of it was asked for.
    base: usize,
    hops: usize,
    is_sparse: bool,
}

/// Some of a process's memory.
struct Window {
    base: usize,
    /// Bit `i`: page `i` of the window was read.
    valid: u64,
    bytes: Box<[u8]>,
}

/// Words of a window that can be had without asking: those around the last one.
#[derive(Default)]
struct Near {
    start: Cell<usize>,
    words: Cell<usize>,
    slot: Cell<usize>,
    /// How many were had.
    hits: Cell<usize>,
}

#[derive(Clone)]
struct Line {
    number: usize,
    is_valid: bool,
    bytes: [u8; LINE_BYTES],
}

/// No window or line stands there.
const NOWHERE: usize = usize::MAX;

fn no_windows(slots: usize) -> Vec<Window> {
    let window =
        || Window { base: NOWHERE, valid: 0, bytes: vec![0; WINDOW_BYTES].into_boxed_slice() };
    (0..slots).map(|_| window()).collect()
}

impl Course {
    fn new() -> Self {
        Self {
            lines: vec![Line { number: NOWHERE, is_valid: false, bytes: [0; LINE_BYTES] }; LINES],
            line: NOWHERE,
            base: NOWHERE,
            hops: 0,
            is_sparse: true,
        }
    }

    /// Another line is asked for: which way does the walk go?
    fn hop(&mut self, base: usize) {
        if base != self.base {
            self.is_sparse = self.hops < FEW_LINES;
            self.base = base;
            self.hops = 0;
        }
        self.hops += 1;
        self.is_sparse &= self.hops < FEW_LINES;
    }
}

impl<'a> Memory<'a> {
    /// Memory of `pid`.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn open(pid: u32, pages: &'a Pages) -> Result<Self, Error> {
        Ok(Self::new(Source::Process(Arc::new(Opened::of(pid)?)), pages, pages, SLOTS))
    }

    /// Memory of `pid` as `copy` has it, a process that has it all but what lies in `lacking`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_copy(
        pid: u32,
        copy: u32,
        lacking: Vec<Span>,
        pages: &'a Pages,
    ) -> Result<Self, Error> {
        let opened = Opened::of(copy)?.beside(pid, lacking)?;
        Ok(Self::new(Source::Process(Arc::new(opened)), pages, pages, SLOTS))
    }

    /// Memory as a core file has it; `pages` are those of the account.
    #[must_use]
    pub fn of_core(core: &'a Core, pages: &'a Pages) -> Self {
        Self::new(Source::Core(core), pages, core.held(), SLOTS)
    }

    /// The same once more, for a thread that walks straight on.
    #[must_use]
    pub fn twin(opened: Arc<Opened>, pages: &'a Pages) -> Self {
        Self::new(Source::Process(opened), pages, pages, TWIN_SLOTS)
    }

    fn new(source: Source<'a>, pages: &'a Pages, readable: &'a Pages, slots: usize) -> Self {
        Self {
            source,
            pages,
            readable,
            windows: RefCell::new(no_windows(slots)),
            near: Near::default(),
            course: RefCell::new(Course::new()),
            calls: Cell::new(0),
        }
    }

    /// The page state that goes with the memory.
    #[must_use]
    pub fn pages(&self) -> &'a Pages {
        self.pages
    }

    /// Forgets what was read, for another look.
    pub fn forget(&self) {
        let mut windows = self.windows.borrow_mut();
        *windows = no_windows(windows.len());
        *self.course.borrow_mut() = Course::new();
        self.near.words.set(0);
    }

    /// System calls so far that read memory.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Copies memory without keeping it; `None` unless all of it is resident and readable.
    #[must_use]
    pub fn copy(&self, span: Span) -> Option<Vec<u8>> {
        if self.readable.resident(span) != span.bytes() {
            return None;
        }
        let mut bytes = vec![0; span.bytes()];
        let got = self.transfer(&[span], &mut bytes).ok()?;
        (got == bytes.len()).then_some(bytes)
    }

    /// Fills a window from its resident pages.
    fn fill(&self, window: &mut Window, base: usize) {
        let read = |span, into: &mut [u8]| self.source.read(&[span], into);
        let page_bytes = self.pages.page_bytes();
        window.base = base;
        window.valid = read_window(read, base, &self.wanted(base), page_bytes, &mut window.bytes);
        self.calls.set(self.calls.get() + 1);
    }

    /// A word that is not near the last one.
    #[cold]
    fn far_word(&self, address: usize) -> Option<u64> {
        if !address.is_multiple_of(8) {
            return None;
        }
        let base = address & !(WINDOW_BYTES - 1);
        let course = &mut *self.course.borrow_mut();
        course.hops += self.near.hits.take();
        let line = address / LINE_BYTES;
        if line != course.line {
            course.line = line;
            course.hop(base);
        }
        let mut windows = self.windows.borrow_mut();
        let slot = address / WINDOW_BYTES % windows.len();
        let window = &mut windows[slot];
        if window.base != base {
            if course.is_sparse {
                return self.sparse_word(course, address);
            }
            self.near.words.set(0);
            self.fill(window, base);
        }
        let offset = address - base;
        let page_bytes = self.pages.page_bytes();
        let page = offset / page_bytes;
        if window.valid >> page & 1 == 0 {
            return None;
        }
        // The pages in a row around it that were read.
        let above = (window.valid >> page).trailing_ones() as usize;
        let below = (window.valid << (u64::BITS as usize - 1 - page)).leading_ones() as usize;
        self.near.start.set(base + (page + 1 - below) * page_bytes);
        self.near.words.set((above + below - 1) * page_bytes / 8);
        self.near.slot.set(slot);
        word_at(&window.bytes, offset)
    }

    /// The resident parts of a window.
    fn wanted(&self, base: usize) -> Vec<Span> {
        let span = Span::new(base, base.saturating_add(WINDOW_BYTES));
        self.readable.runs_in(span).map(|run| run.span).collect()
    }

    /// The word at an address in a line of its own.
    fn sparse_word(&self, course: &mut Course, address: usize) -> Option<u64> {
        let number = address / LINE_BYTES;
        let line = &mut course.lines[number % LINES];
        if line.number != number {
            let start = number * LINE_BYTES;
            line.number = number;
            line.is_valid = self.readable.is_resident(start)
                && self
                    .transfer(&[Span::new(start, start + LINE_BYTES)], &mut line.bytes)
                    .is_ok_and(|got| got == LINE_BYTES);
        }
        if !line.is_valid {
            return None;
        }
        word_at(&line.bytes, address % LINE_BYTES)
    }

    /// Reads the spans one behind the other; the bytes read.
    fn transfer(&self, spans: &[Span], into: &mut [u8]) -> io::Result<usize> {
        self.calls.set(self.calls.get() + 1);
        self.source.read(spans, into)
    }
}

fn word_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

/// Reads the wanted parts of a window; bit `i` is set for each page `i` that was read.
fn read_window(
    read: impl Fn(Span, &mut [u8]) -> io::Result<usize>,
    base: usize,
    wanted: &[Span],
    page_bytes: usize,
    bytes: &mut [u8],
) -> u64 {
    let mut valid = 0;
    for &part in wanted {
        let mut span = part;
        // A page may have gone since: the read ends before it, and goes on behind it.
        while span.bytes() > 0 {
            let target = &mut bytes[span.start - base..span.end - base];
            let got = read(span, target).unwrap_or(0) / page_bytes * page_bytes;
            for page in (span.start - base) / page_bytes..(span.start - base + got) / page_bytes {
                valid |= 1 << page;
            }
            span = Span::new(span.start + got + page_bytes, span.end);
        }
    }
    valid
}

impl Image for Memory<'_> {
    fn pages(&self) -> &Pages {
        self.pages
    }

    fn opened(&self) -> Option<Arc<Opened>> {
        match &self.source {
            Source::Process(opened) => Some(opened.clone()),
            Source::Core(_) => None,
        }
    }

    #[inline]
    fn lend(&self, address: usize, look: impl FnOnce(&[u8]) -> usize) {
        let near = &self.near;
        let place = address.wrapping_sub(near.start.get()).rotate_right(3);
        let words = near.words.get();
        if place >= words {
            return;
        }
        let from = address % WINDOW_BYTES;
        let windows = self.windows.borrow();
        let lent = windows[near.slot.get()].bytes.get(from..from + (words - place) * 8);
        near.hits.set(near.hits.get() + lent.map_or(0, look));
    }

    /// Without keeping what lies around them.
    fn heads(&self, addresses: &[usize]) -> Vec<Option<(u64, u64)>> {
        let head = |&address: &usize| {
            let span = Span::new(address, address.checked_add(16)?);
            let mut bytes = [0; 16];
            let is_read = self.readable.is_resident(address)
                && self.transfer(&[span], &mut bytes).is_ok_and(|got| got == bytes.len());
            if is_read { Some((word_at(&bytes, 0)?, word_at(&bytes, 8)?)) } else { None }
        };
        addresses.iter().map(head).collect()
    }
}

impl Read for Memory<'_> {
    #[inline]
    fn word(&self, address: usize) -> Option<u64> {
        let near = &self.near;
        // What is no multiple of 8 becomes more than any number of words.
        let place = address.wrapping_sub(near.start.get()).rotate_right(3);
        if place < near.words.get() {
            near.hits.set(near.hits.get() + 1);
            let windows = self.windows.borrow();
            return word_at(&windows[near.slot.get()].bytes, address % WINDOW_BYTES);
        }
        self.far_word(address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::maps;
    use super::*;

    #[test]
    fn our_own_memory_reads_as_it_is() {
        let words: Vec<u64> = (0..1_000_000).map(|i| i * 3).collect();
        let pid = std::process::id();
        let pages = Pages::of(pid, &maps::of(pid).unwrap(), 4096).unwrap();
        let memory = Memory::open(pid, &pages).unwrap();
        let start = words.as_ptr().addr();
        for (index, word) in words.iter().enumerate() {
            assert_eq!(memory.word(start + index * 8), Some(*word));
        }
        // One for each line until the walk proves dense, then one a window.
        assert!(
            memory.calls() < 2 * FEW_LINES + 8_000_000 / WINDOW_BYTES + 8,
            "{}",
            memory.calls()
        );
        // Leaps, and back.
        for index in (0..words.len()).step_by(5_003).chain((0..words.len()).rev().step_by(777)) {
            assert_eq!(memory.word(start + index * 8), Some(words[index]));
        }
        assert_eq!(memory.word(start + 1), None);
        assert_eq!(memory.word(0), None);
        assert_eq!(memory.word(usize::MAX - 7), None);
        let at = (start + 15) & !15;
        assert_eq!(memory.heads(&[0, at])[0], None);
        assert!(memory.heads(&[0, at])[1].is_some_and(|(_, second)| second % 3 == 0));
        assert_eq!(memory.copy(Span::new(0, 8)), None);
    }

    #[test]
    fn what_was_not_resident_is_not_read() {
        const PAGES: usize = 512;
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
        assert_ne!(start, libc::MAP_FAILED);
        for page in (0..PAGES).step_by(3) {
            // SAFETY: inside the mapping.
            unsafe { start.cast::<u64>().add(page * 512).write(page as u64 + 1) };
        }
        let pid = std::process::id();
        let pages = Pages::of(pid, &maps::of(pid).unwrap(), 4096).unwrap();
        let memory = Memory::open(pid, &pages).unwrap();
        for step in [8, 4096] {
            for offset in (0..PAGES * 4096).step_by(step) {
                let (page, within) = (offset / 4096, offset % 4096);
                let expected = match (page % 3, within) {
                    (0, 0) => Some(page as u64 + 1),
                    (0, _) => Some(0),
                    _ => None,
                };
                assert_eq!(memory.word(start.addr() + offset), expected, "{page} {within}");
            }
            memory.forget();
        }
        let after = Pages::of(pid, &maps::of(pid).unwrap(), 4096).unwrap();
        let span = Span::new(start.addr(), start.addr() + PAGES * 4096);
        assert_eq!(after.resident(span), pages.resident(span), "reading maps nothing");
        // SAFETY: the mapping of above, not used any more.
        unsafe { libc::munmap(start, PAGES * 4096) };
    }
}
