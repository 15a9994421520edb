//! The conformance programs: exit status 0 under Heapwise is a promise kept.

use crate::allocator::Allocator;
use crate::compile::compile;
use crate::expect::Expectation;
use crate::library;
use crate::run::{on, run};
use crate::workspace;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The names of all conformance programs, in order.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .expect("tests/conformance can be read")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "c" || e == "cpp"))
        .map(|path| path.file_stem().expect("a file").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    workspace::tests().join("conformance")
}

/// Compiles and runs one program under Heapwise and asserts that it ends as
/// its opening comment says; without a word there, with status 0 and silence
/// on standard error.
///
/// The program finds the library's path in `HEAPWISE_LIB`, for those that
/// load it themselves.
pub fn check(name: &str) {
    let c = folder().join(format!("{name}.c"));
    let source = if c.is_file() { c } else { folder().join(format!("{name}.cpp")) };
    let expectation = Expectation::of(&source);
    let program = compile(&source, &expectation.libraries);
    let allocator = if expectation.preload { Allocator::Heapwise } else { Allocator::Glibc };
    let mut command = on(allocator, program);
    command.args(&expectation.arguments);
    command.envs(expectation.environment.iter().map(|(name, value)| (name, value)));
    match library::shared() {
        Some(path) => command.env("HEAPWISE_LIB", path),
        None => command.env_remove("HEAPWISE_LIB"),
    };
    let outcome = run(command, None, expectation.time_limit(Duration::from_secs(60)));

    let ending = expectation.signal.as_deref().unwrap_or("exit status 0");
    assert_eq!(outcome.ending(), ending, "{name}\n{}", outcome.describe());
    let stderr = outcome.stderr_text();
    let matches = if expectation.lines.is_empty() {
        stderr.is_empty()
    } else {
        expectation.lines.iter().any(|line| stderr == format!("{line}\n"))
    };
    assert!(matches, "{name}: unexpected standard error\n{}", outcome.describe());
}
