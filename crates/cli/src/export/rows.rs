//! A row an event: the one table behind Parquet, CSV and JSON.
//!
//! A free knows the block that it frees, its size, age and site, so that most questions need no
//! join. `docs/trace-fields.md` says what each field means; a test compares the two.

use std::collections::HashMap;

use heapwise_trace::{Event, KernelCall, Trace, What};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number from 0 on, 32 bits.
    U32,
    /// A number from 0 on, 64 bits.
    U64,
    /// A number of either sign.
    I64,
    /// A word.
    Text,
}

/// A field of the table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be absent.
    pub optional: bool,
}

const fn field(name: &'static str, kind: Kind, optional: bool) -> Field {
    Field { name, kind, optional }
}

/// All fields, in the order of [`Row::values`].
pub const FIELDS: [Field; 20] = [
    field("time_ns", Kind::U64, false),
    field("process", Kind::U32, false),
    field("pid", Kind::U32, false),
    field("thread", Kind::U32, false),
    field("event", Kind::Text, false),
    field("size", Kind::U64, true),
    field("align", Kind::U64, true),
    field("address", Kind::U64, true),
    field("old_address", Kind::U64, true),
    field("old_size", Kind::U64, true),
    field("age_ns", Kind::U64, true),
    field("stack", Kind::U32, true),
    field("site", Kind::Text, true),
    field("live_bytes", Kind::U64, false),
    field("cause", Kind::Text, true),
    field("bytes", Kind::I64, true),
    field("failed", Kind::U32, true),
    field("rss_bytes", Kind::U64, true),
    field("minor_faults", Kind::U64, true),
    field("major_faults", Kind::U64, true),
];

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Absent.
    None,
    /// A number from 0 on.
    Unsigned(u64),
    /// A number of either sign.
    Signed(i64),
    /// A word.
    Text(&'a str),
}

impl From<Option<u64>> for Value<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::None, Value::Unsigned)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(word: Option<&'a str>) -> Self {
        word.map_or(Self::None, Value::Text)
    }
}

/// One row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Nanoseconds since the recording began.
    pub time_ns: u64,
    /// Number of the process in the recording.
    pub process: u32,
    /// Its pid.
    pub pid: u32,
    /// The thread.
    pub thread: u32,
    /// What happened.
    pub event: &'static str,
    /// Requested, or of the block that is freed.
    pub size: Option<u64>,
    /// Of aligned requests.
    pub align: Option<u64>,
    /// Of the block, or where the kernel was called for; absent if the request failed.
    pub address: Option<u64>,
    /// Of the block that a realloc takes; of an mremap's mapping before.
    pub old_address: Option<u64>,
    /// What a realloc's block was before.
    pub old_size: Option<u64>,
    /// How long the block that goes has lived.
    pub age_ns: Option<u64>,
    /// Id of the stack that allocated.
    pub stack: Option<u32>,
    /// Where that is: module and offset of the innermost frame that is not malloc's.
    pub site: Option<&'a str>,
    /// What the process holds after it.
    pub live_bytes: u64,
    /// During which call the kernel was called.
    pub cause: Option<&'static str>,
    /// Kernel: how much; for brk by how much the break moved.
    pub bytes: Option<i64>,
    /// Kernel: whether it refused.
    pub failed: Option<bool>,
    /// Sample: resident.
    pub rss_bytes: Option<u64>,
    /// Sample: faults so far.
    pub minor_faults: Option<u64>,
    /// Sample: faults so far that waited for a disk.
    pub major_faults: Option<u64>,
}

impl Row<'_> {
    /// In the order of [`FIELDS`].
    pub fn values(&self) -> [Value<'_>; FIELDS.len()] {
        [
            Value::Unsigned(self.time_ns),
            Value::Unsigned(self.process.into()),
            Value::Unsigned(self.pid.into()),
            Value::Unsigned(self.thread.into()),
            Value::Text(self.event),
            self.size.into(),
            self.align.into(),
            self.address.into(),
            self.old_address.into(),
            self.old_size.into(),
            self.age_ns.into(),
            self.stack.map(u64::from).into(),
            Value::from(self.site),
            Value::Unsigned(self.live_bytes),
            Value::from(self.cause),
            self.bytes.map_or(Value::None, Value::Signed),
            self.failed.map(u64::from).into(),
            self.rss_bytes.into(),
            self.minor_faults.into(),
            self.major_faults.into(),
        ]
    }
}

/// A block that a process holds.
#[derive(Clone, Copy)]
struct Block {
    size: u64,
    since_ns: u64,
    stack: u32,
}

