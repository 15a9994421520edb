//! A program of a test's own: compiled, started, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::{TempDir, tempdir};

/// A running program that has said "ready".
pub struct Ready {
    pub child: Child,
    pub directory: TempDir,
    output: BufReader<ChildStdout>,
}

impl Ready {
    /// Compiles and starts it; `change` says how, with the directory that it is in. `None`, with
    /// a message, without a compiler.
    pub fn start(
        name: &str,
        source: &str,
        flags: &[&str],
        change: impl FnOnce(&mut Command, &Path),
    ) -> Option<Self> {
        let directory = tempdir().expect("a directory");
        let path = super::compile(directory.path(), name, source, flags)?;
        let mut command = Command::new(path);
        command.stdout(Stdio::piped());
        change(&mut command, directory.path());
        let mut child = command.spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = Self { child, directory, output };
        ready.wait();
        Some(ready)
    }

    /// Until it is ready again.
    pub fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        assert_eq!(line, "ready\n");
    }

    /// Until it sleeps: before, it may still fault pages in.
    pub fn wait_for_sleep(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        while !std::fs::read_to_string(&stat).expect("it lives").contains(") S ") {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Its number, as one types it.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
