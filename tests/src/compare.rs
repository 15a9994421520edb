//! A real program, run twice: on the C library's malloc and on Heapwise. It
//! must do the same.

use crate::allocator::Allocator;
use crate::run::{Outcome, on, run};
use crate::workspace::Scratch;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A program and what it is given.
pub struct Comparison<'a> {
    name: &'a str,
    program: &'a Path,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    results: Vec<String>,
    kept: fn(&str) -> bool,
    limit: Duration,
}

impl<'a> Comparison<'a> {
    /// `program` without arguments; `name` names the test.
    pub fn of(name: &'a str, program: &'a Path) -> Self {
        Self {
            name,
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            files: Vec::new(),
            results: Vec::new(),
            kept: |_| true,
            limit: Duration::from_secs(100),
        }
    }

    /// Adds arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Sets a variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Puts a file into the folder that the program is started in.
    pub fn file(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), contents.into()));
        self
    }

    /// Names a file that the program leaves there; it must be the same, too.
    pub fn result(mut self, name: &str) -> Self {
        self.results.push(name.into());
        self
    }

    /// Compares only those lines of its output (without times and the like).
    pub fn keep_lines(mut self, kept: fn(&str) -> bool) -> Self {
        self.kept = kept;
        self
    }

    /// Runs it on both and asserts that it succeeds and does the same.
    pub fn check(self) {
        let scratch = Scratch::new(self.name);
        let folder = scratch.path().join("work"); // the same path in both runs
        let (before, files_before) = self.once(Allocator::Glibc, &folder);
        assert!(
            before.success(),
            "{} fails on the C library's malloc, too: {}",
            self.name,
            before.describe()
        );
        let (after, files_after) = self.once(Allocator::Heapwise, &folder);
        let name = self.name;
        assert!(after.success(), "{name} on Heapwise: {}", after.describe());
        let text = |bytes: &[u8]| self.filter(bytes);
        assert_eq!(text(&before.stdout), text(&after.stdout), "{name}: standard output differs");
        assert_eq!(text(&before.stderr), text(&after.stderr), "{name}: standard error differs");
        for ((result, old), new) in self.results.iter().zip(files_before).zip(files_after) {
            assert!(!old.is_empty(), "{name} left nothing in {result}");
            assert!(old == new, "{name}: {result} differs");
        }
        eprintln!(
            "{name}: the same in {:.1?} (on the C library's malloc {:.1?})",
            after.elapsed, before.elapsed
        );
    }

    fn once(&self, allocator: Allocator, folder: &Path) -> (Outcome, Vec<Vec<u8>>) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).expect("scratch folders can be made");
        for (name, contents) in &self.files {
            fs::write(folder.join(name), contents).expect("scratch files can be written");
        }
        let mut command: Command = on(allocator, self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(folder);
        let outcome = run(command, None, self.limit);
        let read = |name: &String| fs::read(folder.join(name)).unwrap_or_default();
        (outcome, self.results.iter().map(read).collect())
    }

    fn filter(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        text.lines().filter(|line| (self.kept)(line)).collect::<Vec<_>>().join("\n")
    }
}
