//! Where blocks go: to the file at once, or, bounded, to memory until the end.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use heapwise_trace::{Anchor, BlockHeader, BlockKind, Definitions, Writer, pack, wrap};

/// A bounded recording keeps at most so many bytes of blocks.
pub const RING_BYTES: usize = 512 << 20;

/// The trace on its way.
pub struct Sink {
    path: PathBuf,
    writer: Option<Writer<File>>,
    ring: Option<Ring>,
    /// Bytes that are whole in the file.
    whole: u64,
    error: Option<io::Error>,
}

/// The blocks of the last while.
struct Ring {
    window_ns: u64,
    blocks: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// Let go because of [`RING_BYTES`], not of the window.
    cut_short: bool,
}

impl Sink {
    /// Makes the file. With `window_ns` blocks of events older than that are let go.
    pub fn create(path: &Path, window_ns: Option<u64>) -> io::Result<Self> {
        // Not truncated to nothing: ext4 would write all of such a file to the disk when it is closed.
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        let mut writer = Writer::new(file)?;
        writer.flush()?;
        if writer.get_ref().metadata()?.is_file() {
            writer.get_ref().set_len(writer.bytes())?;
        }
        let ring = window_ns.map(|window_ns| Ring {
            window_ns,
            blocks: VecDeque::new(),
            bytes: 0,
            cut_short: false,
        });
        let whole = writer.bytes();
        Ok(Self { path: path.to_owned(), writer: Some(writer), ring, whole, error: None })
    }

    /// Whether a bounded recording held less than its window.
    pub fn cut_short(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.cut_short)
    }

    /// The file's descriptor, if blocks go there at once.
    pub fn descriptor(&self) -> Option<u32> {
        let writer = self.writer.as_ref().filter(|_| self.ring.is_none())?;
        Some(writer.get_ref().as_raw_fd().unsigned_abs())
    }

    /// What went wrong, if anything did; from then on nothing is written.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Takes a block of events, of now. What stays in memory is packed, unless there is no time;
    /// what goes to the file is not: that costs more than all else that is done with it.
    pub fn events(&mut self, header: BlockHeader, raw: &[u8], now_ns: u64, hurry: bool) {
        debug_assert_eq!(header.kind, BlockKind::Events);
        let Some(ring) = &mut self.ring else {
            return self.write(|writer| writer.unpacked(header, raw));
        };
        match if hurry { wrap(header, raw) } else { pack(header, raw) } {
            Ok(block) => ring.push(now_ns, block),
            Err(error) => self.error = Some(error),
        }
    }

    /// Takes definitions.
    pub fn definitions(&mut self, definitions: &mut Definitions) {
        if !definitions.is_empty() {
            self.write(|writer| writer.definitions(definitions));
        }
    }

    /// Takes a reading of the clocks.
    pub fn clock(&mut self, anchor: Anchor) {
        self.write(|writer| writer.clock(anchor));
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<File>) -> io::Result<()>) {
        let Some(writer) = &mut self.writer else { return };
        match write(writer) {
            Ok(()) => self.whole = writer.bytes(),
            Err(error) => {
                // What is left of the block would only be a cut: take it away.
                let _ = writer.get_ref().set_len(self.whole);
                self.error = Some(error);
                self.writer = None;
            }
        }
    }

    /// Ends the file; an error says how much of it is whole.
    pub fn finish(mut self) -> Result<u64, String> {
        if let Some(ring) = self.ring.take() {
            for (_, block) in ring.blocks {
                self.write(|writer| writer.packed(&block));
            }
        }
        self.write(Writer::end);
        match self.error {
            None => Ok(self.whole),
            Some(error) => Err(format!(
                "{}: {}; the trace so far, {}, is whole",
                self.path.display(),
                crate::run::plain(&error),
                crate::units::bytes(self.whole)
            )),
        }
    }
}

impl Ring {
    fn push(&mut self, now_ns: u64, block: Vec<u8>) {
        self.bytes += block.len();
        self.blocks.push_back((now_ns, block));
        while let Some((at, oldest)) = self.blocks.front() {
            let old = now_ns.saturating_sub(*at) > self.window_ns;
            if !old && self.bytes <= RING_BYTES {
                break;
            }
            self.cut_short |= !old;
            self.bytes -= oldest.len();
            self.blocks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_lets_go_of_what_is_old() {
        let mut ring = Ring { window_ns: 100, blocks: VecDeque::new(), bytes: 0, cut_short: false };
        for now in (0..1000).step_by(10) {
            ring.push(now, vec![0; 8]);
        }
        assert_eq!(ring.blocks.front().map(|b| b.0), Some(890));
        assert_eq!((ring.blocks.len(), ring.bytes, ring.cut_short), (11, 88, false));
    }
}
