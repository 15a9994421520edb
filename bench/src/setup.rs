//! `bench setup`: gets the peers and the real programs: Debian packages where we are
//! root, crates' C and C++ sources otherwise, fetched by a throw-away manifest
//! under target/ and compiled here. What cannot be had is said, never fatal.

use crate::peers::{FLOOR, KNOWN, Source, built_library};
use crate::places::target_folder;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Real programs of the benchmark, by Debian package.
const PROGRAM_PACKAGES: &[&str] = &[
    "python3",
    "perl",
    "lua5.4",
    "sqlite3",
    "redis-server",
    "redis-tools",
    "gcc",
    "g++",
    "clang",
    "z3",
    "git",
    "strace",
];

/// Crates that carry the sources of allocators.
const MANIFEST: &str = r#"[package]
name = "peers"
version = "0.0.0"
edition = "2021"
[dependencies]
libmimalloc-sys = "0.1.49"
snmalloc-sys = "*"
rpmalloc-sys = "0.2"
hardened-malloc-sys = "*"
[workspace]
"#;

/// How to build one library from a crate.
struct Recipe {
    peer: &'static str,
    /// Inside the folder of vendored crates, or absolute.
    folder: &'static str,
    compiler: &'static str,
    /// Flags and files, relative to the folder.
    arguments: &'static [&'static str],
}

const SHARED: &[&str] = &[
    "-O3",
    "-DNDEBUG",
    "-fPIC",
    "-shared",
    "-ftls-model=initial-exec",
    "-fno-builtin-malloc",
    "-pthread",
    "-w",
];

const MIMALLOC: &[&str] = &[
    "-std=gnu11",
    "-fvisibility=hidden",
    "-DMI_SHARED_LIB",
    "-DMI_SHARED_LIB_EXPORT",
    "-DMI_MALLOC_OVERRIDE",
    "-Iinclude",
    "src/static.c",
];
const MIMALLOC_SECURE: &[&str] = &[
    "-std=gnu11",
    "-fvisibility=hidden",
    "-DMI_SHARED_LIB",
    "-DMI_SHARED_LIB_EXPORT",
    "-DMI_MALLOC_OVERRIDE",
    "-DMI_SECURE=4",
    "-Iinclude",
    "src/static.c",
];
const SNMALLOC: &[&str] = &[
    "-std=c++20",
    "-fno-rtti",
    "-fomit-frame-pointer",
    "-mcx16",
    "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1",
    "-Isrc",
    "src/snmalloc/override/malloc.cc",
    "src/snmalloc/override/new.cc",
    "-latomic",
];
const RPMALLOC: &[&str] = &[
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-DENABLE_PRELOAD=1",
    "-DENABLE_OVERRIDE=1",
    "-I.",
    "rpmalloc.c",
];
const HARDENED: &[&str] = &[
    "-std=gnu2x",
    "-D_GNU_SOURCE",
    "-fvisibility=hidden",
    "-include",
    "stdalign.h",
    "-include",
    "stdbool.h",
    "-Dthread_local=_Thread_local",
    "-Iinclude",
    "-DCONFIG_SEAL_METADATA=false",
    "-DZERO_ON_FREE=true",
    "-DWRITE_AFTER_FREE_CHECK=true",
    "-DSLOT_RANDOMIZE=true",
    "-DSLAB_CANARY=true",
    "-DSLAB_QUARANTINE_RANDOM_LENGTH=1",
    "-DSLAB_QUARANTINE_QUEUE_LENGTH=1",
    "-DCONFIG_EXTENDED_SIZE_CLASSES=true",
    "-DCONFIG_LARGE_SIZE_CLASSES=true",
    "-DGUARD_SLABS_INTERVAL=1",
    "-DGUARD_SIZE_DIVISOR=2",
    "-DREGION_QUARANTINE_RANDOM_LENGTH=256",
    "-DREGION_QUARANTINE_QUEUE_LENGTH=1024",
    "-DREGION_QUARANTINE_SKIP_THRESHOLD=33554432",
    "-DFREE_SLABS_QUARANTINE_RANDOM_LENGTH=32",
    "-DCONFIG_CLASS_REGION_SIZE=34359738368",
    "-DN_ARENA=4",
    "-DCONFIG_STATS=false",
    "-DCONFIG_SELF_INIT=true",
    "chacha.c",
    "h_malloc.c",
    "memory.c",
    "pages.c",
    "random.c",
    "util.c",
];

