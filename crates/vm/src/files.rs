//! Files and shared memory, as mappings see them.
//!
//! ```text
//!   VMA ── FileId ──► Files: index ─► frame     one owner: the file; each mapped
//!   VMA ──────┘         page cache              page adds one
//! ```

use crate::frames::Frames;
use crate::vma::FileId;
use core::fmt;

/// What a file is, for counting and for placement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// On a file system: its pages count as `RssFile`.
    Regular,
    /// Shared memory, memfd, tmpfs: `RssShmem`.
    Shmem,
}

/// How `/proc/PID/maps` names a file, but for its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileLabel {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The inode.
    pub inode: u64,
}

/// Why a file has no page to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// The index is behind its end.
    BeyondEnd,
    /// No frame left.
    OutOfMemory,
}

/// How a file was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenMode {
    /// For reading; without it nothing can be mapped.
    pub read: bool,
    /// For writing.
    pub write: bool,
}

impl OpenMode {
    /// `O_RDWR`.
    pub const READ_WRITE: Self = Self { read: true, write: true };
    /// `O_RDONLY`.
    pub const READ: Self = Self { read: true, write: false };
}

/// The files that can be mapped.
pub trait Files {
    /// What it is.
    fn kind(&self, file: FileId) -> FileKind;

    /// The frame of a page, if it is in memory. The file stays its owner.
    fn cached(&self, file: FileId, index: u64) -> Option<heapwise_pages::Pfn>;

    /// The frame of a page, brought into memory if it is not. The file stays its owner.
    fn load(
        &mut self,
        file: FileId,
        index: u64,
        frames: &mut dyn Frames,
    ) -> Result<heapwise_pages::Pfn, LoadError>;

    /// One more VMA maps it.
    fn open(&mut self, file: FileId);

    /// One VMA less does. After the last of all kinds the file goes, with its frames;
    /// returns the pages of commitment that it gives back.
    fn close(&mut self, file: FileId, frames: &mut dyn Frames) -> u64;

    /// A store reached a page, or may have: called when one faults, and again when a
    /// dirty entry is taken out. What is written back to a disk has to know.
    fn mark_dirty(&mut self, file: FileId, index: u64) {
        let _ = (file, index);
    }

    /// Whether a page was marked so.
    fn is_dirty(&self, file: FileId, index: u64) -> bool {
        let _ = (file, index);
        false
    }

    /// New nameless shared memory, opened once. `accounted`: its pages were promised,
    /// and are to be given back when it goes. `None` if there is no room for it.
    fn create_shared(&mut self, pages: u64, accounted: bool) -> Option<FileId>;

    /// Its label.
    fn label(&self, file: FileId) -> FileLabel;

    /// Its path as `/proc/PID/maps` shows it.
    fn write_path(&self, file: FileId, out: &mut dyn fmt::Write) -> fmt::Result;
}
