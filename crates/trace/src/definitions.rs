//! What events refer to: processes, their modules, stacks; and the recording itself.

use crate::format::{BlockHeader, BlockKind, MAX_BLOCK_BYTES, long};
use heapwise_layout::record::{
    Coder, Kind, NO_PROCESS, ProcessStart, RECORD_ROOM_BYTES, Record, blob,
};
use std::collections::HashMap;
use std::io;

/// A blob longer than this is cut: a block must hold it.
const MAX_BLOB_BYTES: usize = MAX_BLOCK_BYTES / 4;
/// Definitions are collected up to this before they make a block.
const BLOCK_BYTES: usize = MAX_BLOCK_BYTES / 4;

/// The recording as a whole: `name=value`, as its recorder noted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Names and values, in order. Heapwise's own: `version`, `command` (as a shell would take
    /// it), `start_unix_ns`, `host`, `mode` (`record` or `profile`).
    pub notes: Vec<(String, String)>,
}

impl Recording {
    /// The value of a note.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A file mapped into a process, as far as code goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Where in the file `start` is.
    pub offset: u64,
    /// The linker's build id, empty if there is none.
    pub build_id: Vec<u8>,
    /// The file.
    pub path: String,
}

/// A process image of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// What events call it.
    pub index: u32,
    /// Its pid.
    pub pid: u32,
    /// Its parent's pid.
    pub parent_pid: u32,
    /// The process whose copy it is, if it was forked; it has that one's live blocks.
    pub forked_from: Option<u32>,
    /// Which fork of that one's, from 1; 0 if unknown: a fork that ran no handlers.
    pub fork_number: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Mean distance of two samples in bytes; 0 if everything was recorded.
    pub sample_bytes: u64,
    /// Most frames of a stack, 0 without stacks.
    pub stack_depth: u32,
    /// Cores that it could use.
    pub cores: u32,
    /// Start of the break when it began, 0 if unknown.
    pub break_start: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The allocator's settings.
    pub settings: Vec<(String, String)>,
    /// Mapped code; of two that overlap the later one is newer.
    pub modules: Vec<Module>,
}

impl Process {
    /// The module at an address.
    #[must_use]
    pub fn module_at(&self, address: u64) -> Option<&Module> {
        self.modules.iter().rev().find(|m| (m.start..m.end).contains(&address))
    }
}

/// Definitions on their way to a file.
#[derive(Debug, Default)]
pub struct Definitions {
    blocks: Vec<(u32, u32, Vec<u8>)>,
}

impl Definitions {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// A process begins.
    pub fn process(&mut self, process: u32, start: ProcessStart) {
        self.blob(process, blob::PROCESS, 0, &start.to_bytes());
    }

    /// Its command line.
    pub fn command<S: AsRef<[u8]>>(&mut self, process: u32, words: &[S]) {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        self.blob(process, blob::COMMAND, 0, &words.join(&0));
    }

    /// The allocator's settings.
    pub fn settings(&mut self, process: u32, settings: &[(String, String)]) {
        self.blob(process, blob::SETTINGS, 0, notes_text(settings).as_bytes());
    }

    /// A module of a process.
    pub fn module(&mut self, process: u32, module: &Module) {
        let id = &module.build_id[..module.build_id.len().min(255)];
        let mut bytes = Vec::new();
        for word in [module.start, module.end, module.offset] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.push(id.len() as u8);
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(module.path.as_bytes());
        self.blob(process, blob::MODULE, 0, &bytes);
    }

    /// A stack of a process, return addresses innermost first. `id` is not 0. With
    /// [`NO_PROCESS`] the id is good for all processes: a fork child goes on with its parent's.
    pub fn stack(&mut self, process: u32, id: u32, frames: &[u64]) {
        let bytes: Vec<u8> = frames.iter().flat_map(|f| f.to_le_bytes()).collect();
        self.blob(process, blob::STACK, id, &bytes);
    }

