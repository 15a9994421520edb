//! A trace that is open for reading.

use crate::clock::Clock;
use crate::definitions::{Process, Recording};
use crate::error::Error;
use crate::index::Index;
use crate::merge::Events;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

/// What a trace is read from.
pub trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// An open trace: its definitions in memory, its events read as they are asked for.
pub struct Trace {
    source: RefCell<Box<dyn Source>>,
    index: Index,
}

impl Trace {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is no trace. One that is cut or damaged further on opens:
    /// see [`Trace::damage`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::new(BufReader::new(File::open(path)?))
    }

    /// Reads from memory.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Self::new(Cursor::new(bytes))
    }

    /// Reads from anything that can seek.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn new(mut source: impl Source + 'static) -> Result<Self, Error> {
        let index = Index::read(&mut source)?;
        Ok(Self { source: RefCell::new(Box::new(source)), index })
    }

    /// What is wrong with the file, if anything is; all before it can be read.
    #[must_use]
    pub fn damage(&self) -> Option<&Error> {
        self.index.damage.as_ref()
    }

    /// What the recorder noted.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.index.known.recording
    }

    /// The processes, in the order in which the recorder met them.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.index.known.processes
    }

    /// The process of an event; `None` if its definition is missing (a cut file).
    #[must_use]
    pub fn process(&self, index: u32) -> Option<&Process> {
        self.index.known.process(index)
    }

    /// Return addresses of a stack, innermost first; empty if unknown.
    #[must_use]
    pub fn stack(&self, process: u32, id: u32) -> &[u64] {
        self.index.known.stack(process, id)
    }

    /// Records in the file: at least as many as events. For progress bars.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.index.records
    }

    /// Number of streams: one a thread, and those of the recorder.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.index.streams.len()
    }

    /// When the last event was, nanoseconds since the recording began.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.index.clock.ns(self.index.last_time)
    }

    /// The recording's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.index.clock
    }

    /// All events in the order of time, one thread's always in their own. Damage comes as one
    /// error, behind all events that are whole; a file that only ends early gives
    /// [`Error::Cut`] there.
    ///
    /// Several can be read at once. Memory: one block (at most 1 MiB) a thread that is not
    /// yet at its end and has begun.
    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.source, &self.index)
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("index", &self.index).finish_non_exhaustive()
    }
}
