//! Finds the program that a command line names, as `execvp` would.
//!
//! Done before the start, so that "not found" (127) and "not executable" (126)
//! are told apart from the program's own exit codes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};

use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};

/// What `execvp` searches when PATH is unset.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that `name` would run.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let shown = Path::new(name).display();
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match obstacle(&path) {
            None => Ok(path),
            Some(Obstacle::Missing(why)) => Err(Failure::new(NOT_FOUND, format!("{shown}: {why}"))),
            Some(Obstacle::NotExecutable(why)) => {
                Err(Failure::new(NOT_EXECUTABLE, format!("{shown}: {why}")))
            }
        };
    }
    let search = env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    let mut refused = None;
    for directory in env::split_paths(&search).filter(|_| !name.is_empty()) {
        // An empty entry means the current directory.
        let path = if directory.as_os_str().is_empty() {
            Path::new(".").join(name)
        } else {
            directory.join(name)
        };
        match obstacle(&path) {
            None => return Ok(path),
            Some(Obstacle::NotExecutable(why)) => {
                refused.get_or_insert_with(|| format!("{}: {why}", path.display()));
            }
            Some(Obstacle::Missing(_)) => {}
        }
    }
    Err(match refused {
        Some(why) => Failure::new(NOT_EXECUTABLE, why),
        None => Failure::new(NOT_FOUND, format!("{shown}: command not found")),
    })
}

enum Obstacle {
    Missing(String),
    NotExecutable(String),
}

fn obstacle(path: &Path) -> Option<Obstacle> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A directory on the way that we may not enter hides what is in it.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Some(Obstacle::NotExecutable(plain(&error)));
        }
        Err(error) => return Some(Obstacle::Missing(plain(&error))),
    };
    if metadata.is_dir() {
        return Some(Obstacle::NotExecutable("is a directory".into()));
    }
    if !metadata.is_file() {
        return Some(Obstacle::NotExecutable("is not a regular file".into()));
    }
    match faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        Ok(()) => None,
        Err(errno) => Some(Obstacle::NotExecutable(format!("not executable ({})", errno.desc()))),
    }
}

/// "No such file or directory", without Rust's "(os error 2)".
pub fn plain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}
