//! Merges the threads' streams in the order of time.
//!
//! Invariant: at most one block a stream in memory, and none before its time.

use crate::definitions::Known;
use crate::error::Error;
use crate::event::{Event, KernelCall, What};
use crate::format::{BLOCK_HEADER_BYTES, BlockKind};
use crate::index::{Index, StreamPlaces, read_header, read_payload};
use crate::trace::Source;
use heapwise_layout::record::{
    BEGINS, Cause, Coder, FORKED, KernelOp, Kind, PROCESS_ENDS, PROCESS_GONE, Record, THREAD_ENDS,
    unzigzag,
};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// The events of a trace in order; see [`crate::Trace::events`].
pub struct Events<'a> {
    source: &'a RefCell<Box<dyn Source>>,
    index: &'a Index,
    streams: Vec<Stream<'a>>,
    /// Time of the next event, or a lower bound of it, and whose it is.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    damage: Option<Error>,
}

/// A stream, as far as it has been read.
struct Stream<'a> {
    places: &'a StreamPlaces,
    /// Blocks loaded so far.
    loaded: usize,
    thread: u32,
    bytes: Vec<u8>,
    at: usize,
    coder: Coder,
    /// The next event, decoded: ticks and what.
    ahead: Option<(u64, What)>,
    /// The old block of a realloc that has begun, and whether it kept its room.
    realloc: (u64, bool),
    /// Where an mremap went that follows.
    moved: (u64, u64),
    /// What is wrong behind `ahead`.
    failed: Option<Error>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(source: &'a RefCell<Box<dyn Source>>, index: &'a Index) -> Self {
        let streams: Vec<_> = index
            .streams
            .iter()
            .map(|places| Stream {
                places,
                loaded: 0,
                thread: 0,
                bytes: Vec::new(),
                at: 0,
                coder: Coder::default(),
                ahead: None,
                realloc: (0, false),
                moved: (0, 0),
                failed: None,
            })
            .collect();
        let first = |(number, stream): (usize, &Stream<'_>)| {
            stream.places.blocks.first().map(|block| Reverse((block.base_time, number)))
        };
        let next = streams.iter().enumerate().filter_map(first).collect();
        Self { source, index, streams, next, damage: index.damage.as_ref().map(Error::duplicate) }
    }

    /// The next event and its time in ticks.
    fn step(&mut self) -> Result<Option<(u64, Event)>, Error> {
        while let Some(mut first) = self.next.peek_mut() {
            let number = first.0.1;
            let stream = &mut self.streams[number];
            if let Some(error) = stream.failed.take() {
                return Err(error);
            }
            let process = stream.places.process;
            let due = stream.ahead.take();
            let thread = stream.thread;
            let looked = stream.look_ahead(&mut **self.source.borrow_mut(), &self.index.known);
            if let Err(error) = looked {
                // What is due is whole: the error comes behind it.
                stream.failed = Some(error);
            } else if let Some((time, _)) = stream.ahead {
                first.0.0 = time;
            } else {
                PeekMut::pop(first);
            }
            if let Some((time, what)) = due {
                return Ok(Some((time, Event { time_ns: 0, process, thread, what })));
            }
        }
        Ok(None)
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(Some((time, event))) => {
                Some(Ok(Event { time_ns: self.index.clock.ns(time), ..event }))
            }
            Ok(None) => self.damage.take().map(Err),
            Err(error) => {
                self.next.clear();
                self.damage = None;
                Some(Err(error))
            }
        }
    }
}

