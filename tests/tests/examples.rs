//! The examples build with their own Makefiles, shared and static, without a
//! warning, and run.

use heapwise_tests::library;
use heapwise_tests::program::find_or_skip;
use heapwise_tests::run::run;
use heapwise_tests::workspace::{self, Scratch, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);

/// Copies the folder `examples/NAME`, makes it there, and returns the programs.
fn make(name: &str, scratch: &Path, more: &[&str]) -> Option<Vec<PathBuf>> {
    let make = find_or_skip("make")?;
    let libdir = library::shared()?.parent()?.display().to_string();
    let folder = scratch.join("examples").join(name);
    fs::create_dir_all(&folder).expect("scratch folders can be made");
    let mut programs = Vec::new();
    for entry in fs::read_dir(root().join("examples").join(name)).expect("the examples").flatten() {
        let path = entry.path();
        let file = path.file_name().expect("a name");
        let extension = path.extension().unwrap_or_default();
        if file == "Makefile" || extension == "c" || extension == "cpp" {
            fs::copy(&path, folder.join(file)).expect("scratch files can be written");
        }
        if extension == "c" || extension == "cpp" {
            programs.push(folder.join(path.file_stem().expect("a name")));
        }
    }
    let mut command = Command::new(make);
    command
        .arg(format!("TOP={}", root().display()))
        .arg(format!("LIBDIR={libdir}"))
        .args(more)
        .current_dir(&folder);
    let outcome = run(command, None, LIMIT);
    assert!(outcome.success() && outcome.stderr.is_empty(), "make: {}", outcome.describe());
    for program in &programs {
        assert!(program.is_file(), "the Makefile leaves out {}", program.display());
    }
    Some(programs)
}

fn check(name: &str, more: &[&str]) {
    let scratch = Scratch::new("examples");
    let Some(programs) = make(name, scratch.path(), more) else { return };
    assert!(programs.len() >= 3);
    for program in programs {
        let outcome = run(Command::new(&program), None, LIMIT);
        assert!(
            outcome.success() && outcome.stderr.is_empty() && !outcome.stdout.is_empty(),
            "{}: {}",
            program.display(),
            outcome.describe()
        );
    }
}

#[test]
fn c_shared() {
    check("c", &[]);
}

#[test]
fn c_static() {
    check("c", &["STATIC=1"]);
}

#[test]
fn cpp_shared() {
    check("cpp", &[]);
}

#[test]
fn cpp_static() {
    check("cpp", &["STATIC=1"]);
}

/// The Rust examples link the allocator in: no library is preloaded.
#[test]
fn rust() {
    let target = workspace::target_dir().join("heapwise-examples");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "-q", "-p", "heapwise", "--examples", "--target-dir"])
        .arg(&target)
        .current_dir(root());
    let outcome = run(build, None, Duration::from_secs(300));
    assert!(outcome.success(), "cargo build --examples: {}", outcome.describe());
    for entry in fs::read_dir(root().join("crates/heapwise/examples")).expect("examples").flatten()
    {
        let path = entry.path();
        let name = path.file_stem().expect("a name");
        let outcome = run(Command::new(target.join("debug/examples").join(name)), None, LIMIT);
        assert!(outcome.success() && outcome.stderr.is_empty(), "{}", outcome.describe());
    }
}
