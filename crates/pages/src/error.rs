//! Every way an operation can be refused. A refusal changes nothing.

use crate::frame::{Order, Pfn};
use core::fmt;

/// Why no block was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No zone that may serve the request has such a block above its watermark.
    /// Drain the per-CPU lists, reclaim, compact, and try again.
    OutOfMemory,
    /// The order is above the largest that the zones keep.
    TooLarge,
}

/// Why a given place was not claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimError {
    /// No zone spans these frames, or they lie in a hole.
    Foreign,
    /// The first frame is no multiple of the block's size.
    Misaligned,
    /// At least one frame is in use, or in a hole.
    NotFree,
    /// The order is above the largest that the zones keep.
    TooLarge,
}

/// Why a block was not taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// No zone spans the frame, or it lies in a hole.
    Foreign,
    /// The frame is no multiple of the block's size.
    Misaligned,
    /// The block is free already, or waits in a per-CPU list.
    DoubleFree,
    /// A block starts here, of another order.
    WrongOrder {
        /// The order it was allocated with.
        allocated: Order,
    },
    /// The frame lies inside a block that is in use.
    InsideBlock {
        /// Where that block starts.
        head: Pfn,
        /// Its order.
        order: Order,
    },
}

/// A bulk free that stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkFreeError {
    /// Blocks freed before it; the one at this index was refused.
    pub freed: usize,
    /// Why.
    pub cause: FreeError,
}

/// Why memory was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionError {
    /// The end is not after the start.
    Empty,
    /// No zone spans all of it.
    Foreign,
    /// Some frame of it is there already.
    Overlap,
    /// A slice of the metadata is too short.
    MetadataTooShort,
    /// The zone exists already, or spans frames of another.
    ZoneTaken,
}

/// Why the slab refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlabError {
    /// No frames for a new slab.
    OutOfMemory,
    /// Size 0 or above what one block of frames holds, or an alignment that is no
    /// power of two or above a frame.
    BadLayout,
    /// Every slot for a cache is taken.
    TooManyCaches,
    /// No such cache (any more).
    NoSuchCache,
    /// The cache still has objects out: so many, those in per-CPU fronts included.
    Busy(u32),
    /// The address belongs to no slab.
    Foreign,
    /// The object belongs to another cache.
    WrongCache,
    /// The address is not where an object starts.
    NotAnObject,
    /// The object is free already.
    DoubleFree,
    /// A free pointer or a free object's poison was overwritten: a write after
    /// free. The rest of that slab's free objects are given up.
    Corrupt,
    /// A red zone around the object was overwritten: a write out of bounds.
    RedZone,
}

macro_rules! messages {
    ($($error:ty { $($pattern:pat => $text:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $text),+ })
            }
        }
        impl core::error::Error for $error {}
    )+};
}

messages! {
    AllocError {
        Self::OutOfMemory => "no block of that order above the watermarks",
        Self::TooLarge => "order above the largest",
    }
    ClaimError {
        Self::Foreign => "frames of no zone",
        Self::Misaligned => "misaligned block",
        Self::NotFree => "frames in use",
        Self::TooLarge => "order above the largest",
    }
    FreeError {
        Self::Foreign => "frame of no zone",
        Self::Misaligned => "misaligned block",
        Self::DoubleFree => "double free",
        Self::WrongOrder { .. } => "block of another order",
        Self::InsideBlock { .. } => "frame inside a block in use",
    }
    RegionError {
        Self::Empty => "empty region",
        Self::Foreign => "region of no zone",
        Self::Overlap => "region overlaps another",
        Self::MetadataTooShort => "metadata too short",
        Self::ZoneTaken => "zone taken",
    }
    SlabError {
        Self::OutOfMemory => "no frames for a slab",
        Self::BadLayout => "size or alignment out of range",
        Self::TooManyCaches => "no slot for another cache",
        Self::NoSuchCache => "no such cache",
        Self::Busy(_) => "objects still in use",
        Self::Foreign => "address of no slab",
        Self::WrongCache => "object of another cache",
        Self::NotAnObject => "not the start of an object",
        Self::DoubleFree => "double free",
        Self::Corrupt => "written after free",
        Self::RedZone => "red zone overwritten",
    }
}

impl fmt::Display for BulkFreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} blocks", self.cause, self.freed)
    }
}
impl core::error::Error for BulkFreeError {}