impl Stream<'_> {
    /// Decodes up to the next event; none if the stream is at its end.
    fn look_ahead(&mut self, source: &mut dyn Source, known: &Known) -> Result<(), Error> {
        loop {
            while self.at == self.bytes.len() {
                if !self.load(source)? {
                    return Ok(());
                }
            }
            let here = self.places.blocks[self.loaded - 1].at;
            let bent = |what| Error::Bent { at: here, what };
            let decoded = self.coder.decode(&self.bytes[self.at..]);
            let (record, length) = decoded.map_err(|_| bent("bytes that are no record"))?;
            self.at += length;
            if record.kind == Kind::Blob {
                // Definitions have blocks of their own; here they mean nothing.
                let left = (self.bytes.len() - self.at) as u64;
                if record.b > left {
                    return Err(bent("a record longer than its block"));
                }
                self.at += record.b as usize;
                continue;
            }
            if let Some(what) = self.event(record, known).map_err(bent)? {
                self.ahead = Some((record.time, what));
                return Ok(());
            }
        }
    }

    /// Loads the next block; false if there is none.
    fn load(&mut self, source: &mut dyn Source) -> Result<bool, Error> {
        let Some(place) = self.places.blocks.get(self.loaded) else {
            self.bytes = Vec::new();
            self.at = 0;
            return Ok(false);
        };
        self.loaded += 1;
        let mut source = source;
        let header = read_header(&mut source, place.at, place.at + BLOCK_HEADER_BYTES as u64)?;
        if header.kind != BlockKind::Events || header.process != self.places.process {
            return Err(Error::Bent { at: place.at, what: "a block that changed meanwhile" });
        }
        read_payload(&mut source, &header, place.at, &mut self.bytes)?;
        self.at = 0;
        self.thread = header.thread;
        // Time never runs backwards in a thread, whatever the file says.
        let time = header.base_time.max(self.coder.time);
        self.coder = Coder { time, address: header.base_address };
        Ok(true)
    }

    /// The event that a record completes, if it does.
    fn event(&mut self, record: Record, known: &Known) -> Result<Option<What>, &'static str> {
        let Record { kind, a, b, c, .. } = record;
        let stack = c as u32;
        Ok(Some(match kind {
            Kind::Malloc => What::Malloc { size: a, address: b, stack },
            Kind::Calloc => What::Calloc { size: a, address: b, stack },
            Kind::Aligned => {
                What::Aligned { size: a >> 6, align: 1 << (a & 63), address: b, stack }
            }
            Kind::ReallocFrom => {
                self.realloc = (b, a == 1);
                return Ok(None);
            }
            Kind::Realloc => {
                let (old, kept) = std::mem::take(&mut self.realloc);
                What::Realloc { size: a, old, address: b, stack, kept }
            }
            Kind::Free => What::Free { address: b },
            Kind::KernelTo => {
                self.moved = (b, c);
                return Ok(None);
            }
            Kind::Kernel => {
                let op = KernelOp::of(a & 15).ok_or("an unknown kernel call")?;
                let (new_address, new_bytes) = std::mem::take(&mut self.moved);
                What::Kernel(KernelCall {
                    op,
                    cause: Cause::of(a >> 4 & 15).ok_or("an unknown cause")?,
                    failed: a & 256 != 0,
                    address: b,
                    bytes: if op == KernelOp::Brk { unzigzag(c) } else { c as i64 },
                    new_address,
                    new_bytes,
                })
            }
            Kind::Sample => What::Sample { rss_bytes: a << 10, minor_faults: b, major_faults: c },
            Kind::Thread if a == BEGINS => What::ThreadStart,
            Kind::Thread if a == THREAD_ENDS => What::ThreadEnd,
            Kind::Process if a == BEGINS => What::ProcessStart,
            Kind::Process if a == FORKED && b == 0 => {
                What::Fork { child_pid: known.child_pid(self.places.process, c as u32) }
            }
            Kind::Process if a == FORKED => What::Fork { child_pid: b as u32 },
            Kind::Process if a == PROCESS_ENDS => What::ProcessEnd,
            Kind::Process if a == PROCESS_GONE => What::ProcessGone,
            Kind::Thread | Kind::Process => return Err("an unknown turn of a life"),
            Kind::Lost => What::Lost { records: a },
            Kind::Touched => What::Touched { address: b, bytes: a },
            Kind::Blob => return Ok(None),
        }))
    }
}
