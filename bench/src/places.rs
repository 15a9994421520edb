//! Where things lie: the workspace, the build folder, the peers' libraries.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench/ is inside the workspace")
}

/// The folder of this very executable: target/release.
pub fn profile_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    Ok(program.parent().context("a program lies in a folder")?.to_owned())
}

/// A folder beside the profile's, made if need be: target/NAME.
pub fn target_folder(name: &str) -> Result<PathBuf> {
    let profile = profile_folder()?;
    let folder = profile.parent().context("target/release has a parent")?.join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
