//! Programs in C++, Rust and Python, on glibc's heap and on ours, against what they
//! counted themselves; and programs on allocators that are not read: they are named.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Target, library};
use heapwise_inspect::heap::Kind;
use heapwise_inspect::runtimes::Language;
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

/// What `malloc_trim`, called inside, returns is what was predicted.
fn check_trim(what: &str, target: &mut Target, before: &Survey) {
    target.tell("trim");
    let after = look(target);
    let (predicted, measured) = (before.trim_gain(), before.rss.saturating_sub(after.rss));
    println!("{what}: predicted {predicted}, measured {measured}");
    assert!(predicted > 1 << 20, "{what}: {predicted}");
    // A page or two is the trim's own: code that it runs for the first time.
    let slack = predicted / 100 + 4 * 4096;
    assert!(predicted.abs_diff(measured) <= slack, "{what}: {predicted} against {measured}");
}

/// On ours without purging, so that a trim has something to return.
fn on_ours() -> Option<[(&'static str, &'static str); 3]> {
    let library = library().and_then(Path::to_str)?;
    Some([("LD_PRELOAD", library), ("HEAPWISE_PURGE", "0"), ("HEAPWISE_PURGE_HELPER", "0")])
}

/// On glibc, and on ours.
fn check(program: &Path) {
    let ours = on_ours();
    let none: &[(&str, &str)] = &[];
    for environment in [Some(none), ours.as_ref().map(|ours| &ours[..])].into_iter().flatten() {
        let mut target = Target::run(&mut Command::new(program), environment);
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
        check_trim(&what, &mut target, &seen);
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

/// Holds a third of its strings, and says what CPython itself counts.
const PYTHON: &str = "\
import ctypes, os, re, sys, tempfile
trim = ctypes.CDLL(None).malloc_trim
large = [bytes(600 + i % 900) for i in range(10000)]
large = large[::50]
held = [str(i) for i in range(200000)]
held = held[::3]
file = tempfile.TemporaryFile()
own = os.dup(2)
os.dup2(file.fileno(), 2)
sys._debugmallocstats()
os.dup2(own, 2)
file.seek(0)
text = file.read().decode()
def told(line):
    found = re.search(line + r' *= *([0-9,]+)', text)
    return int(found.group(1).replace(',', '')) if found else 0
used, free = told('bytes in allocated blocks'), told('bytes in available blocks')
print(f'live={len(held)} arenas={told(\"arenas allocated current\")} used={used} free={free}', flush=True)
while os.read(0, 100):
    trim(0)
    os.write(1, b'trimmed=1\\n')
";

/// Every python3 that starts: of the path, and of pyenv.
fn pythons() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("python3")];
    let versions = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv/versions"));
    let entries = versions.and_then(|path| std::fs::read_dir(path).ok());
    for entry in entries.into_iter().flatten().flatten() {
        all.push(entry.path().join("bin/python3"));
    }
    let starts = |python: &PathBuf| {
        let version = Command::new(python).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    all.retain(starts);
    all
}

#[test]
fn what_pymalloc_has_is_told_as_it_counts_itself() {
    let pythons = pythons();
    if pythons.is_empty() {
        eprintln!("skipped: no python3");
    }
    let ours = on_ours();
    for python in pythons {
        let run = |malloc, environment: &[(&str, &str)]| {
            let mut command = Command::new(&python);
            command.env("PYTHONMALLOC", malloc).args(["-c", PYTHON]);
            let target = Target::run(&mut command, environment);
            (look(&target), target)
        };
        let none: &[(&str, &str)] = &[];
        for environment in [Some(none), ours.as_ref().map(|ours| &ours[..])].into_iter().flatten() {
            let (seen, mut target) = run("pymalloc", environment);
            let what = format!("{} {environment:?}", python.display());
            assert_eq!((seen.depth, seen.account.tally[Row::Unattributed]), (Depth::Whole, 0));
            let runtime = seen.runtimes.first().unwrap_or_else(|| panic!("{what}: no runtime"));
            assert_eq!(runtime.language, Language::Python, "{what}");
            let pools = runtime.pools.unwrap_or_else(|| panic!("{what}: no pools"));
            println!("{what}: {} {pools:?} {:?}", runtime.heap(), target.truth);
            assert!(runtime.heap() <= seen.account.tally[Row::OtherAnonymous], "{what}");
            // It went on a little after it had counted; an arena may still be untouched.
            let near = |told: usize, name: &str, within: usize| {
                assert!(told.abs_diff(target.truth(name)) <= within, "{what}: {name} {told}");
            };
            near(pools.used, "used", 32 << 10);
            near(pools.free, "free", 64 << 10);
            near(pools.arenas, "arenas", 1);
            let held = pools.used + pools.free + pools.empty;
            // Heads come to it; what was never touched of the newest pools is not resident.
            assert!(held.abs_diff(runtime.heap()) < runtime.heap() / 10, "{what}");
            check_trim(&what, &mut target, &seen);
        }
        // Asked to, it keeps them on malloc's heap, each a chunk.
        let (seen, _target) = run("malloc", &[]);
        let live: usize =
            seen.heaps.arenas.iter().map(|arena| arena.count(Kind::Live).chunks).sum();
        assert!(live > 200_000 / 3, "{live}");
        assert_eq!(seen.runtimes.first().map(|runtime| runtime.pools), Some(None));
    }
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
fn an_allocator_that_is_loaded_but_not_asked_does_not_hide_glibcs() {
    let Some(program) = compiled("cc", &[], "plain.c", "plain-second") else { return };
    let libraries = ["libc.so.6", "libjemalloc.so.2"]
        .map(|file| Path::new("/usr/lib/x86_64-linux-gnu").join(file));
    if !libraries.iter().all(|library| library.exists()) {
        eprintln!("skipped: no jemalloc");
        return;
    }
    let both =
        libraries.map(|library| library.to_str().expect("a plain path").to_owned()).join(":");
    let seen = look(&Target::run(&mut Command::new(&program), &[("LD_PRELOAD", &both)]));
    assert!(matches!(seen.allocator, Allocator::Glibc(_)), "{:?}", seen.allocator);
    assert!(seen.notes.iter().any(|note| note.starts_with("jemalloc is loaded too")));
    assert!(seen.account.tally[Row::LiveUser] > 2000 * 1000);
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

/// A directory of a test's own, kept between runs: Go's compiled packages are worth it.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

const JAVA: &str = "\
public class Holds {
  public static void main(String[] arguments) throws Exception {
    byte[][] held = new byte[20000][];
    for (int i = 0; i < held.length; i++) held[i] = new byte[1000];
    System.out.println(\"busy=1 live=\" + held.length);
    System.in.read();
  }
}
";

#[test]
fn a_jvm_is_named_and_its_heap_told_beside_malloc() {
    let directory = directory("java");
    let file = directory.join("Holds.java");
    std::fs::write(&file, JAVA).expect("a file");
    let compiled = Command::new("javac").arg("-d").arg(&directory).arg(&file).output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no javac");
        return;
    }
    let mut command = Command::new("java");
    command.arg("-Xmx64m").arg("-cp").arg(&directory).arg("Holds");
    let target = Target::run(&mut command, &[]);
    let seen = survey(target.pid(), Options::default()).expect("our own child");
    let runtime = seen.runtimes.first().expect("a runtime");
    assert_eq!(runtime.language, Language::Java);
    assert!(runtime.collects());
    assert!((20_000 * 1000..128 << 20).contains(&runtime.heap()), "{runtime:?}");
    // What it has of malloc is walked all the same.
    assert!(matches!(seen.allocator, Allocator::Glibc(_)), "{:?}", seen.allocator);
    assert!(seen.account.tally[Row::LiveUser] > 100 << 10);
}

const GO: &str = "\
package main
import \"syscall\"
var held [][]byte
func main() {
  for i := 0; i < 20000; i++ { b := make([]byte, 1000); for j := range b { b[j] = 1 }; held = append(held, b) }
  syscall.Write(1, []byte(\"busy=1\\n\"))
  syscall.Read(0, held[0])
}
";

#[test]
fn go_is_named_and_its_heap_told() {
    let directory = directory("go");
    let file = directory.join("holds.go");
    std::fs::write(&file, GO).expect("a file");
    let mut compiler = Command::new("go");
    compiler.args(["build"]).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    compiler.env("GOCACHE", directory.join("cache"));
    compiler.arg("-o").arg(directory.join("holds")).arg(&file);
    if !compiler.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no go");
        return;
    }
    let target = Target::run(&mut Command::new(directory.join("holds")), &[]);
    let seen = look(&target);
    assert!(matches!(&seen.allocator, Allocator::Other(name) if name == "the Go runtime"));
    assert_eq!(seen.depth, Depth::Mappings);
    let runtime = seen.runtimes.first().expect("a runtime");
    assert_eq!(runtime.language, Language::Go);
    assert!((20_000 * 1000..64 << 20).contains(&runtime.heap()), "{runtime:?}");
}
