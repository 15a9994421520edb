//! Where things are: the repository, cargo's target directory, scratch space.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The root of the repository.
pub fn root() -> PathBuf {
    tests().parent().expect("tests/ is inside the workspace").to_path_buf()
}

/// The folder of this package.
pub fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's target directory: the ancestor of this program that cargo has tagged.
pub fn target_dir() -> PathBuf {
    let program = env::current_exe().expect("the running test has a path");
    program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// A folder under the target directory, made if it is not there.
pub fn build_dir(name: &str) -> PathBuf {
    let dir = target_dir().join("heapwise-tests").join(name);
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    dir
}

/// An empty folder of one test's own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder whose name starts with `name`.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = build_dir("scratch").join(format!("{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        Self(dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
