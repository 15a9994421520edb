//! The peers: each allocator's name and the library to preload for it.

use crate::places::{profile_folder, target_folder};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The allocator under test.
pub const OURS: &str = "heapwise";
/// The peer that ratios refer to.
pub const REFERENCE: &str = "mimalloc2";
/// The C library's own.
pub const GLIBC: &str = "glibc";

/// An allocator in the race.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As on the command line and in tables.
    pub name: String,
    /// What is preloaded; none for the C library's own.
    pub library: Option<PathBuf>,
}

impl Peer {
    /// The library whose malloc serves.
    pub fn serving(&self) -> &Path {
        self.library.as_deref().unwrap_or(Path::new("libc.so.6"))
    }
}

/// A peer or program that cannot run, and why.
pub type Missing = (String, String);

/// Where a peer's library comes from.
#[derive(Clone, Copy)]
pub enum Source {
    /// The C library.
    Libc,
    /// This workspace.
    Workspace,
    /// A Debian package: the package and the file it installs.
    Package(&'static str, &'static str),
    /// Built by `bench setup` from a crate's C or C++ sources.
    Built,
}

/// Every peer, in the order of the tables.
pub const KNOWN: &[(&str, Source)] = &[
    (OURS, Source::Workspace),
    (GLIBC, Source::Libc),
    (REFERENCE, Source::Built),
    ("mimalloc3", Source::Built),
    ("jemalloc", Source::Package("libjemalloc2", "libjemalloc.so.2")),
    ("snmalloc", Source::Built),
    ("tcmalloc", Source::Package("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4")),
    ("rpmalloc", Source::Built),
    ("mimalloc2-secure", Source::Built),
    ("hardened", Source::Built),
];

/// No peer but what a workload costs besides its allocator (bench/floor/floor.c); runs where it is named.
pub const FLOOR: &str = "floor";

/// The file that `bench setup` builds for a peer.
pub fn built_library(name: &str) -> Result<PathBuf> {
    Ok(target_folder("bench-peers")?.join(format!("lib{name}.so")))
}

fn library(name: &str, source: Source) -> Result<Option<PathBuf>> {
    let file = match source {
        Source::Libc => return Ok(None),
        Source::Workspace => profile_folder()?.join("libheapwise.so"),
        Source::Built => built_library(name)?,
        Source::Package(_, file) => {
            let folders = [
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/usr/lib64",
                "/usr/lib",
            ];
            let found =
                folders.iter().map(|folder| PathBuf::from(folder).join(file)).find(|p| p.exists());
            found.unwrap_or_else(|| file.into())
        }
    };
    if !file.exists() {
        bail!("{} is missing: `bench setup` may get it", file.display());
    }
    Ok(Some(file))
}

/// The peers of a run and, for those that are missing, why.
///
/// `chosen`: names of known peers, or `NAME=FILE` for any other library; empty for all known.
pub fn choose(chosen: &[String]) -> Result<(Vec<Peer>, Vec<Missing>)> {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    let all: Vec<String> = KNOWN.iter().map(|(name, _)| (*name).to_owned()).collect();
    for choice in if chosen.is_empty() { &all } else { chosen } {
        if let Some((name, file)) = choice.split_once('=') {
            let file = std::fs::canonicalize(file)?;
            present.push(Peer { name: name.to_owned(), library: Some(file) });
            continue;
        }
        let known = KNOWN.iter().find(|(name, _)| name == choice);
        let Some((name, source)) = known.or((choice == FLOOR).then_some(&(FLOOR, Source::Built)))
        else {
            bail!("no peer {choice}; there are: {}, {FLOOR}", all.join(", "));
        };
        match library(name, *source) {
            Ok(library) => present.push(Peer { name: choice.clone(), library }),
            Err(why) => missing.push((choice.clone(), why.to_string())),
        }
    }
    Ok((present, missing))
}