    /// Notes about the recording.
    pub fn recording(&mut self, notes: &[(String, String)]) {
        self.blob(NO_PROCESS, blob::RECORDING, 0, notes_text(notes).as_bytes());
    }

    /// Any definition, as a live stream carries it.
    pub fn blob(&mut self, process: u32, what: u64, id: u32, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(MAX_BLOB_BYTES)];
        let fits = |(p, _, block): &(u32, u32, Vec<u8>)| {
            *p == process && block.len() + bytes.len() < BLOCK_BYTES
        };
        if !self.blocks.last().is_some_and(fits) {
            self.blocks.push((process, 0, Vec::new()));
        }
        let Some((_, count, block)) = self.blocks.last_mut() else { return };
        let mut room = [0; RECORD_ROOM_BYTES];
        let record =
            Record { kind: Kind::Blob, time: 0, a: what, b: bytes.len() as u64, c: u64::from(id) };
        let length = Coder::default().encode(record, &mut room);
        block.extend_from_slice(&room[..length]);
        block.extend_from_slice(bytes);
        *count += 1;
    }

    /// Hands every block over and keeps none.
    pub(crate) fn drain(
        &mut self,
        mut write: impl FnMut(BlockHeader, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (process, records, raw) in self.blocks.drain(..) {
            let header =
                BlockHeader { process, records, ..BlockHeader::new(BlockKind::Definitions) };
            write(header, &raw)?;
        }
        Ok(())
    }
}

fn notes_text(notes: &[(String, String)]) -> String {
    let line = |text: &str| text.replace('\n', " ");
    notes.iter().map(|(n, v)| format!("{}={}\n", line(n), line(v))).collect()
}

fn notes_of(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let split = |l: &str| l.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    text.lines().filter_map(split).collect()
}

/// All definitions of a file.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub recording: Recording,
    pub processes: Vec<Process>,
    places: HashMap<u32, usize>,
    stacks: HashMap<(u32, u32), (usize, usize)>,
    frames: Vec<u64>,
}

impl Known {
    pub fn process(&self, index: u32) -> Option<&Process> {
        self.places.get(&index).map(|&place| &self.processes[place])
    }

    pub fn stack(&self, process: u32, id: u32) -> &[u64] {
        let own = self.stacks.get(&(process, id));
        let place = own.or_else(|| self.stacks.get(&(NO_PROCESS, id)));
        place.map_or(&[], |&(from, to)| &self.frames[from..to])
    }

    /// The pid of the child that fork `number` of a process made; 0 if unknown.
    pub fn child_pid(&self, parent: u32, number: u32) -> u32 {
        let of = |child: &&Process| {
            number != 0 && child.forked_from == Some(parent) && child.fork_number == number
        };
        self.processes.iter().find(of).map_or(0, |child| child.pid)
    }

    fn process_mut(&mut self, index: u32) -> &mut Process {
        let place = *self.places.entry(index).or_insert_with(|| {
            self.processes.push(Process { index, ..Process::default() });
            self.processes.len() - 1
        });
        &mut self.processes[place]
    }

