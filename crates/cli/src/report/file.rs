//! The report file, as the supervisor sees it: made before the program, read after it.
//!
//! It is read with `pread`, never mapped here: a program that truncates it can
//! spoil its own report but not kill us.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use heapwise_layout::report::{
    REPORT_FILE_BYTES, REPORT_HEADER_BYTES, REPORT_MAGIC, REPORT_SLOT_BYTES, REPORT_SLOTS,
    REPORT_VERSION, ReportHeader, slot_offset,
};
use nix::sys::statvfs::statvfs;

use super::record::Record;

/// Shared memory first: a page written there never goes to a disk.
const SHARED_MEMORY: &str = "/dev/shm";

/// An open report file; gone from its directory when this is dropped.
pub struct ReportFile {
    file: File,
    path: PathBuf,
}

/// What the file held.
pub struct Contents {
    /// The processes, in the order they started.
    pub records: Vec<Record>,
    /// Processes that found the file full.
    pub lost: u32,
}

impl ReportFile {
    /// Makes an empty one.
    pub fn create() -> io::Result<Self> {
        let mut last = None;
        for directory in [PathBuf::from(SHARED_MEMORY), env::temp_dir(), PathBuf::from("/tmp")] {
            match Self::create_in(&directory) {
                Ok(made) => return Ok(made),
                Err(error) => {
                    last = Some(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", directory.display()),
                    ))
                }
            }
        }
        Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound)))
    }

    fn create_in(directory: &Path) -> io::Result<Self> {
        // A hole that cannot be filled would kill the program with SIGBUS.
        let room = statvfs(directory)?;
        if room.blocks_available() as u64 * room.fragment_size() as u64 <= REPORT_FILE_BYTES as u64
        {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let mut attempt = 0;
        let (file, path) = loop {
            let path = directory.join(format!("heapwise-report-{}-{attempt}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
            {
                Ok(file) => break (file, path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        };
        let made = Self { file, path };
        made.file.set_len(REPORT_FILE_BYTES as u64)?;
        let mut header = [0; size_of::<ReportHeader>()];
        put(&mut header, offset_of!(ReportHeader, magic), &REPORT_MAGIC.to_ne_bytes());
        put(&mut header, offset_of!(ReportHeader, version), &REPORT_VERSION.to_ne_bytes());
        made.file.write_all_at(&header, 0)?;
        Ok(made)
    }

    /// Where the library finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode, by which a process that still maps it is known.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// Reads every record; processes that still run go on writing meanwhile.
    pub fn read(&self) -> io::Result<Contents> {
        let mut header = [0; REPORT_HEADER_BYTES];
        self.file.read_exact_at(&mut header, 0)?;
        let mut word = [0; 4];
        word.copy_from_slice(&header[offset_of!(ReportHeader, claimed)..][..4]);
        let claimed = u32::from_ne_bytes(word);
        let used = claimed.min(REPORT_SLOTS as u32);
        let mut slot = [0; REPORT_SLOT_BYTES];
        let mut records = Vec::new();
        for index in 0..used as usize {
            self.file.read_exact_at(&mut slot, slot_offset(index) as u64)?;
            // Claimed but not filled in: the process died in between.
            records.extend(Record::decode(&slot));
        }
        Ok(Contents { records, lost: claimed - used })
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}
