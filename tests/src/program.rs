//! Looking for programs of this machine.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The path of `name`, as the shell would find it.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| {
        path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

/// Like [`find`]; says on stderr which test is left out where there is none.
pub fn find_or_skip(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        eprintln!("SKIPPED: no `{name}` on this machine; `.ci/install` installs it");
    }
    found
}
