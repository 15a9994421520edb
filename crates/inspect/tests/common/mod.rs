//! Programs of known heap shape: compiled, started, asked for the truth.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod core;
pub mod image;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// The compiled program; `None`, with a message, without a C compiler.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("shapes.c")).as_deref()
}

/// Compiles a program of `tests/programs`; `None`, with a message, without a C compiler.
pub fn compile(source: &str) -> Option<PathBuf> {
    let name = source.trim_end_matches(".c");
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(source);
    let made = Command::new("cc")
        .args(["-O1", "-g0", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .arg("-lm")
        .status();
    match made {
        Ok(status) => {
            assert!(status.success(), "{} does not compile", source.display());
            Some(program)
        }
        Err(error) => {
            eprintln!("skipped: cc: {error}");
            None
        }
    }
}

/// A running program, ended when dropped.
pub struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it counted, by name.
    pub truth: HashMap<String, usize>,
}

impl Target {
    /// Starts the program with a shape and waits until the heap has it.
    pub fn start(shape: &str, environment: &[(&str, &str)]) -> Option<Self> {
        Some(Self::run(Command::new(program()?).arg(shape), environment))
    }

    /// Starts a program that answers as `shapes.c` does and waits until it says its figures.
    pub fn run(command: &mut Command, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .env_remove("LD_PRELOAD")
            .env_remove("GLIBC_TUNABLES")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut target = Self { child, output, truth: HashMap::new() };
        target.read_truth();
        target
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it do something and reads its figures again.
    pub fn tell(&mut self, command: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(format!("{command}\n").as_bytes()).expect("it listens");
        self.read_truth();
    }

    /// A figure of its own.
    pub fn truth(&self, name: &str) -> usize {
        self.truth[name]
    }

    fn read_truth(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        self.truth = line
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
            .collect();
        assert!(!self.truth.is_empty(), "it ended: {line:?}");
        // Until they wait its threads may still fault pages in.
        if !self.truth.contains_key("busy") {
            all_asleep(self.pid());
        }
    }
}

/// Waits until every thread of a process waits.
pub fn all_asleep(pid: u32) {
    let is_asleep = |stat: String| stat.rsplit(')').next().is_some_and(|s| s.starts_with(" S "));
    let asleep = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        tasks
            .map(|task| std::fs::read_to_string(task.expect("listed").path().join("stat")))
            .all(|stat| stat.is_ok_and(is_asleep))
    };
    while !asleep() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seed of a test: `HEAPWISE_SEED` replays a failure.
pub fn seed() -> u64 {
    std::env::var("HEAPWISE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_240_229)
}

/// `libheapwise.so`: `HEAPWISE_LIB`, or built here; `None` where its sources are not.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            if let Some(given) = std::env::var_os("HEAPWISE_LIB") {
                return Some(given.into());
            }
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            if !root.join("crates/libheapwise/Cargo.toml").is_file() {
                eprintln!("skipped: the sources of libheapwise.so are not here");
                return None;
            }
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("so");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args(["build", "--quiet", "--release", "-p", "libheapwise", "--target-dir"])
                .arg(&target)
                .current_dir(root)
                .status()
                .expect("cargo runs");
            assert!(status.success(), "libheapwise does not build");
            Some(target.join("release/libheapwise.so"))
        })
        .as_deref()
}
