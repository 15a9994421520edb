//! What this process looks like from /proc: resident memory now and at its peak.

use std::fs;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Bytes resident now, from smaps_rollup, which counts exactly (statm lags by
/// some pages a core).
pub fn resident_bytes() -> u64 {
    field("/proc/self/smaps_rollup", "Rss:") << 10
}

/// The most bytes ever resident.
pub fn peak_bytes() -> u64 {
    field("/proc/self/status", "VmHWM:") << 10
}

/// The number that stands behind `name` in a file of /proc.
pub fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A file's bytes, mapped for good.
pub fn map_file(path: &Path) -> Result<&'static [u8]> {
    let file = fs::File::open(path)?;
    let bytes = file.metadata()?.len() as usize;
    // SAFETY: a fresh private mapping of the whole file, never unmapped.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes.max(1),
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    // SAFETY: that many bytes; nobody shortens a trace meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), bytes) })
}
