//! The one error of a trace file: what is wrong with it, and where.

use std::fmt;
use std::io;

/// Why a trace cannot be read, or not to its end.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read or written at all.
    Io(io::Error),
    /// It does not begin as a trace does.
    NotATrace,
    /// It is of a version that this reader does not know.
    Version(u32),
    /// It ends before its end: the recorder was stopped, or the file cut. What came before has
    /// been read.
    Cut {
        /// Bytes that are whole.
        at: u64,
    },
    /// Something in it contradicts itself. What came before has been read.
    Bent {
        /// Where the block begins.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// Whether what was read before this error is a true part of the recording.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Cut { .. })
    }

    /// The same error once more; an i/o error by its kind and text.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Self::NotATrace => Self::NotATrace,
            Self::Version(version) => Self::Version(*version),
            Self::Cut { at } => Self::Cut { at: *at },
            Self::Bent { at, what } => Self::Bent { at: *at, what },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotATrace => f.write_str("is not a Heapwise trace"),
            Self::Version(version) => write!(
                f,
                "is a trace of version {version}, this heapwise reads versions 1 to {}",
                crate::format::FORMAT_VERSION
            ),
            Self::Cut { at } => write!(f, "ends early: {at} bytes are whole, the rest is missing"),
            Self::Bent { at, what } => write!(f, "is damaged at byte {at}: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
