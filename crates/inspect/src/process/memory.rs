//! The memory of another process, or of one that left a core file, read a window at a time,
//! present pages only.
//!
//! ```text
//! address ─► slot (address / 64 KiB) mod 64 ─► window: base, one bit a page that could be read
//! ```
//! A walk goes through memory nearly in order, so that one system call serves
//! some thousand chunks; lists jump about, for which the other slots are there.
//! Nothing is stopped: what two reads see may differ, and callers must bear it.

use std::cell::{Cell, RefCell};
use std::io;

use heapwise_layout::walk::Read;

use super::files::convert;
use super::pages::Pages;
use crate::corefile::Core;
use crate::error::Error;
use crate::span::Span;

const WINDOW_BYTES: usize = 64 << 10;
const SLOTS: usize = 64;

/// Memory with the state of its pages: a process's, or an image of one in a test.
pub trait Image: Read {
    /// Which pages are resident; only those can be read.
    fn pages(&self) -> &Pages;

    /// The first two words at each address; `None` for what cannot be read. The
    /// addresses are multiples of 16.
    fn heads(&self, addresses: &[usize]) -> Vec<Option<(u64, u64)>> {
        let head = |&address: &usize| Some((self.word(address)?, self.word(address + 8)?));
        addresses.iter().map(head).collect()
    }
}

/// Where the bytes come from.
enum Source<'a> {
    /// A live process.
    Process(u32),
    /// A core file, and the pages that it has, also those of zeros.
    Core(&'a Core),
}

/// Memory of a process, with the page state that tells what may be read.
pub struct Memory<'a> {
    source: Source<'a>,
    pages: &'a Pages,
    /// What can be read: of a live process what is resident.
    readable: &'a Pages,
    slots: RefCell<Vec<Window>>,
    calls: Cell<usize>,
}

struct Window {
    base: usize,
    /// Bit `i`: page `i` of the window was read.
    valid: u64,
    bytes: Box<[u8]>,
}

/// No window stands there.
const NO_BASE: usize = usize::MAX;

