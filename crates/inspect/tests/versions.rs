//! Heaps of other glibc versions, each run by its own loader, against what the
//! program itself counted.
//!
//! `HEAPWISE_GLIBCS` names a folder with one unpacked `libc6` package a version
//! (`.ci/glibcs` fetches some); without it these tests are left out.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::Target;
use heapwise_inspect::heap::Kind;
use heapwise_inspect::{Allocator, Depth, Options, ROWS, Row, Survey, survey};

const SHAPES: [&str; 9] =
    ["holes", "pinned", "gaps", "lists", "live", "mapped", "foreign", "blocked", "threads"];

/// First version whose `mallinfo2` counts beyond 2 GiB.
const MALLINFO2: u32 = 33;
/// First version that holds its threads itself.
const THREADS_WITHIN: u32 = 34;

/// An unpacked glibc, and `shapes` linked against it.
struct Version {
    minor: u32,
    libraries: PathBuf,
    program: PathBuf,
    /// The same without threads.
    alone: PathBuf,
}

impl Version {
    fn start(&self, program: &Path, shape: &str, environment: &[(&str, &str)]) -> Target {
        let mut command = Command::new(self.libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&self.libraries).arg(program).arg(shape);
        Target::run(&mut command, environment)
    }
}

fn versions() -> &'static [Version] {
    static VERSIONS: OnceLock<Vec<Version>> = OnceLock::new();
    VERSIONS.get_or_init(unpacked)
}

fn unpacked() -> Vec<Version> {
    let Some(folder) = std::env::var_os("HEAPWISE_GLIBCS") else {
        eprintln!("skipped: HEAPWISE_GLIBCS names no folder of unpacked glibcs (.ci/glibcs)");
        return Vec::new();
    };
    let mut all: Vec<Version> = fs::read_dir(&folder)
        .expect("HEAPWISE_GLIBCS is a folder")
        .filter_map(|entry| version(&entry.expect("listed").path()))
        .collect();
    assert!(!all.is_empty(), "no glibc below {}", Path::new(&folder).display());
    all.sort_by_key(|version| version.minor);
    all
}

fn version(folder: &Path) -> Option<Version> {
    let places = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    let libraries = places
        .iter()
        .map(|place| folder.join(place))
        .find(|place| place.join("ld-linux-x86-64.so.2").exists())?;
    // "2.41-12+deb13u5" is Debian's name of its package.
    let minor = folder.file_name()?.to_str()?.strip_prefix("2.")?;
    let minor = minor.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let program = link(minor, &libraries, "shapes", &[])?;
    let alone = link(minor, &libraries, "alone", &["-DALONE"])?;
    Some(Version { minor, libraries, program, alone })
}

/// Compiles `shapes.c` and links it against the version, so that it asks for no newer symbols.
fn link(minor: u32, libraries: &Path, name: &str, more: &[&str]) -> Option<PathBuf> {
    let own = std::process::id();
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("glibc-2.{minor}-{name}-{own}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder of our own");
    let library = |name: &str, file: &str| {
        symlink(libraries.join(file), folder.join(name)).expect("a folder of our own");
    };
    library("libc.so", "libc.so.6");
    if minor < THREADS_WITHIN {
        library("libpthread.so", "libpthread.so.0");
    }
    let program = folder.join(name);
    let mut command = Command::new("cc");
    command.args(["-O1", "-g0", "-o"]).arg(&program).args(more);
    if minor < MALLINFO2 {
        command.args(["-DOLD_MALLINFO", "-Wno-deprecated-declarations"]);
    }
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/shapes.c"))
        .arg("-L")
        .arg(&folder)
        .arg(format!("-Wl,-rpath-link,{}", libraries.display()));
    if !more.contains(&"-DALONE") {
        command.arg("-pthread");
    }
    match command.status() {
        Ok(status) => assert!(status.success(), "shapes.c does not link with glibc 2.{minor}"),
        Err(error) => {
            eprintln!("skipped: cc: {error}");
            return None;
        }
    }
    Some(program)
}

fn look(target: &Target) -> Survey {
    let options = Options { paint: true, bins: true, ..Options::default() };
    survey(target.pid(), options).expect("our own child may be looked at")
}

fn nominal(seen: &Survey, kinds: &[Kind]) -> (usize, usize) {
    let counts = seen.heaps.arenas.iter().flat_map(|a| kinds.iter().map(|&kind| a.count(kind)));
    counts.fold((0, 0), |sum, count| (sum.0 + count.chunks, sum.1 + count.bytes))
}

