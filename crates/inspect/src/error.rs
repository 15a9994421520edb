//! Why a process could not be looked at.

use std::{error, fmt, io};

/// A refusal of the kernel, or a process that is not there.
#[derive(Debug)]
pub enum Error {
    /// There is no such process, or it ended while we looked.
    NoSuchProcess(u32),
    /// The kernel does not let us.
    NotPermitted {
        /// The process.
        pid: u32,
        /// What was to be read.
        what: &'static str,
        /// What would help.
        remedy: String,
    },
    /// It cannot be stopped, as somebody traces it.
    Traced {
        /// The process.
        pid: u32,
        /// Who traces it.
        tracer: u32,
    },
    /// It makes threads faster than they can be stopped.
    Restless(u32),
    /// Anything else.
    Io {
        /// What was to be read.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess(pid) => write!(f, "no process {pid}"),
            Self::NotPermitted { pid, what, remedy } => {
                write!(f, "not permitted to read the {what} of process {pid}: {remedy}")
            }
            Self::Traced { pid, tracer } => write!(
                f,
                "process {pid} cannot be stopped: process {tracer} traces it already (a debugger, strace)"
            ),
            Self::Restless(pid) => {
                write!(f, "process {pid} makes threads faster than they can be stopped")
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