impl<'a> Memory<'a> {
    /// Memory of `pid`; one word is read to see whether we may.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn open(pid: u32, pages: &'a Pages) -> Result<Self, Error> {
        let memory = Self::new(Source::Process(pid), pages, pages);
        let first = pages.runs_in(Span::new(0, usize::MAX)).next();
        if let Some(run) = first {
            let mut word = [0; 8];
            memory
                .transfer(&[Span::new(run.span.start, run.span.start + 8)], &mut word)
                .map_err(|error| convert(pid, "memory", error))
                .or_else(|error| match error {
                    // A page that cannot be read is no missing right.
                    Error::Io { .. } => Ok(0),
                    other => Err(other),
                })?;
        }
        Ok(memory)
    }

    /// Memory as a core file has it; `pages` are those of the account.
    #[must_use]
    pub fn of_core(core: &'a Core, pages: &'a Pages) -> Self {
        Self::new(Source::Core(core), pages, core.held())
    }

    fn new(source: Source<'a>, pages: &'a Pages, readable: &'a Pages) -> Self {
        let slots = (0..SLOTS)
            .map(|_| Window {
                base: NO_BASE,
                valid: 0,
                bytes: vec![0; WINDOW_BYTES].into_boxed_slice(),
            })
            .collect();
        Self { source, pages, readable, slots: RefCell::new(slots), calls: Cell::new(0) }
    }

    /// The page state that goes with the memory.
    #[must_use]
    pub fn pages(&self) -> &'a Pages {
        self.pages
    }

    /// Forgets what was read, for another look.
    pub fn forget(&self) {
        for window in self.slots.borrow_mut().iter_mut() {
            window.base = NO_BASE;
        }
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
        window.base = base;
        window.valid = 0;
        let page_bytes = self.pages.page_bytes();
        for run in self.readable.runs_in(Span::new(base, base.saturating_add(WINDOW_BYTES))) {
            let mut span = run.span;
            // A page may have gone since: the read ends before it, and goes on behind it.
            while span.bytes() > 0 {
                let target = &mut window.bytes[span.start - base..span.end - base];
                let got = self.transfer(&[span], target).unwrap_or(0) / page_bytes * page_bytes;
                for page in (span.start - base) / page_bytes..(span.start - base + got) / page_bytes
                {
                    window.valid |= 1 << page;
                }
                span = Span::new(span.start + got + page_bytes, span.end);
            }
        }
    }

    /// Reads the spans one behind the other; the bytes read.
    fn transfer(&self, spans: &[Span], into: &mut [u8]) -> io::Result<usize> {
        if spans.is_empty() {
            return Ok(0);
        }
        self.calls.set(self.calls.get() + 1);
        let pid = match self.source {
            Source::Process(pid) => pid,
            Source::Core(core) => return core.read(spans, into),
        };
        let remote: Vec<libc::iovec> = spans
            .iter()
            .map(|span| libc::iovec {
                iov_base: std::ptr::without_provenance_mut(span.start),
                iov_len: span.bytes(),
            })
            .collect();
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: `local` is memory of ours that may be written, and `remote` is
        // looked at by the kernel in the other process only.
        let got = unsafe {
            libc::process_vm_readv(
                pid.cast_signed(),
                &raw const local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }
}

impl Image for Memory<'_> {
    fn pages(&self) -> &Pages {
        self.pages
    }

    /// One system call for many.
    fn heads(&self, addresses: &[usize]) -> Vec<Option<(u64, u64)>> {
        const AT_ONCE: usize = 1024;
        let mut all = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(AT_ONCE) {
            let wanted: Vec<Span> = batch
                .iter()
                .filter(|&&address| self.readable.is_resident(address))
                .map(|&address| Span::new(address, address + 16))
                .collect();
            let mut bytes = vec![0; wanted.len() * 16];
            let got = self.transfer(&wanted, &mut bytes).unwrap_or(0);
            let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
            let mut next = 0;
            for &address in batch {
                if wanted.get(next).is_some_and(|span| span.start == address) {
                    let at = next * 16;
                    next += 1;
                    all.push((at + 16 <= got).then(|| Some((word(at)?, word(at + 8)?))).flatten());
                } else {
                    all.push(None);
                }
            }
        }
        all
    }
}

impl Read for Memory<'_> {
    fn word(&self, address: usize) -> Option<u64> {
        if !address.is_multiple_of(8) {
            return None;
        }
        let base = address & !(WINDOW_BYTES - 1);
        let mut slots = self.slots.borrow_mut();
        let window = slots.get_mut(address / WINDOW_BYTES % SLOTS)?;
        if window.base != base {
            self.fill(window, base);
        }
        let offset = address - base;
        if window.valid >> (offset / self.pages.page_bytes()) & 1 == 0 {
            return None;
        }
        let bytes = window.bytes.get(offset..offset + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::maps;
    use super::*;

    #[test]
    fn our_own_memory_reads_as_it_is() {
        let words: Vec<u64> = (0..100_000).map(|i| i * 3).collect();
        let pid = std::process::id();
        let pages = Pages::of(pid, &maps::of(pid).unwrap(), 4096).unwrap();
        let memory = Memory::open(pid, &pages).unwrap();
        let start = words.as_ptr().addr();
        for (index, word) in words.iter().enumerate() {
            assert_eq!(memory.word(start + index * 8), Some(*word));
        }
        assert!(memory.calls() < 40, "{}", memory.calls());
        assert_eq!(memory.word(start + 1), None);
        assert_eq!(memory.word(0), None);
        assert_eq!(memory.word(usize::MAX - 7), None);
        let at = (start + 15) & !15;
        assert_eq!(memory.heads(&[0, at])[0], None);
        assert!(memory.heads(&[0, at])[1].is_some_and(|(_, second)| second % 3 == 0));
        assert_eq!(memory.copy(Span::new(0, 8)), None);
    }
}
