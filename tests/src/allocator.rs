//! The allocators that a program can run on, and how it comes to them.

use crate::library;
use std::path::PathBuf;

/// An allocator to preload; `Glibc` is none, the C library's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocator {
    /// The malloc of the C library that the program is linked with.
    Glibc,
    /// mimalloc 2, as Debian's `libmimalloc2.0` has it.
    Mimalloc,
    /// jemalloc 5, as Debian's `libjemalloc2` has it.
    Jemalloc,
    /// Ours.
    Heapwise,
}

impl Allocator {
    /// The library to name in `LD_PRELOAD`; `Ok(None)` is no library at all.
    ///
    /// # Errors
    /// A sentence that says what to install.
    pub fn preload(self) -> Result<Option<PathBuf>, String> {
        match self {
            Self::Glibc => Ok(None),
            Self::Heapwise => Ok(library::shared().map(PathBuf::from)),
            Self::Mimalloc => system_library("libmimalloc.so.2", "libmimalloc2.0").map(Some),
            Self::Jemalloc => system_library("libjemalloc.so.2", "libjemalloc2").map(Some),
        }
    }
}

fn system_library(file: &str, package: &str) -> Result<PathBuf, String> {
    let arch = std::env::consts::ARCH;
    [format!("/usr/lib/{arch}-linux-gnu"), "/usr/lib64".into(), "/usr/lib".into()]
        .iter()
        .map(|dir| PathBuf::from(dir).join(file))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("no {file} on this machine (Debian: apt-get install {package})"))
}
