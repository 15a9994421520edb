//! The misuse programs: run one, judge it under Heapwise, and put into words
//! what came of it under any allocator.

use crate::allocator::Allocator;
use crate::compile::compile;
use crate::expect::Expectation;
use crate::run::{Outcome, on, run, signal_name};
use crate::workspace;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The names of all misuse programs, in order.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(workspace::tests().join("misuse"))
        .expect("tests/misuse can be read")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .map(|path| path.file_stem().expect("a file").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The source of one program.
pub fn source(name: &str) -> PathBuf {
    workspace::tests().join("misuse").join(format!("{name}.c"))
}

/// Compiles and runs one program.
pub fn observe(name: &str, allocator: Allocator) -> Outcome {
    let program = compile(&source(name), &[]);
    run(on(allocator, program), None, Duration::from_secs(30))
}

/// Asserts that Heapwise ends the program with the one line and the signal
/// that its opening comment names.
pub fn check(name: &str) {
    let expectation = Expectation::of(&source(name));
    let outcome = observe(name, Allocator::Heapwise);
    if let Err(fault) = judge(&expectation, &outcome) {
        panic!("{name}: {fault}\n{}", outcome.describe());
    }
}

fn judge(expectation: &Expectation, outcome: &Outcome) -> Result<(), String> {
    if expectation.limit.is_some() && outcome.stderr.is_empty() && outcome.status.is_some() {
        return Ok(());
    }
    let stderr = outcome.stderr_text();
    let ending = outcome.ending();
    if Some(&ending) != expectation.signal.as_ref() {
        return Err(format!(
            "ended with {ending}, not {}",
            expectation.signal.as_deref().unwrap_or("a signal (the comment names none)")
        ));
    }
    let line = stderr
        .strip_suffix('\n')
        .filter(|line| !line.contains('\n'))
        .ok_or_else(|| format!("standard error is not exactly one line: {stderr:?}"))?;
    if !expectation.lines.iter().any(|expected| expected == line) {
        return Err(format!("said {line:?}, expected one of {:#?}", expectation.lines));
    }
    Ok(())
}

/// What came of a misuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One line and SIGABRT at the misuse.
    Caught(String),
    /// The same, but only when the heap was used later.
    CaughtLater(String),
    /// A warning on standard error, and the program ran on.
    Warned(String),
    /// Another signal, or an abort without a word.
    Crash(String),
    /// The same, but only when the heap was used later.
    CrashLater(String),
    /// The program ran on with two owners of the same memory.
    Corrupt,
    /// The program ran on; no harm was seen.
    Undetected,
    /// It did not end.
    Hang,
    /// The mistake could not be made here: there was no header to overwrite.
    NotStaged,
}

/// Puts an outcome into words.
pub fn classify(outcome: &Outcome) -> Verdict {
    let stderr = outcome.stderr_text();
    let line = stderr.lines().next().unwrap_or("").to_string();
    let survived = outcome.stdout_text().contains("survived");
    let corrupt = outcome.stdout_text().contains("corrupt");
    match (outcome.status, outcome.signal()) {
        (None, _) | (_, Some(14)) => Verdict::Hang,
        (_, Some(6)) if !line.is_empty() && survived => Verdict::CaughtLater(line),
        (_, Some(6)) if !line.is_empty() => Verdict::Caught(line),
        (_, Some(signal)) if survived => Verdict::CrashLater(signal_name(signal)),
        (_, Some(signal)) => Verdict::Crash(signal_name(signal)),
        (Some(status), None) => match status.code() {
            Some(2) => Verdict::NotStaged,
            _ if !line.is_empty() => Verdict::Warned(line),
            _ if corrupt => Verdict::Corrupt,
            _ => Verdict::Undetected,
        },
    }
}