const RECIPES: &[Recipe] = &[
    Recipe {
        peer: "mimalloc2",
        folder: "libmimalloc-sys/c_src/mimalloc/v2",
        compiler: "cc",
        arguments: MIMALLOC,
    },
    Recipe {
        peer: "mimalloc3",
        folder: "libmimalloc-sys/c_src/mimalloc/v3",
        compiler: "cc",
        arguments: MIMALLOC,
    },
    Recipe {
        peer: "mimalloc2-secure",
        folder: "libmimalloc-sys/c_src/mimalloc/v2",
        compiler: "cc",
        arguments: MIMALLOC_SECURE,
    },
    Recipe {
        peer: "snmalloc",
        folder: "snmalloc-sys/upstream",
        compiler: "c++",
        arguments: SNMALLOC,
    },
    Recipe {
        peer: "rpmalloc",
        folder: "rpmalloc-sys/rpmalloc/rpmalloc",
        compiler: "cc",
        arguments: RPMALLOC,
    },
    Recipe {
        peer: "hardened",
        folder: "hardened-malloc-sys/vendor/hardened-malloc",
        compiler: "cc",
        arguments: HARDENED,
    },
];

/// Ours, beside this source.
const FLOOR_RECIPE: Recipe = Recipe {
    peer: FLOOR,
    folder: concat!(env!("CARGO_MANIFEST_DIR"), "/floor"),
    compiler: "cc",
    arguments: &["floor.c"],
};

fn run(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let said = text.lines().find(|line| line.contains("error")).or(text.lines().last());
        bail!("{:?} failed: {}", command.get_program(), said.unwrap_or_default());
    }
    Ok(())
}

fn say(name: &str, result: Result<()>) {
    match result {
        Ok(()) => println!("{name:<18} ready"),
        Err(why) => println!("{name:<18} could not be had: {why:#}"),
    }
}

/// Gets what it can and says what it could not.
pub fn run_setup() -> Result<()> {
    let packages = KNOWN.iter().filter_map(|(_, source)| match source {
        Source::Package(package, _) => Some(*package),
        _ => None,
    });
    for package in packages.chain(PROGRAM_PACKAGES.iter().copied()) {
        say(package, install(package));
    }
    let folder = target_folder("bench-peers")?;
    say(FLOOR, build(&FLOOR_RECIPE, Path::new("")));
    match fetch(&folder) {
        Ok(vendored) => {
            RECIPES.iter().for_each(|recipe| say(recipe.peer, build(recipe, &vendored)))
        }
        Err(why) => println!("no sources from crates.io: {why:#}"),
    }
    Ok(())
}

fn install(package: &str) -> Result<()> {
    if run(Command::new("dpkg-query").args(["-W", "-f=${Status}", package])).is_ok() {
        return Ok(());
    }
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("not root: install it yourself");
    }
    run(Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn fetch(folder: &Path) -> Result<PathBuf> {
    let crates = folder.join("crates");
    std::fs::create_dir_all(crates.join("src"))?;
    std::fs::write(crates.join("Cargo.toml"), MANIFEST)?;
    std::fs::write(crates.join("src/lib.rs"), "")?;
    run(Command::new("cargo").args(["vendor", "--quiet", "vendor"]).current_dir(&crates))?;
    Ok(crates.join("vendor"))
}

fn build(recipe: &Recipe, vendored: &Path) -> Result<()> {
    let library = built_library(recipe.peer)?;
    run(Command::new(recipe.compiler)
        .current_dir(vendored.join(recipe.folder))
        .args(SHARED)
        .arg("-o")
        .arg(&library)
        .args(recipe.arguments))
}
