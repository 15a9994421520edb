//! Builds `libheapwise.so` and hands it to the command to embed.
//!
//! The command carries its library inside, so that `cargo install --path
//! crates/cli` yields one file that works alone. A second copy goes beside the
//! built binary (`target/{profile}/libheapwise.so`) for people who want it by hand.
//!
//! Invariant: `HEAPWISE_SO` always names an existing file. It is empty only in a packaged
//! crate, which has no sources of the library; the command says so when it needs it.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SO: &str = "libheapwise.so";

fn main() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let embedded = out.join(SO);

    println!("cargo::rerun-if-changed=build.rs");
    let manifest = package.join("../libheapwise/Cargo.toml");
    // Also while it is missing: it may come.
    println!("cargo::rerun-if-changed={}", manifest.display());
    if manifest.is_file() {
        for source in ["layout", "malloc", "libheapwise"] {
            println!("cargo::rerun-if-changed={}", package.join("..").join(source).display());
        }
        println!("cargo::rerun-if-changed={}", package.join("../../Cargo.toml").display());
        let built = build(&package, &out)?;
        fs::copy(&built, &embedded)?;
        place_beside_binary(&built, &out);
    } else {
        println!(
            "cargo::warning=the sources of {SO} are not here, this heapwise carries none: \
             set HEAPWISE_LIB when you run it"
        );
        fs::write(&embedded, [])?;
    }

    println!("cargo::rustc-env=HEAPWISE_SO={}", embedded.display());
    println!("cargo::rustc-env=HEAPWISE_SO_HASH={:016x}", fnv1a(&fs::read(&embedded)?));
    Ok(())
}

/// Runs a nested cargo in a target directory of its own (the outer one is locked).
fn build(package: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let workspace = package.join("../../Cargo.toml");
    let target_dir = out.join("so-target");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--release", "--quiet", "--package", "libheapwise", "--manifest-path"])
        .arg(&workspace)
        .arg("--target-dir")
        .arg(&target_dir);
    if workspace.with_file_name("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    let mut release = target_dir.clone();
    let target = variable("TARGET")?;
    if target != variable("HOST")? {
        cargo.arg("--target").arg(&target);
        release.push(&target);
    }
    release.push("release");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_outer_build) {
            cargo.env_remove(&name);
        }
    }

    let output = cargo.output()?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{SO} did not build ({}):\n{log}", output.status).into());
    }
    Ok(release.join(SO))
}

/// What cargo set for this package must not leak into the nested build: flags of
/// a sanitizer or coverage run, clippy's wrapper, the outer target directory.
fn belongs_to_outer_build(name: &str) -> bool {
    const EXACT: &[&str] = &[
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "DEBUG",
        "HOST",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "TARGET",
    ];
    const PREFIX: &[&str] = &[
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_UNSTABLE_",
        "DEP_",
    ];
    EXACT.contains(&name) || PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

/// `OUT_DIR` is `…/target/{profile}/build/heapwise-cli-…/out`. A convenience:
/// where the directories look otherwise, or are read-only, nothing is lost.
fn place_beside_binary(built: &Path, out: &Path) {
    let Some(build) = out.ancestors().nth(2).filter(|dir| dir.ends_with("build")) else { return };
    let Some(profile) = build.parent() else { return };
    // Renamed into place: a running program may have the old file mapped.
    let temporary = profile.join(format!(".{SO}.{}", std::process::id()));
    if fs::copy(built, &temporary).and_then(|_| fs::rename(&temporary, profile.join(SO))).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// Names the cache directory; the content itself is compared byte by byte.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
