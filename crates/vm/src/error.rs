//! Every way a verb can refuse, by cause; and the number a program sees.

use crate::table::OutOfTables;
use crate::tree::OutOfVmas;
use core::fmt;

/// What a system call returns, negated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Errno {
    /// Operation not permitted.
    Eperm = 1,
    /// Try again later.
    Eagain = 11,
    /// Out of memory, of address space, or past a limit.
    Enomem = 12,
    /// Permission denied.
    Eacces = 13,
    /// Bad address.
    Efault = 14,
    /// Something is there.
    Eexist = 17,
    /// Invalid argument.
    Einval = 22,
    /// Value too large.
    Eoverflow = 75,
    /// Operation not supported.
    Eopnotsupp = 95,
}

/// Why a verb was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A length of 0, a misaligned address or offset, flags that contradict.
    Argument,
    /// The length, rounded to pages, is beyond any address space.
    TooLong,
    /// No gap of that length is left in the address space.
    NoGap,
    /// `RLIMIT_AS` would be passed.
    AddressSpaceLimit,
    /// `RLIMIT_DATA` would be passed.
    DataLimit,
    /// `RLIMIT_STACK` would be passed.
    StackLimit,
    /// The stack would come too close to what lies below it.
    StackGap,
    /// The address space has `max_map_count` mappings.
    TooManyMappings,
    /// The overcommit policy says no.
    Commit,
    /// Part of the range is not mapped.
    Unmapped,
    /// Something is mapped there already.
    Exists,
    /// The file's mode or the mapping's kind does not allow it.
    Access,
    /// Only the privileged may map so low.
    TooLow,
    /// The offset and length pass the largest file.
    Offset,
    /// The address is not mapped, or the range passes the mapping's end.
    Fault,
    /// A flag that the kind of mapping does not know.
    Unsupported,
    /// Advice for a part of a VMA would split it, and there are too many or no node is
    /// left: what is want of memory elsewhere is this for `madvise`.
    TryAgain,
    /// The caller's pool has no node left for a VMA.
    OutOfVmas,
    /// The caller's page table has no memory for another table.
    OutOfTables,
    /// The caller's frames have run out.
    OutOfFrames,
    /// The caller can make no further memory object.
    OutOfFiles,
}

impl Error {
    /// The number that Linux gives for it.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Argument => Errno::Einval,
            Self::Exists => Errno::Eexist,
            Self::Access => Errno::Eacces,
            Self::TooLow => Errno::Eperm,
            Self::Offset => Errno::Eoverflow,
            Self::Fault => Errno::Efault,
            Self::TryAgain => Errno::Eagain,
            Self::Unsupported => Errno::Eopnotsupp,
            Self::TooLong
            | Self::NoGap
            | Self::AddressSpaceLimit
            | Self::DataLimit
            | Self::StackLimit
            | Self::StackGap
            | Self::TooManyMappings
            | Self::Commit
            | Self::Unmapped
            | Self::OutOfVmas
            | Self::OutOfTables
            | Self::OutOfFrames
            | Self::OutOfFiles => Errno::Enomem,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "invalid argument",
            Self::TooLong => "longer than any address space",
            Self::NoGap => "no gap of that length",
            Self::AddressSpaceLimit => "RLIMIT_AS would be passed",
            Self::DataLimit => "RLIMIT_DATA would be passed",
            Self::StackLimit => "RLIMIT_STACK would be passed",
            Self::StackGap => "the stack would come too close to a mapping",
            Self::TooManyMappings => "too many mappings",
            Self::Commit => "the overcommit policy refuses",
            Self::Unmapped => "part of the range is not mapped",
            Self::Exists => "something is mapped there",
            Self::Access => "the mapping does not allow it",
            Self::TooLow => "below the lowest address for mappings",
            Self::Offset => "offset past the largest file",
            Self::Fault => "not mapped",
            Self::TryAgain => "no further VMA for the advice now",
            Self::Unsupported => "a flag that this kind of mapping does not know",
            Self::OutOfVmas => "no node left for another VMA",
            Self::OutOfTables => "no memory for another page table",
            Self::OutOfFrames => "no frame left",
            Self::OutOfFiles => "no memory object left",
        })
    }
}
impl core::error::Error for Error {}

impl From<OutOfVmas> for Error {
    fn from(_: OutOfVmas) -> Self {
        Self::OutOfVmas
    }
}

impl From<OutOfTables> for Error {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfTables
    }
}

/// How an access ends that no page can be found for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// SIGSEGV, `SEGV_MAPERR`: nothing is mapped there.
    NotMapped,
    /// SIGSEGV, `SEGV_ACCERR`: the mapping does not allow it.
    NotAllowed,
    /// SIGBUS: behind the end of the file.
    BeyondFile,
    /// No frame or table left: for the OOM killer. Nothing has changed.
    OutOfMemory,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMapped => "SIGSEGV: not mapped",
            Self::NotAllowed => "SIGSEGV: not allowed",
            Self::BeyondFile => "SIGBUS: behind the end of the file",
            Self::OutOfMemory => "out of memory",
        })
    }
}
impl core::error::Error for FaultError {}

impl From<OutOfTables> for FaultError {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfMemory
    }
}
