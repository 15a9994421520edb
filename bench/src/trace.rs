//! Recorded allocations of real programs: how they are stored, and `bench record`.
//!
//! ```text
//! traces/NAME.gz, gzip: slots, then a number for each call, LEB128
//!   number & 3   0 malloc    number >> 2 is the size; the block gets the slot freed last, or a new one
//!                1 free      number >> 2 is the slot
//!                2 realloc   number >> 2 is the slot, a second number the size
//!                3 other     number >> 2 is the size, a second number 0 for calloc, or log2 of the alignment
//! ```
//! So a call takes two or three bytes, and one before packing. What was still
//! held at the end of the program is freed at the end of the trace.

use crate::places::{target_folder, workspace};
use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Calls that are kept of a longer recording.
const MOST_CALLS: usize = 600_000;

/// Kinds of calls as the recorder writes them.
mod raw {
    pub const MALLOC: u64 = 0;
    pub const FREE: u64 = 1;
    pub const REALLOC: u64 = 2;
    pub const CALLOC: u64 = 3;
    pub const ALIGNED: u64 = 4;
}

/// One call of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A block of so many bytes.
    Malloc(usize),
    /// The block in this slot goes.
    Free(usize),
    /// The block in this slot gets so many bytes.
    Realloc(usize, usize),
    /// So many bytes of zeros.
    Calloc(usize),
    /// So many bytes at a multiple of 2 to this power.
    Aligned(usize, u32),
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what [`put`] wrote; `None` at the end.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The calls of a trace, unpacked.
pub struct Calls<'a> {
    bytes: &'a [u8],
    /// Blocks held at once, at most.
    pub slots: usize,
}

impl<'a> Calls<'a> {
    /// `bytes` as [`encode`] made them.
    pub fn new(mut bytes: &'a [u8]) -> Option<Self> {
        let slots = take(&mut bytes)? as usize;
        Some(Self { bytes, slots })
    }
}

impl Iterator for Calls<'_> {
    type Item = Call;

    #[inline]
    fn next(&mut self) -> Option<Call> {
        let number = take(&mut self.bytes)?;
        let value = (number >> 2) as usize;
        Some(match number & 3 {
            0 => Call::Malloc(value),
            1 => Call::Free(value),
            2 => Call::Realloc(value, take(&mut self.bytes)? as usize),
            _ => match take(&mut self.bytes)? {
                0 => Call::Calloc(value),
                log2 => Call::Aligned(value, log2 as u32),
            },
        })
    }
}

/// The recorder's words (kind, address, size, third) as a trace.
fn encode(words: impl Iterator<Item = [u64; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut slot_of: HashMap<u64, u64> = HashMap::new();
    let mut free_slots: Vec<u64> = Vec::new();
    let mut slots = 0;
    let mut calls = 0;
    for [kind, address, size, third] in words {
        if calls == MOST_CALLS || !(raw::MALLOC..=raw::ALIGNED).contains(&kind) {
            break;
        }
        match kind {
            raw::FREE => {
                // What was allocated before the recorder ran is not known.
                let Some(slot) = slot_of.remove(&address) else { continue };
                put(&mut out, slot << 2 | 1);
                free_slots.push(slot);
            }
            raw::REALLOC if slot_of.contains_key(&third) => {
                let slot = slot_of.remove(&third).unwrap_or_default();
                if size == 0 {
                    put(&mut out, slot << 2 | 1);
                    free_slots.push(slot);
                } else {
                    put(&mut out, slot << 2 | 2);
                    put(&mut out, size);
                    slot_of.insert(address, slot);
                }
            }
            _ if address == 0 => continue,
            _ => {
                let slot = free_slots.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                slot_of.insert(address, slot);
                match kind {
                    raw::CALLOC => {
                        put(&mut out, size << 2 | 3);
                        put(&mut out, 0);
                    }
                    raw::ALIGNED => {
                        put(&mut out, size << 2 | 3);
                        put(&mut out, u64::from(third.max(16).ilog2()));
                    }
                    _ => put(&mut out, size << 2),
                }
            }
        }
        calls += 1;
    }
    let mut left: Vec<u64> = slot_of.into_values().collect();
    left.sort_unstable();
    left.iter().for_each(|slot| put(&mut out, slot << 2 | 1));
    let mut whole = Vec::new();
    put(&mut whole, slots);
    whole.extend(out);
    whole
}

fn packed_file(name: &str) -> PathBuf {
    workspace().join("bench/traces").join(format!("{name}.gz"))
}

/// The unpacked file of a trace, for a workload to map; made if it is not there yet.
pub fn unpacked_file(name: &str) -> Result<PathBuf> {
    let packed = packed_file(name);
    let unpacked = target_folder("bench-data")?.join(format!("trace-{name}"));
    let time = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    if time(&unpacked) < time(&packed) || time(&unpacked).is_none() {
        let file = std::fs::File::open(&packed)
            .with_context(|| format!("opening {}", packed.display()))?;
        let mut bytes = Vec::new();
        GzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes)?;
        std::fs::write(&unpacked, bytes)?;
    }
    Ok(unpacked)
}

