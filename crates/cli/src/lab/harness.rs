//! Runs one experiment on one side: starts the child, watches it, reads its notes.
//!
//! ```text
//! parent                                    child (this program again, `__lab NAME`)
//!   spawn ───────────────────────────────►   waits in its constructor
//!   attach the tracer
//!   one byte on standard input ──────────►   runs the experiment
//!   follow its system calls                  notes to standard output, a memfd
//!   read the notes ◄─────────────────────    _exit
//! ```
//! The two sides differ in one thing: `LD_PRELOAD`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::experiment::{Experiment, Missing};
use super::hook::CHILD_COMMAND;
use super::maps::{Maps, Memory};
use super::tracer::{self, Call, End};

/// Under which allocator the child runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The C library alone.
    Glibc,
    /// This library preloaded.
    Heapwise(PathBuf),
}

impl Side {
    fn library(&self) -> Option<&Path> {
        match self {
            Self::Glibc => None,
            Self::Heapwise(library) => Some(library),
        }
    }
}

/// What one child did.
#[derive(Debug)]
pub struct Run {
    /// On which side.
    pub side: Side,
    /// The kernel's page size.
    pub page_bytes: usize,
    /// Standard error of the child.
    pub stderr: String,
    /// How it ended.
    pub end: End,
    /// Why it could not run here, by its own word.
    pub skipped: Option<String>,
    /// Whether it came to its end.
    pub done: bool,
    /// Why system calls were not seen.
    pub untraced: Option<String>,
    steps: Vec<String>,
    calls: Vec<Call>,
    numbers: HashMap<String, usize>,
    maps: HashMap<String, Maps>,
    memory: HashMap<String, Memory>,
}

impl Run {
    /// A number that the child noted.
    pub fn number(&self, key: &str) -> Result<usize, Missing> {
        self.numbers.get(key).copied().ok_or_else(|| Missing(key.to_owned()))
    }

    /// A series that the child noted.
    pub fn items(&self, key: &str) -> Vec<usize> {
        (0..).map_while(|index| self.numbers.get(&format!("{key}.{index}")).copied()).collect()
    }

    /// A copy of the maps.
    pub fn maps(&self, label: &str) -> Result<&Maps, Missing> {
        self.maps.get(label).ok_or_else(|| Missing(format!("maps {label}")))
    }

    /// A measurement of resident memory.
    pub fn memory(&self, label: &str) -> Result<Memory, Missing> {
        self.memory.get(label).copied().ok_or_else(|| Missing(format!("memory {label}")))
    }

    /// All recorded calls; `None` if the child could not be traced.
    pub fn calls(&self) -> Option<Vec<&Call>> {
        self.untraced.is_none().then(|| self.calls.iter().collect())
    }

    /// The calls of one step.
    pub fn calls_in(&self, step: &str) -> Option<Vec<&Call>> {
        let number = self.steps.iter().position(|name| name == step)? + 1;
        Some(self.calls()?.into_iter().filter(|call| call.step == number).collect())
    }

    /// How far the first growth of the break goes for a small request: the
    /// chunk, 128 KiB of top pad and 32 bytes for what must remain, in pages.
    pub fn first_growth_bytes(&self) -> usize {
        (32 + 128 * 1024 + 32_usize).next_multiple_of(self.page_bytes)
    }

    /// What a mapping of its own takes for a request: the chunk and the word
    /// that no next chunk lends, in pages.
    pub fn mapping_bytes(&self, request: usize) -> usize {
        (chunk_bytes(request) + 8).next_multiple_of(self.page_bytes)
    }

    fn read_notes(&mut self, notes: &str) {
        let mut lines = notes.lines();
        while let Some(line) = lines.next() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "step" => self.steps.push(rest.to_owned()),
                "number" => {
                    if let Some((key, value)) = rest.split_once(' ')
                        && let Ok(value) = value.parse()
                    {
                        self.numbers.insert(key.to_owned(), value);
                    }
                }
                "maps" | "memory" => {
                    let copy: Vec<&str> =
                        lines.by_ref().take_while(|line| *line != "end").collect();
                    let copy = copy.join("\n");
                    if kind == "maps" {
                        self.maps.insert(rest.to_owned(), Maps::parse(&copy));
                    } else if let Some(memory) = Memory::parse(&copy) {
                        self.memory.insert(rest.to_owned(), memory);
                    }
                }
                "skip" => self.skipped = Some(rest.to_owned()),
                "done" => self.done = true,
                _ => {}
            }
        }
        self.page_bytes = self.number("page-bytes").unwrap_or(4096);
    }
}

/// The chunk that serves a request: the size word on top, rounded up to 16, at least 32.
pub fn chunk_bytes(request: usize) -> usize {
    (request + 8).next_multiple_of(16).max(32)
}

/// Runs `experiment` on `side`.
pub fn run(experiment: &Experiment, side: &Side) -> anyhow::Result<Run> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let (mut notes, mut stderr) = (memory_file()?, memory_file()?);
    let mut command = Command::new(program);
    command
        .args([CHILD_COMMAND, experiment.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::from(notes.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_allocator_setting) {
            command.env_remove(name);
        }
    }
    if let Some(library) = side.library() {
        command.env("LD_PRELOAD", library);
    }
    command.envs(experiment.env.iter().copied());
    let mut child = command.spawn().context("cannot start this program again")?;
    let attached = tracer::attach(child.id());
    if let Some(mut go) = child.stdin.take() {
        // A child that died already is found out below.
        let _ = go.write_all(b"g");
    }
    let (calls, end, untraced) = match attached {
        Ok(tracer) => {
            let (calls, end) = tracer.follow().context("lost the traced child")?;
            (calls, end, None)
        }
        Err(why) => (Vec::new(), tracer::wait_untraced(child.id())?, Some(why)),
    };
    let mut run = Run {
        side: side.clone(),
        page_bytes: 0,
        stderr: read_back(&mut stderr)?,
        end,
        skipped: None,
        done: false,
        untraced,
        steps: Vec::new(),
        calls,
        numbers: HashMap::new(),
        maps: HashMap::new(),
        memory: HashMap::new(),
    };
    run.read_notes(&read_back(&mut notes)?);
    Ok(run)
}

/// Settings that would make a run other than the article's.
fn is_allocator_setting(name: &str) -> bool {
    ["LD_PRELOAD", "GLIBC_TUNABLES"].contains(&name)
        || name.starts_with("MALLOC_")
        || name.starts_with("HEAPWISE_")
}

fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a C string, the flag is known.
    let fd = unsafe { libc::memfd_create(c"heapwise-lab".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn read_back(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
