//! Makes a trace of single events: for tests, and for traces that come from elsewhere.

use crate::clock::Anchor;
use crate::definitions::Definitions;
use crate::event::{Event, KernelCall, What};
use crate::format::{BlockHeader, BlockKind};
use crate::writer::Writer;
use heapwise_layout::record::{
    BEGINS, Coder, FORKED, KernelOp, Kind, PROCESS_ENDS, PROCESS_GONE, ProcessStart,
    RECORD_ROOM_BYTES, Record, THREAD_ENDS, zigzag,
};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A stream makes a block when it has this many bytes.
const BLOCK_BYTES: usize = 32 << 10;

/// Takes events in any order of threads, each thread's in the order of time.
#[derive(Debug)]
pub struct Builder<W: Write> {
    writer: Writer<W>,
    definitions: Definitions,
    processes: u32,
    streams: BTreeMap<(u32, u32), Stream>,
    block_bytes: usize,
}

#[derive(Debug)]
struct Stream {
    number: u32,
    header: BlockHeader,
    coder: Coder,
    raw: Vec<u8>,
}

impl<W: Write> Builder<W> {
    /// Begins a trace. Its clock counts nanoseconds.
    ///
    /// # Errors
    /// Those of `out`, as for all that writes.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Writer::new(out)?;
        writer.clock(Anchor { ticks: 0, ns: 0 })?;
        Ok(Self {
            writer,
            definitions: Definitions::new(),
            processes: 0,
            streams: BTreeMap::new(),
            block_bytes: BLOCK_BYTES,
        })
    }

    /// Blocks of at most about so many bytes: small ones show what happens at their borders.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Defines a process; its index.
    pub fn process(&mut self, start: ProcessStart, command: &[&str]) -> io::Result<u32> {
        let index = self.processes;
        self.processes += 1;
        self.definitions.process(index, start);
        self.definitions.command(index, command);
        self.writer.definitions(&mut self.definitions)?;
        Ok(index)
    }

    /// What events refer to besides processes; written at the latest by [`Builder::finish`].
    pub fn definitions(&mut self) -> &mut Definitions {
        &mut self.definitions
    }

    /// Adds an event.
    pub fn push(&mut self, event: &Event) -> io::Result<()> {
        let next = self.streams.len() as u32;
        let stream = self.streams.entry((event.process, event.thread)).or_insert_with(|| Stream {
            number: next,
            header: BlockHeader {
                process: event.process,
                stream: next,
                thread: event.thread,
                ..BlockHeader::new(BlockKind::Events)
            },
            coder: Coder { time: event.time_ns, address: 0 },
            raw: Vec::new(),
        });
        for record in records(event).into_iter().flatten() {
            if stream.raw.is_empty() {
                // The block begins with what the stream has come to.
                stream.header.base_time = stream.coder.time;
                stream.header.base_address = stream.coder.address;
                stream.header.records = 0;
            }
            let mut room = [0; RECORD_ROOM_BYTES];
            let length = stream.coder.encode(record, &mut room);
            stream.raw.extend_from_slice(&room[..length]);
            stream.header.records += 1;
            stream.header.last_time = stream.coder.time;
            if stream.raw.len() >= self.block_bytes {
                stream.write(&mut self.writer)?;
            }
        }
        Ok(())
    }

    /// Ends the trace.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.definitions(&mut self.definitions)?;
        for stream in self.streams.values_mut() {
            stream.write(&mut self.writer)?;
        }
        self.writer.finish()
    }
}

impl Stream {
    fn write(&mut self, writer: &mut Writer<impl Write>) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(self.number, self.header.stream);
        writer.block(self.header, &self.raw)?;
        self.header.sequence += 1;
        self.raw.clear();
        Ok(())
    }
}

/// The records that an event is packed as: one or two.
#[must_use]
pub fn records(event: &Event) -> [Option<Record>; 2] {
    let record = |kind, a, b, c| Some(Record { kind, time: event.time_ns, a, b, c });
    let one = |kind, a, b, c| [record(kind, a, b, c), None];
    match event.what {
        What::Malloc { size, address, stack } => one(Kind::Malloc, size, address, stack.into()),
        What::Calloc { size, address, stack } => one(Kind::Calloc, size, address, stack.into()),
        What::Aligned { size, align, address, stack } => {
            let packed = size.saturating_mul(64) | u64::from(align.trailing_zeros() & 63);
            one(Kind::Aligned, packed, address, stack.into())
        }
        What::Realloc { size, old, address, stack, kept } => {
            let from = record(Kind::ReallocFrom, kept.into(), old, 0).filter(|_| old != 0);
            [from, record(Kind::Realloc, size, address, stack.into())]
        }
        What::Free { address } => one(Kind::Free, 0, address, 0),
        What::Kernel(call) => {
            let KernelCall { op, cause, failed, address, bytes, new_address, new_bytes } = call;
            let a = op as u64 | (cause as u64) << 4 | u64::from(failed) << 8;
            let c = if op == KernelOp::Brk { zigzag(bytes) } else { bytes as u64 };
            let to = record(Kind::KernelTo, 0, new_address, new_bytes)
                .filter(|_| (new_address, new_bytes) != (0, 0));
            [to, record(Kind::Kernel, a, address, c)]
        }
        What::Sample { rss_bytes, minor_faults, major_faults } => {
            one(Kind::Sample, rss_bytes >> 10, minor_faults, major_faults)
        }
        What::ThreadStart => one(Kind::Thread, BEGINS, 0, 0),
        What::ThreadEnd => one(Kind::Thread, THREAD_ENDS, 0, 0),
        What::ProcessStart => one(Kind::Process, BEGINS, 0, 0),
        What::Fork { child_pid } => one(Kind::Process, FORKED, child_pid.into(), 0),
        What::ProcessEnd => one(Kind::Process, PROCESS_ENDS, 0, 0),
        What::ProcessGone => one(Kind::Process, PROCESS_GONE, 0, 0),
        What::Lost { records } => one(Kind::Lost, records, 0, 0),
        What::Touched { address, bytes } => one(Kind::Touched, bytes, address, 0),
    }
}
