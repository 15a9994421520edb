//! Where `libheapwise.so` is.
//!
//! Looked for in this order, the first usable one wins:
//!
//! 1. `$HEAPWISE_LIB`, taken as it is;
//! 2. `libheapwise.so` beside the executable, or in `../lib`, if it is the very
//!    library this command was built with;
//! 3. the embedded copy, written once to `$XDG_CACHE_HOME/heapwise/<hash>/`, else
//!    `~/.cache/…`, else `/tmp/heapwise-<uid>/<hash>/`.
//!
//! Invariant: a path that leaves this module is absolute and can be put into
//! LD_PRELOAD, and what it names is ours byte for byte (case 1 excepted).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;

use crate::failure::{Failure, OURS};

/// Overrides the search.
pub const LIBRARY_ENV: &str = "HEAPWISE_LIB";
const FILE_NAME: &str = "libheapwise.so";
static EMBEDDED: &[u8] = include_bytes!(env!("HEAPWISE_SO"));
/// Names the cache directory of this very build.
const EMBEDDED_HASH: &str = env!("HEAPWISE_SO_HASH");

/// Finds the library, extracting the embedded copy when there is no other.
pub fn locate() -> anyhow::Result<PathBuf> {
    if let Some(given) = env::var_os(LIBRARY_ENV).filter(|given| !given.is_empty()) {
        let path = fs::canonicalize(&given).map_err(|error| {
            Failure::new(OURS, format!("{LIBRARY_ENV}={}: {error}", Path::new(&given).display()))
        })?;
        preloadable(&path).map_err(|why| {
            Failure::new(OURS, format!("{LIBRARY_ENV}={}: {why}", path.display()))
        })?;
        return Ok(path);
    }
    if let Some(found) = beside_executable() {
        return Ok(found);
    }
    if EMBEDDED.is_empty() {
        return Err(Failure::new(
            OURS,
            format!("this heapwise was built without {FILE_NAME}; set {LIBRARY_ENV} to its path"),
        )
        .into());
    }
    let mut refusals = Vec::new();
    for directory in cache_directories() {
        match extract_into(&directory) {
            Ok(path) => return Ok(path),
            Err(why) => refusals.push(format!("{}: {why}", directory.display())),
        }
    }
    Err(Failure::new(
        OURS,
        format!(
            "no place to put {FILE_NAME} ({}); set XDG_CACHE_HOME to a directory of yours, or {LIBRARY_ENV}",
            refusals.join("; ")
        ),
    )
    .into())
}

fn beside_executable() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    let directory = executable.parent()?;
    [directory.join(FILE_NAME), directory.join("../lib").join(FILE_NAME)]
        .into_iter()
        .filter_map(|candidate| fs::canonicalize(candidate).ok())
        .find(|path| {
            (EMBEDDED.is_empty() || is_embedded(path).unwrap_or(false)) && preloadable(path).is_ok()
        })
}

fn cache_directories() -> Vec<PathBuf> {
    let absolute =
        |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut directories = Vec::new();
    if let Some(cache) = absolute("XDG_CACHE_HOME") {
        directories.push(cache.join("heapwise"));
    }
    if let Some(home) = absolute("HOME") {
        directories.push(home.join(".cache/heapwise"));
    }
    directories.push(PathBuf::from(format!("/tmp/heapwise-{}", geteuid())));
    directories
}

/// Puts the embedded bytes at `root/<hash>/libheapwise.so`, unless they are there.
fn extract_into(root: &Path) -> Result<PathBuf, String> {
    let directory = root.join(EMBEDDED_HASH);
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    for private in [root, &directory] {
        make_private(private)?;
    }
    let path = directory.join(FILE_NAME);
    preloadable_name(&path)?;
    if !is_embedded(&path).unwrap_or(false) {
        write_atomically(&directory, &path).map_err(|error| error.to_string())?;
    }
    preloadable(&path)?;
    Ok(path)
}

/// A directory of ours that nobody else can write to: in `/tmp` someone may have been first.
fn make_private(directory: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    let metadata = fs::symlink_metadata(directory).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("is not a directory".into());
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(format!("belongs to user {}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("others may write to it".into());
    }
    Ok(())
}

/// Two commands may do this at once: each writes its own file, the last rename wins.
fn write_atomically(directory: &Path, path: &Path) -> io::Result<()> {
    let temporary = directory.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(EMBEDDED)?;
            // The umask had its say at open.
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
            fs::rename(&temporary, path)
        });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether the file is the embedded library and a plain file of ours or root's.
fn is_embedded(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let trusted = metadata.uid() == geteuid().as_raw() || metadata.uid() == 0;
    if !metadata.is_file() || !trusted || metadata.len() != EMBEDDED.len() as u64 {
        return Ok(false);
    }
    let mut content = Vec::with_capacity(EMBEDDED.len());
    file.read_to_end(&mut content)?;
    Ok(content == EMBEDDED)
}

/// Why the dynamic loader could not take this file out of LD_PRELOAD.
fn preloadable(path: &Path) -> Result<(), String> {
    preloadable_name(path)?;
    if !path.is_file() {
        return Err("is not a file".into());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if statvfs(directory).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOEXEC)) {
        return Err("is on a file system mounted noexec".into());
    }
    Ok(())
}

/// ld.so splits LD_PRELOAD at colons and blanks and expands `$ORIGIN` and its like.
fn preloadable_name(path: &Path) -> Result<(), String> {
    let bytes = OsStr::as_bytes(path.as_os_str());
    if bytes.iter().any(|byte| b": \t\n$".contains(byte)) {
        return Err("LD_PRELOAD cannot carry a path with a blank, colon or dollar sign".into());
    }
    Ok(())
}