/// Makes rows of events, in their order.
pub struct Rows<'a> {
    trace: &'a Trace,
    blocks: HashMap<(u32, u64), Block>,
    live: HashMap<u32, u64>,
    sites: HashMap<(u32, u32), Option<String>>,
}

impl<'a> Rows<'a> {
    /// Of a trace, from its beginning.
    pub fn new(trace: &'a Trace) -> Self {
        Self { trace, blocks: HashMap::new(), live: HashMap::new(), sites: HashMap::new() }
    }

    /// The row of an event, handed on.
    pub fn row<T>(&mut self, event: &Event, take: impl FnOnce(&Row<'_>) -> T) -> T {
        let Event { time_ns, process, thread, .. } = *event;
        let pid = self.trace.process(process).map_or(0, |process| process.pid);
        let mut row = Row { time_ns, process, pid, thread, ..Row::default() };
        let mut stack = event.what.stack().unwrap_or(0);
        match event.what {
            What::Malloc { size, address, .. } => {
                self.allocate(&mut row, "malloc", size, address, stack);
            }
            What::Calloc { size, address, .. } => {
                self.allocate(&mut row, "calloc", size, address, stack);
            }
            What::Aligned { size, align, address, .. } => {
                row.align = Some(align);
                self.allocate(&mut row, "aligned", size, address, stack);
            }
            What::Realloc { size, old, address, .. } => {
                row.old_address = Some(old).filter(|&old| old != 0);
                if event.what.frees().is_some()
                    && let Some(block) = self.release(process, old)
                {
                    row.old_size = Some(block.size);
                    row.age_ns = Some(time_ns.saturating_sub(block.since_ns));
                }
                self.allocate(&mut row, "realloc", size, address, stack);
            }
            What::Free { address } => {
                row.event = "free";
                row.address = Some(address);
                if let Some(block) = self.release(process, address) {
                    row.size = Some(block.size);
                    row.age_ns = Some(time_ns.saturating_sub(block.since_ns));
                    stack = block.stack;
                }
            }
            What::Touched { address, bytes } => {
                row.event = "touched";
                row.address = Some(address);
                row.size = self.blocks.get(&(process, address)).map(|block| block.size);
                row.bytes = i64::try_from(bytes).ok();
            }
            What::Kernel(call) => kernel(&mut row, &call),
            What::Sample { rss_bytes, minor_faults, major_faults } => {
                row.event = "sample";
                row.rss_bytes = Some(rss_bytes);
                row.minor_faults = Some(minor_faults);
                row.major_faults = Some(major_faults);
            }
            What::ThreadStart => row.event = "thread_start",
            What::ThreadEnd => row.event = "thread_end",
            What::ProcessStart => {
                row.event = "process_start";
                self.inherit(process);
            }
            What::Fork { child_pid } => {
                row.event = "fork";
                row.bytes = Some(child_pid.into());
            }
            What::ProcessEnd => row.event = "process_end",
            What::ProcessGone => row.event = "process_gone",
            What::Lost { records } => {
                row.event = "lost";
                row.size = Some(records);
            }
        }
        row.live_bytes = self.live.get(&process).copied().unwrap_or(0);
        row.stack = Some(stack).filter(|&stack| stack != 0);
        let trace = self.trace;
        let site =
            self.sites.entry((process, stack)).or_insert_with(|| site(trace, process, stack));
        row.site = site.as_deref();
        take(&row)
    }

    fn allocate(
        &mut self,
        row: &mut Row<'_>,
        event: &'static str,
        size: u64,
        address: u64,
        stack: u32,
    ) {
        row.event = event;
        row.size = Some(size);
        row.failed = Some(address == 0);
        if address == 0 {
            return;
        }
        row.address = Some(address);
        // Of one whose free was lost.
        self.release(row.process, address);
        let block = Block { size, since_ns: row.time_ns, stack };
        self.blocks.insert((row.process, address), block);
        let live = self.live.entry(row.process).or_default();
        *live = live.saturating_add(size);
    }

    fn release(&mut self, process: u32, address: u64) -> Option<Block> {
        let block = self.blocks.remove(&(process, address))?;
        if let Some(live) = self.live.get_mut(&process) {
            *live = live.saturating_sub(block.size);
        }
        Some(block)
    }

    /// A fork child begins with what its parent held.
    fn inherit(&mut self, child: u32) {
        let Some(parent) = self.trace.process(child).and_then(|process| process.forked_from) else {
            return;
        };
        let held: Vec<(u64, Block)> = self
            .blocks
            .iter()
            .filter(|((process, _), _)| *process == parent)
            .map(|((_, address), block)| (*address, *block))
            .collect();
        let bytes = self.live.get(&parent).copied().unwrap_or(0);
        self.live.insert(child, bytes);
        self.blocks.extend(held.into_iter().map(|(address, block)| ((child, address), block)));
    }
}

fn kernel(row: &mut Row<'_>, call: &KernelCall) {
    use heapwise_layout::record::Cause;
    row.event = call.op.name();
    row.cause = Some(match call.cause {
        Cause::Other => "other",
        Cause::Malloc => "malloc",
        Cause::Calloc => "calloc",
        Cause::Aligned => "aligned",
        Cause::Realloc => "realloc",
        Cause::Free => "free",
    });
    row.failed = Some(call.failed);
    row.bytes = Some(call.bytes);
    row.address = Some(call.address);
    if call.new_address != 0 {
        row.old_address = Some(call.address);
        row.old_size = u64::try_from(call.bytes).ok();
        row.address = Some(call.new_address);
        row.size = Some(call.new_bytes);
    }
}

/// `module+0xoffset` of the innermost frame outside our library, by the offset in the file.
fn site(trace: &Trace, process: u32, stack: u32) -> Option<String> {
    if stack == 0 {
        return None;
    }
    let frames = trace.stack(process, stack);
    let known = trace.process(process)?;
    let named = frames.iter().map(|&frame| (frame, known.module_at(frame)));
    let mut outside = named
        .filter(|(_, module)| module.is_none_or(|module| !module.path.ends_with("libheapwise.so")));
    Some(match outside.next()? {
        (frame, Some(module)) => {
            let name = module.path.rsplit('/').next().unwrap_or_default();
            format!("{name}+{:#x}", (frame - module.start).wrapping_add(module.offset))
        }
        (frame, None) => format!("{frame:#x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapwise_trace::{Builder, ProcessStart};

    #[test]
    fn a_free_knows_its_block() {
        let mut builder = Builder::new(Vec::new()).unwrap();
        let start = ProcessStart { pid: 9, ..ProcessStart::default() };
        let process = builder.process(start, &["p"]).unwrap();
        builder.definitions().stack(process, 3, &[0x1234]);
        for (time_ns, what) in [
            (10, What::Malloc { size: 100, address: 0x1010, stack: 3 }),
            (30, What::Realloc { size: 300, old: 0x1010, address: 0x2010, stack: 0, kept: false }),
            (35, What::Malloc { size: 7, address: 0, stack: 0 }),
            (70, What::Free { address: 0x2010 }),
            (80, What::Free { address: 0x9990 }),
        ] {
            builder.push(&Event { time_ns, process, thread: 9, what }).unwrap();
        }
        let trace = Trace::from_bytes(builder.finish().unwrap()).unwrap();
        let mut rows = Rows::new(&trace);
        let mut seen = Vec::new();
        for event in trace.events() {
            rows.row(&event.unwrap(), |row| {
                seen.push((row.event, row.size, row.old_size, row.age_ns, row.live_bytes));
                if seen.len() == 1 {
                    assert_eq!((row.site, row.pid), (Some("0x1234"), 9));
                }
            });
        }
        assert_eq!(
            seen,
            [
                ("malloc", Some(100), None, None, 100),
                ("realloc", Some(300), Some(100), Some(20), 300),
                ("malloc", Some(7), None, None, 300),
                ("free", Some(300), None, Some(40), 0),
                ("free", None, None, None, 0),
            ]
        );
    }

    #[test]
    fn the_page_of_fields_lists_exactly_them() {
        let page =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trace-fields.md");
        let Ok(page) = std::fs::read_to_string(page) else { return };
        let listed: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                Some((cells.next()?.trim().trim_matches('`'), cells.next()?.trim()))
            })
            .collect();
        let fields: Vec<(&str, &str)> = FIELDS
            .iter()
            .map(|field| {
                let kind = match (field.kind, field.optional) {
                    (Kind::U32, false) => "uint32",
                    (Kind::U32, true) => "uint32, optional",
                    (Kind::U64, false) => "uint64",
                    (Kind::U64, true) => "uint64, optional",
                    (Kind::I64, false) => "int64",
                    (Kind::I64, true) => "int64, optional",
                    (Kind::Text, false) => "string",
                    (Kind::Text, true) => "string, optional",
                };
                (field.name, kind)
            })
            .collect();
        assert_eq!(listed, fields, "docs/trace-fields.md");
    }
}
