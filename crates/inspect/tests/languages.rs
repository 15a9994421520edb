//! Programs in C++, Rust and Python, on glibc's heap and on ours, against what they
//! counted themselves; and programs on allocators that are not read: they are named.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Target, library};
use heapwise_inspect::heap::Kind;
use heapwise_inspect::{Allocator, Depth, Options, ROWS, Row, Survey, survey};

fn look(target: &Target) -> Survey {
    let seen = survey(target.pid(), Options::default()).expect("our own child may be looked at");
    let sum: usize = ROWS.iter().map(|&row| seen.account.tally[row]).sum();
    assert_eq!(sum, seen.rss);
    assert_eq!(seen.figures.rss_rollup, Some(seen.rss));
    seen
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// Where a compiler puts its program; `None`, with a message, if it cannot.
fn made(mut compiler: Command, name: &str) -> Option<PathBuf> {
    let own = std::process::id();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{own}"));
    match compiler.arg("-o").arg(&program).output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            eprintln!("skipped: {name}: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: {name}: {error}");
            None
        }
    }
}

fn compiled(compiler: &str, arguments: &[&str], file: &str, name: &str) -> Option<PathBuf> {
    let mut command = Command::new(compiler);
    command.args(arguments).arg(source(file));
    made(command, name)
}

/// On glibc, and on ours.
fn check(program: &Path) {
    let ours = library().and_then(Path::to_str).map(|library| [("LD_PRELOAD", library)]);
    let none: &[(&str, &str)] = &[];
    for environment in [Some(none), ours.as_ref().map(|ours| &ours[..])].into_iter().flatten() {
        let target = Target::run(&mut Command::new(program), environment);
        let seen = look(&target);
        let what = format!("{} {environment:?}", program.display());
        let is_ours = matches!(seen.allocator, Allocator::Heapwise);
        assert_eq!(is_ours, !environment.is_empty(), "{what}: {:?}", seen.allocator);
        assert_eq!(seen.depth, Depth::Whole, "{what}");
        assert_eq!((seen.flaws(), seen.account.tally[Row::Unattributed]), (0, 0), "{what}");
        let live = seen.heaps.arenas.iter().map(|arena| arena.count(Kind::Live));
        let (chunks, bytes) =
            live.fold((0, 0), |sum, live| (sum.0 + live.chunks, sum.1 + live.bytes));
        let mapped = seen.heaps.mapped;
        let user = bytes - 8 * chunks + mapped.bytes - 16 * mapped.chunks;
        let more = (chunks + mapped.chunks) as isize - target.truth("live") as isize;
        let more_bytes = user as isize - target.truth("live_bytes") as isize;
        println!("{what}: {more} chunks, {more_bytes} bytes more than counted");
        // The runtime has some of its own: C++'s reserve for exceptions is 72 KiB.
        assert!((0..=64).contains(&more), "{what}: {more}");
        assert!((0..=96 << 10).contains(&more_bytes), "{what}: {more_bytes}");
    }
}

#[test]
fn what_containers_of_cpp_hold_is_found_live() {
    let Some(program) = compiled("g++", &["-O1"], "living.cpp", "living-cpp") else { return };
    check(&program);
}

#[test]
fn what_collections_of_rust_hold_is_found_live() {
    let arguments = ["-O", "--edition=2024", "--crate-name=living"];
    let Some(program) = compiled("rustc", &arguments, "living.rs", "living-rs") else { return };
    check(&program);
}

#[test]
fn a_cpython_says_that_its_objects_live_elsewhere() {
    const SCRIPT: &str = "held = [str(i) for i in range(200000)]\n\
                          print(f'live={len(held)}', flush=True)\ninput()";
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3");
        return;
    }
    let command = |malloc| {
        let mut command = Command::new("python3");
        command.env("PYTHONMALLOC", malloc).args(["-c", SCRIPT]);
        command
    };
    let ours = library().and_then(Path::to_str).map(|library| [("LD_PRELOAD", library)]);
    let beside = ours.as_ref().map(|ours| look(&Target::run(&mut command("pymalloc"), ours)));
    if let Some(seen) = beside {
        assert!(matches!(seen.allocator, Allocator::Heapwise), "{:?}", seen.allocator);
        assert_eq!((seen.depth, seen.account.tally[Row::Unattributed]), (Depth::Whole, 0));
        assert!(seen.account.tally[Row::OtherAnonymous] > 200_000 * 56);
    }
    let seen = look(&Target::run(&mut command("pymalloc"), &[]));
    assert!(seen.notes.iter().any(|note| note.contains("pymalloc")), "{:?}", seen.notes);
    // 200 000 strings of 56 bytes and more.
    assert!(seen.account.tally[Row::OtherAnonymous] > 200_000 * 56);
    // Asked to, it keeps them on malloc's heap, each a chunk.
    let seen = look(&Target::run(&mut command("malloc"), &[]));
    let live: usize = seen.heaps.arenas.iter().map(|arena| arena.count(Kind::Live).chunks).sum();
    assert!(live > 200_000, "{live}");
}

fn is_named(target: &Target, expected: &str) {
    let seen = look(target);
    assert!(
        matches!(&seen.allocator, Allocator::Other(name) if name == expected),
        "{expected}: {:?}",
        seen.allocator
    );
    assert_eq!(seen.depth, Depth::Mappings, "{expected}");
    assert!(seen.account.tally[Row::OtherAnonymous] > 2000 * 1000, "{expected}");
}

#[test]
fn preloaded_allocators_are_named() {
    let Some(program) = compiled("cc", &[], "plain.c", "plain") else { return };
    for (file, name) in [
        ("libjemalloc.so.2", "jemalloc"),
        ("libmimalloc.so.2.0", "mimalloc"),
        ("libtcmalloc_minimal.so.4", "tcmalloc"),
    ] {
        let library = Path::new("/usr/lib/x86_64-linux-gnu").join(file);
        if !library.exists() {
            eprintln!("skipped: no {file}");
            continue;
        }
        let library = library.to_str().expect("a plain path");
        is_named(&Target::run(&mut Command::new(&program), &[("LD_PRELOAD", library)]), name);
    }
}

#[test]
fn other_c_libraries_are_named() {
    if let Some(program) = compiled("cc", &["-static"], "plain.c", "plain-static") {
        let target = Target::run(&mut Command::new(program), &[]);
        let seen = look(&target);
        assert!(
            matches!(&seen.allocator, Allocator::Other(name) if name == "a statically linked glibc")
        );
        assert_eq!(seen.depth, Depth::Mappings);
    }
    if let Some(program) = compiled("musl-gcc", &[], "plain.c", "plain-musl") {
        let seen = look(&Target::run(&mut Command::new(program), &[]));
        assert!(matches!(&seen.allocator, Allocator::Other(name) if name == "musl"));
        assert_eq!(seen.depth, Depth::Mappings);
    }
}
