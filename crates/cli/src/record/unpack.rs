//! What a thread wrote, looked through: blobs go to the definitions, the rest to a block.

use heapwise_layout::record::{Coder, Kind, RECORD_ROOM_BYTES, Record, blob};
use heapwise_trace::{BlockHeader, BlockKind, Definitions};

/// The event records of a part of a chunk.
#[derive(Debug)]
pub struct Part {
    /// Header, but for process, stream, thread and number.
    pub header: BlockHeader,
    /// The records.
    pub raw: Vec<u8>,
}

/// A blob that is no definition yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Blob {
    /// See [`blob`].
    pub what: u64,
    /// Its id.
    pub id: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Splits `bytes`, whose first record builds on `coder`, which is moved on. Ends at the first
/// byte that is no record: a program that writes where it should not spoils its own recording.
pub fn unpack(coder: &mut Coder, bytes: Vec<u8>, blobs: &mut Vec<Blob>) -> Part {
    let start = *coder;
    let mut at = 0;
    let mut records = 0;
    let mut plain = true;
    while at < bytes.len() {
        let Ok((record, length)) = coder.decode(&bytes[at..]) else { break };
        at += length;
        if record.kind == Kind::Blob {
            plain = false;
            let Some(content) = bytes.get(at..at.saturating_add(record.b as usize)) else { break };
            at += content.len();
            blobs.push(Blob { what: record.a, id: record.c as u32, bytes: content.to_vec() });
        } else {
            records += 1;
        }
    }
    let mut raw = bytes;
    raw.truncate(at.min(raw.len()));
    if !plain {
        raw = without_blobs(start, &raw);
    }
    Part::new(records, start, *coder, raw)
}

impl Part {
    /// So many records, between two states of the coder.
    pub fn new(records: u32, from: Coder, to: Coder, raw: Vec<u8>) -> Self {
        let header = BlockHeader {
            records,
            base_time: from.time,
            base_address: from.address,
            last_time: to.time,
            ..BlockHeader::new(BlockKind::Events)
        };
        Self { header, raw }
    }
}

/// The same records but for the blobs, packed anew.
fn without_blobs(start: Coder, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = (start, start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Ok((record, length)) = from.decode(&bytes[at..]) {
        at += length;
        if record.kind == Kind::Blob {
            at = at.saturating_add(record.b as usize).min(bytes.len());
        } else {
            push(&mut to, &mut out, record);
        }
    }
    out
}

/// Appends a record.
pub fn push(coder: &mut Coder, out: &mut Vec<u8>, record: Record) {
    let mut room = [0; RECORD_ROOM_BYTES];
    let length = coder.encode(record, &mut room);
    out.extend_from_slice(&room[..length]);
}

/// Takes a blob that is a definition as it stands; gives any other back.
pub fn define(definitions: &mut Definitions, process: u32, found: Blob) -> Option<Blob> {
    match found.what {
        blob::PROCESS | blob::COMMAND | blob::SETTINGS => {
            definitions.blob(process, found.what, found.id, &found.bytes);
            None
        }
        _ => Some(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_leave_and_events_stay() {
        let mut coder = Coder { time: 100, address: 0x1000 };
        let mut bytes = Vec::new();
        let event = |time, b| Record { kind: Kind::Free, time, a: 0, b, c: 0 };
        push(&mut coder, &mut bytes, event(105, 0x2000));
        let blob = Record { kind: Kind::Blob, time: 200, a: blob::MAPS, b: 3, c: 9 };
        push(&mut coder, &mut bytes, blob);
        bytes.extend_from_slice(b"abc");
        push(&mut coder, &mut bytes, event(300, 0x3000));
        bytes.push(0xff);

        let mut blobs = Vec::new();
        let mut state = Coder { time: 100, address: 0x1000 };
        let part = unpack(&mut state, bytes, &mut blobs);
        assert_eq!(blobs, [Blob { what: blob::MAPS, id: 9, bytes: b"abc".to_vec() }]);
        assert_eq!((part.header.records, part.header.last_time), (2, 300));
        let mut reader = Coder { time: 100, address: 0x1000 };
        let (first, length) = reader.decode(&part.raw).expect("a record");
        let (second, _) = reader.decode(&part.raw[length..]).expect("a record");
        assert_eq!((first, second), (event(105, 0x2000), event(300, 0x3000)));
    }
}