    /// Takes the payload of one block of definitions; what is wrong with it, if anything is.
    pub fn take(&mut self, process: u32, raw: &[u8]) -> Result<(), &'static str> {
        let mut coder = Coder::default();
        let mut at = 0;
        while at < raw.len() {
            let (record, length) =
                coder.decode(&raw[at..]).map_err(|_| "a definition that is no record")?;
            at += length;
            if record.kind != Kind::Blob {
                return Err("an event among the definitions");
            }
            let bytes = usize::try_from(record.b)
                .ok()
                .and_then(|length| raw.get(at..at.checked_add(length)?))
                .ok_or("a definition longer than its block")?;
            at += bytes.len();
            self.take_blob(process, record.a, record.c as u32, bytes)?;
        }
        Ok(())
    }

    fn take_blob(
        &mut self,
        process: u32,
        what: u64,
        id: u32,
        bytes: &[u8],
    ) -> Result<(), &'static str> {
        match what {
            blob::PROCESS => {
                let start = ProcessStart::from_bytes(bytes).ok_or("a process cut short")?;
                let known = self.process_mut(process);
                known.pid = start.pid;
                known.parent_pid = start.parent_pid;
                known.forked_from = Some(start.forked_from).filter(|&from| from != NO_PROCESS);
                known.fork_number = start.fork_number;
                known.page_bytes = start.page_bytes;
                known.sample_bytes = start.sample_bytes;
                known.stack_depth = start.stack_depth;
                known.cores = start.cores;
                known.break_start = start.break_start;
            }
            blob::COMMAND => {
                let words = bytes.split(|&b| b == 0);
                self.process_mut(process).command =
                    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            }
            blob::SETTINGS => self.process_mut(process).settings = notes_of(bytes),
            blob::MODULE => {
                let module = module_of(bytes).ok_or("a module cut short")?;
                self.process_mut(process).modules.push(module);
            }
            blob::STACK => {
                let from = self.frames.len();
                self.frames.extend(bytes.chunks_exact(8).map(|frame| long(frame, 0)));
                self.stacks.insert((process, id), (from, self.frames.len()));
            }
            blob::RECORDING => self.recording.notes.extend(notes_of(bytes)),
            // From a newer heapwise: nothing here needs it.
            _ => {}
        }
        Ok(())
    }
}

fn module_of(bytes: &[u8]) -> Option<Module> {
    let (head, rest) = bytes.split_at_checked(25)?;
    let (build_id, path) = rest.split_at_checked(usize::from(head[24]))?;
    Some(Module {
        start: long(head, 0),
        end: long(head, 8),
        offset: long(head, 16),
        build_id: build_id.to_vec(),
        path: String::from_utf8_lossy(path).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_come_back() {
        let mut out = Definitions::new();
        let module = Module {
            start: 0x1000,
            end: 0x3000,
            offset: 0x200,
            build_id: vec![1, 2, 3],
            path: "/lib/libz.so".into(),
        };
        out.recording(&[("host".into(), "here\nthere".into())]);
        let start = ProcessStart { pid: 9, forked_from: 1, fork_number: 2, ..Default::default() };
        out.process(3, start);
        out.command(3, &["sh", "-c", "true"]);
        out.settings(3, &[("arena_max".into(), "2".into())]);
        out.module(3, &module);
        out.stack(3, 7, &[0x1010, 0x2020]);
        let mut known = Known::default();
        out.drain(|header, raw| known.take(header.process, raw).map_err(io::Error::other))
            .expect("well made");
        let process = known.process(3).expect("defined");
        assert_eq!((process.pid, process.forked_from), (9, Some(1)));
        assert_eq!([(1, 2), (1, 1), (3, 2)].map(|(p, n)| known.child_pid(p, n)), [9, 0, 0]);
        assert_eq!(known.child_pid(1, 0), 0);
        assert_eq!(process.command, ["sh", "-c", "true"]);
        assert_eq!(process.settings, [("arena_max".to_owned(), "2".to_owned())]);
        assert_eq!(process.module_at(0x2fff), Some(&module));
        assert_eq!(process.module_at(0x3000), None);
        assert_eq!(known.stack(3, 7), [0x1010, 0x2020]);
        assert_eq!(known.stack(3, 8), [0; 0]);
        assert_eq!(known.recording.note("host"), Some("here there"));
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let mut known = Known::default();
        let mut room = [0; RECORD_ROOM_BYTES];
        for (what, bytes) in [(blob::PROCESS, 39), (blob::MODULE, 24), (blob::STACK, 1 << 40)] {
            let record = Record { kind: Kind::Blob, time: 0, a: what, b: bytes, c: 0 };
            let length = Coder::default().encode(record, &mut room);
            let mut raw = room[..length].to_vec();
            raw.resize(length + 39.min(bytes as usize), 0);
            assert!(known.take(0, &raw).is_err(), "{what}");
        }
        assert!(known.take(0, &[0xff]).is_err());
    }
}