/// Account, bins, a second look and a trim of one program.
fn check(version: &Version, program: &Path, shape: &str) {
    let what = format!("glibc 2.{} {shape}", version.minor);
    let mut target = version.start(program, shape, &[]);
    let seen = look(&target);
    let Allocator::Glibc(glibc) = &seen.allocator else { panic!("{what}: {:?}", seen.allocator) };
    assert_eq!(glibc.table.minor, version.minor, "{what}");
    assert_eq!(seen.depth, Depth::Whole, "{what}");
    assert_eq!(seen.flaws(), 0, "{what}");
    assert_eq!(seen.account.tally[Row::Unattributed], 0, "{what}");
    let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
    assert_eq!(sum, seen.rss, "{what}");
    assert_eq!(seen.figures.rss_rollup, Some(seen.rss), "{what}");

    let (live, live_bytes) = nominal(&seen, &[Kind::Live]);
    let mapped = seen.heaps.mapped;
    let extra = (live + mapped.chunks).checked_sub(target.truth("live"));
    assert!(extra.is_some_and(|extra| extra <= 16), "{what}: {live} of {}", target.truth("live"));
    let user = live_bytes - 8 * live + mapped.bytes - 16 * mapped.chunks;
    let more = user.checked_sub(target.truth("live_bytes"));
    // Aligned mapped chunks cost a little that the program does not see.
    assert!(more.is_some_and(|more| more <= 320 << 10), "{what}: {more:?}");
    assert_eq!(mapped.chunks, target.truth("hblks"), "{what}");
    assert_eq!(mapped.bytes, target.truth("hblkhd"), "{what}");
    let (_, free) = nominal(&seen, &[Kind::Free, Kind::Fast, Kind::Top]);
    assert_eq!(free, target.truth("fordblks"), "{what}");
    let (_, fast) = nominal(&seen, &[Kind::Fast]);
    assert_eq!(fast, target.truth("fsmblks"), "{what}");
    for arena in &seen.heaps.arenas {
        let binned = arena
            .bins
            .iter()
            .fold((0, 0), |sum, bin| (sum.0 + bin.held.chunks, sum.1 + bin.held.bytes));
        let free = arena.count(Kind::Free);
        assert_eq!(binned, (free.chunks, free.bytes), "{what}");
    }
    // Every thread that has allocated and waits has a cache, and it was found.
    let attached = seen.heaps.arenas.iter().flat_map(|arena| &arena.threads).count();
    assert_eq!(attached, seen.threads.all.len(), "{what}: {:?}", seen.threads);
    // From 2.42 a thread has none before it puts something into it.
    let caches = seen.heaps.caches.len();
    let is_used = version.minor < 42 || ["holes", "lists"].contains(&shape);
    assert!(caches == attached || !is_used && caches < attached, "{what}: {caches}");

    let again = look(&target);
    assert_eq!((seen.rss, seen.account.tally), (again.rss, again.account.tally), "{what}");
    target.tell("trim");
    let after = look(&target);
    let predicted = seen.trim_gain();
    let measured = seen.rss.saturating_sub(after.rss);
    println!(
        "{what}: RSS {}, unattributed {}, predicted {predicted}, measured {measured}",
        seen.rss,
        seen.account.tally[Row::Unattributed]
    );
    // A page or two is the trim's own: code that it runs for the first time.
    let slack = predicted / 100 + 8 * 4096;
    assert!(predicted.abs_diff(measured) <= slack, "{what}: {predicted} against {measured}");
    assert!(after.trim_gain() <= slack, "{what}: {} left", after.trim_gain());
}

#[test]
fn every_version_is_accounted_for() {
    for version in versions() {
        for shape in SHAPES {
            check(version, &version.program, shape);
        }
    }
}

/// Before 2.34 the main thread of a program without libpthread does not know its own number.
#[test]
fn programs_without_threads_are_accounted_for() {
    for version in versions() {
        for shape in ["holes", "lists", "mapped"] {
            check(version, &version.alone, shape);
        }
    }
}

/// From 2.43 freed mapped chunks may wait in a thread's cache, if that is wanted.
#[test]
fn mapped_chunks_in_a_thread_cache_are_not_live() {
    const MAX: &str = "glibc.malloc.tcache_max=2000000";
    for version in versions().iter().filter(|version| version.minor >= 43) {
        let target = version.start(&version.program, "mapped", &[("GLIBC_TUNABLES", MAX)]);
        let seen = look(&target);
        assert_eq!(seen.flaws(), 0);
        let mapped = seen.heaps.mapped;
        let held = seen.heaps.caches.iter().map(|cache| cache.held.chunks).sum::<usize>();
        assert!(held > 0 && mapped.chunks + held == target.truth("hblks"), "{held} {mapped:?}");
        let (live, _) = nominal(&seen, &[Kind::Live]);
        assert!((live + mapped.chunks).abs_diff(target.truth("live")) <= 16);
        assert!(seen.account.tally[Row::ThreadCaches] >= held * (200 << 10));
    }
}