/// Records what the largest process of `command` asks of malloc, as trace `name`.
pub fn record(name: &str, command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("no program to record") };
    let folder = target_folder("bench-data")?;
    let (library, raw_file) = (folder.join("recorder.so"), folder.join(format!("raw-{name}")));
    let source = workspace().join("bench/traces/recorder.c");
    let built = Command::new("cc")
        .args(["-O2", "-fPIC", "-shared", "-fno-builtin", "-o"])
        .args([&library, &source])
        .status()?;
    if !built.success() {
        bail!("{} does not compile", source.display());
    }
    let ran = Command::new(program)
        .args(arguments)
        .env("LD_PRELOAD", &library)
        .env("BENCH_RECORD", &raw_file)
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !ran.success() {
        bail!("{program} failed");
    }
    let stem = format!("raw-{name}.");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&stem)))
        .collect();
    found.sort_by_key(|path| path.metadata().map_or(0, |meta| meta.len()));
    let largest = found.last().context("nothing was recorded")?;
    let bytes = std::fs::read(largest)?;
    let words = bytes.chunks_exact(32).map(|record| {
        std::array::from_fn(|word| {
            u64::from_le_bytes(record[8 * word..8 * word + 8].try_into().expect("eight bytes"))
        })
    });
    let trace = encode(words);
    let mut packed = GzEncoder::new(std::fs::File::create(packed_file(name))?, Compression::best());
    packed.write_all(&trace)?;
    packed.finish()?;
    let calls = Calls::new(&trace).context("an empty trace")?;
    println!(
        "{name}: {} slots, {} bytes, {} packed",
        calls.slots,
        trace.len(),
        packed_file(name).metadata()?.len()
    );
    println!("{} calls", calls.count());
    found.iter().try_for_each(std::fs::remove_file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_comes_back_as_calls_on_slots() {
        let words = [
            [raw::MALLOC, 0x1000, 100, 0],
            [raw::CALLOC, 0x2000, 5000, 0],
            [raw::FREE, 0x1000, 0, 0],
            [raw::FREE, 0x9000, 0, 0],
            [raw::ALIGNED, 0x3000, 64, 128],
            [raw::REALLOC, 0x4000, 9000, 0x2000],
            [raw::FREE, 0x3000, 0, 0],
        ];
        let trace = encode(words.into_iter());
        let calls = Calls::new(&trace).unwrap();
        assert_eq!(calls.slots, 2);
        let calls: Vec<Call> = calls.collect();
        let expected = [
            Call::Malloc(100),
            Call::Calloc(5000),
            Call::Free(0),
            Call::Aligned(64, 7),
            Call::Realloc(1, 9000),
            Call::Free(0),
            Call::Free(1),
        ];
        assert_eq!(calls, expected);
    }
}
