//! Reading a file below `/proc/PID`, with our errors.

use std::fs::File;
use std::io::{self, Read};

use super::rights;
use crate::error::Error;

/// No file of `/proc` that we read is longer: a map line is about 100 bytes,
/// and there are at most 65,530 mappings unless the limit was raised.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Path of a file of a process.
#[must_use]
pub fn path(pid: u32, name: &str) -> String {
    format!("/proc/{pid}/{name}")
}

/// Opens a file of a process.
///
/// # Errors
/// No such process, no permission, or what the kernel said.
pub fn open(pid: u32, name: &'static str) -> Result<File, Error> {
    File::open(path(pid, name)).map_err(|error| convert(pid, name, error))
}

/// Reads a file of a process.
///
/// # Errors
/// As [`open`].
pub fn read(pid: u32, name: &'static str) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    open(pid, name)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut content)
        .map_err(|error| convert(pid, name, error))?;
    Ok(content)
}

/// Reads a file of a process as text, what is not UTF-8 replaced.
///
/// # Errors
/// As [`open`].
pub fn read_text(pid: u32, name: &'static str) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&read(pid, name)?).into_owned())
}

/// Our error for one of the kernel's.
#[must_use]
pub fn convert(pid: u32, what: &'static str, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Error::NoSuchProcess(pid),
        Some(libc::EACCES | libc::EPERM) => {
            Error::NotPermitted { pid, what, remedy: rights::remedy(pid) }
        }
        _ => Error::Io { what: path(pid, what), source },
    }
}
