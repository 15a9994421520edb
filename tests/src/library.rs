//! `libheapwise.so` and `libheapwise.a`: found by `HEAPWISE_LIB` or built once.

use crate::workspace;
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The shared library under test, or `None` for `HEAPWISE_LIB=none`.
///
/// Without `HEAPWISE_LIB` the library is built by a nested cargo, in a target
/// directory of its own: the outer cargo's may be locked. A file lock keeps
/// test binaries that run side by side from building it twice.
pub fn shared() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| match env::var_os("HEAPWISE_LIB") {
            Some(name) if name == "none" => None,
            Some(path) => Some(
                Path::new(&path)
                    .canonicalize()
                    .unwrap_or_else(|e| panic!("HEAPWISE_LIB={}: {e}", path.display())),
            ),
            None => Some(build()),
        })
        .as_deref()
}

/// The static library, which the same build leaves beside the shared one.
pub fn archive() -> Option<PathBuf> {
    let path = shared()?.with_file_name("libheapwise.a");
    assert!(path.is_file(), "no {}: the build should leave it beside the .so", path.display());
    Some(path)
}

fn build() -> PathBuf {
    let target = workspace::target_dir().join("heapwise-so");
    let lock_path = workspace::build_dir("library").join("lock");
    let lock = File::create(&lock_path)
        .unwrap_or_else(|e| panic!("cannot make {}: {e}", lock_path.display()));
    lock.lock().unwrap_or_else(|e| panic!("cannot lock {}: {e}", lock_path.display()));

    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "-p", "libheapwise", "--target-dir"])
        .arg(&target)
        .current_dir(workspace::root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo build --release -p libheapwise failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let library = target.join("release/libheapwise.so");
    assert!(library.is_file(), "the build left no {}", library.display());
    library
}
