//! Where bytes of memory come from: `/proc/PID/mem`, or a core file.
//!
//! The file, and not `process_vm_readv`: that pins the pages that it reads, for which the kernel copies
//! each page first that the process shares with a child of a `fork`. It would double the memory of a
//! server with forked workers, at 6 µs a page.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::files::open;
use crate::corefile::Core;
use crate::error::Error;
use crate::span::Span;

/// Where the bytes come from.
pub enum Source<'a> {
    /// A live process, or a copy of it.
    Process(Arc<Opened>),
    /// A core file, and the pages that it has, also those of zeros.
    Core(&'a Core),
}

impl Source<'_> {
    /// Reads the spans one behind the other; the bytes read. Short at a page that cannot be.
    pub fn read(&self, spans: &[Span], into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Process(opened) => opened.read(spans, into),
            Self::Core(core) => core.read(spans, into),
        }
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct Opened {
    file: File,
    /// What is read elsewhere, in address order.
    beside: Option<(File, Vec<Span>)>,
}

impl Opened {
    /// Opens it.
    ///
    /// # Errors
    /// No such process, no permission.
    pub fn of(pid: u32) -> Result<Self, Error> {
        Ok(Self { file: open(pid, "mem")?, beside: None })
    }

    /// What lies in `spans`, in address order, is read from another process.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn beside(self, pid: u32, spans: Vec<Span>) -> Result<Self, Error> {
        let beside = if spans.is_empty() { None } else { Some((open(pid, "mem")?, spans)) };
        Ok(Self { beside, ..self })
    }

    /// As `Source::read`.
    pub fn read(&self, spans: &[Span], into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        for &span in spans {
            let Some(part) = into.get_mut(done..done + span.bytes()) else { break };
            let got = self.read_one(span, part)?;
            done += got;
            if got < span.bytes() {
                break;
            }
        }
        Ok(done)
    }

    fn read_one(&self, span: Span, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let at = span.start + done;
            let (file, end) = self.file_at(at);
            let wanted = (span.end.min(end)) - at;
            match file.read_at(&mut into[done..done + wanted], at as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// The file that has `address`, and up to where.
    fn file_at(&self, address: usize) -> (&File, usize) {
        let Some((other, spans)) = &self.beside else { return (&self.file, usize::MAX) };
        let next = spans.partition_point(|span| span.end <= address);
        match spans.get(next) {
            Some(span) if span.contains(address) => (other, span.end),
            Some(span) => (&self.file, span.start),
            None => (&self.file, usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_beside() {
        // Of this process twice: that it is the other file, the bounds tell.
        let pid = std::process::id();
        let words: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let start = words.as_ptr().addr();
        let spans = vec![Span::new(start + 100, start + 200), Span::new(start + 300, start + 400)];
        let opened = Opened::of(pid).unwrap().beside(pid, spans).unwrap();
        assert_eq!(opened.file_at(start).1, start + 100);
        assert_eq!(opened.file_at(start + 150).1, start + 200);
        assert_eq!(opened.file_at(start + 200).1, start + 300);
        assert_eq!(opened.file_at(start + 400).1, usize::MAX);
        let mut into = vec![0; 4096];
        let whole = Span::new(start, start + 4096);
        assert_eq!(opened.read(&[whole], &mut into).unwrap(), 4096);
        assert_eq!(into, words);
        assert!(opened.read(&[Span::new(0, 8)], &mut [0; 8]).is_err());
    }
}
