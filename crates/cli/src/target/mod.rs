//! TARGET, as every command that looks at memory takes it.
//!
//! ```text
//! 4711             a process, by number
//! FILE             a snapshot or a core file, told by how it begins
//! redis-server     the one process of that name
//! -- CMD …         a program that is run, and looked at when it ends and on Ctrl-C
//! ```
//! In this order. A file of another kind is taken for the name of a process
//! unless there is a slash in it.

mod names;
mod watched;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use heapwise_inspect::corefile::{self, Core};
use heapwise_inspect::snapshot::{self, SnapshotError};
use heapwise_inspect::{Options, Survey, survey, survey_core};

use self::watched::Moment;
pub use self::watched::cannot_run;
use crate::exit;
use crate::explain::words;
use crate::failure::{Failure, USAGE};
use crate::profile::living::{Living, Patience};

/// What to look at.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Number or name of a process, a core file, or a snapshot file
    #[arg(value_name = "TARGET", required_unless_present = "command", conflicts_with = "command")]
    target: Option<OsString>,

    /// Where the files of a core's process are, if not on this machine
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    sysroot: PathBuf,
    /// Look at one moment: stop the process for as long as a copy of it takes; says for how long
    #[arg(long, conflicts_with = "command")]
    consistent: bool,

    /// Run a program, and look at it when it ends and on Ctrl-C
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What a TARGET turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A process.
    Process(u32),
    /// A snapshot.
    Snapshot(PathBuf),
    /// A core file, and where the paths in it begin.
    Core(PathBuf, PathBuf),
}

/// What another look would be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same process, later.
    Process,
    /// The same file, which does not change.
    File,
    /// Another run of the program.
    Command,
}

/// A look, and how to ask for another one.
#[derive(Clone)]
pub struct Look {
    /// What was seen.
    pub seen: Survey,
    /// The target as a user types it: `4711`, `before.hws`, `-- ./job`.
    pub typed: String,
    /// What that is.
    pub kind: Kind,
}

impl TargetArgs {
    /// Looks once, or at every moment of a program that is run; `tell` gets each look and
    /// says what to exit with, and the last one counts.
    pub fn each(
        &self,
        options: Options,
        mut tell: impl FnMut(&Look) -> anyhow::Result<u8>,
    ) -> anyhow::Result<u8> {
        if let Some(target) = &self.target {
            let options = Options { consistent: self.consistent, ..options };
            let found = Target::of(target)?.with_sysroot(&self.sysroot);
            let kind = found.kind();
            return tell(&Look { seen: found.look(options)?, typed: quoted(target), kind });
        }
        let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        let typed = format!("-- {}", words.join(" "));
        watched::run(&self.command, |pid, moment| {
            if moment == Moment::Interrupt {
                crate::complain("interrupted; this is how it stands");
            }
            let seen = Target::Process(pid).look(options)?;
            tell(&Look { seen, typed: typed.clone(), kind: Kind::Command })
        })
    }
}

impl TargetArgs {
    /// What is named, if no program is to be run.
    pub fn named(&self) -> Result<Option<Target>, Failure> {
        let word = self.target.as_deref();
        word.map(|word| Ok(Target::of(word)?.with_sysroot(&self.sysroot))).transpose()
    }

    /// The word itself, if no program is to be run.
    pub fn word(&self) -> Option<&OsStr> {
        self.target.as_deref()
    }

    /// Whether the process is to be stopped for each look.
    pub fn is_consistent(&self) -> bool {
        self.consistent
    }

    /// The name as a user types it.
    pub fn typed(&self) -> String {
        self.target.as_deref().map(quoted).unwrap_or_default()
    }
}

impl TargetArgs {
    /// Looks at a process, waits, and looks again.
    pub fn twice(&self, options: Options, pause: Duration) -> anyhow::Result<(Survey, Look)> {
        let word = self.target.as_deref().unwrap_or_default();
        let target = Target::of(word)?;
        if target.kind() != Kind::Process {
            let why = "a file does not change; compare two with heapwise diff";
            return Err(bad_file(Path::new(word), why).into());
        }
        let options = Options { consistent: self.consistent, ..options };
        let before = target.look(options)?;
        std::thread::sleep(pause);
        let seen = target.look(options)?;
        if seen.origin.start_ticks != before.origin.start_ticks {
            return Err(Failure::new(exit::NO_SUCH_PROCESS, "the process ended meanwhile").into());
        }
        Ok((before, Look { seen, typed: quoted(word), kind: Kind::Process }))
    }
}

impl Target {
    /// Finds out what a word means.
    pub fn of(word: &OsStr) -> Result<Self, Failure> {
        if let Some(pid) = word.to_str().and_then(|word| word.parse().ok()) {
            return Ok(Self::Process(pid));
        }
        let path = Path::new(word);
        match first_bytes(path) {
            Ok(first) if snapshot::is_snapshot(&first) => return Ok(Self::Snapshot(path.into())),
            Ok(first) if corefile::is_core(&first) => {
                return Ok(Self::Core(path.into(), "/".into()));
            }
            Ok(_) if word.as_encoded_bytes().contains(&b'/') => {
                return Err(bad_file(path, "neither a core file nor a snapshot of heapwise"));
            }
            Err(error) if word.as_encoded_bytes().contains(&b'/') => {
                return Err(bad_file(path, error));
            }
            _ => {}
        }
        names::resolve(&word.to_string_lossy()).map(Self::Process)
    }

    /// The same, with the files of a core's process below `root`.
    #[must_use]
    pub fn with_sysroot(self, root: &Path) -> Self {
        match self {
            Self::Core(path, _) => Self::Core(path, root.into()),
            other => other,
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Process(_) => Kind::Process,
            Self::Snapshot(_) | Self::Core(..) => Kind::File,
        }
    }

    /// Looks at it, and asks a recording that runs where its memory was allocated. What a snapshot
    /// does not hold, options cannot ask for.
    pub fn look(&self, options: Options) -> Result<Survey, Failure> {
        let mut seen = self.glance(options)?;
        if let Self::Process(_) = self {
            Living::default().fill(&mut seen, Patience::Waits);
        }
        Ok(seen)
    }

    /// Looks at it, and asks nobody else.
    pub fn glance(&self, options: Options) -> Result<Survey, Failure> {
        match self {
            Self::Process(pid) => {
                let seen = survey(*pid, options).map_err(|error| exit::failure(&error))?;
                if let Some(pause) = words::pause(&seen.origin) {
                    crate::complain(&pause);
                }
                Ok(seen)
            }
            Self::Snapshot(path) | Self::Core(path, _) if options.consistent => {
                Err(bad_file(path, "--consistent is for processes: a file does not change"))
            }
            Self::Snapshot(path) => File::open(path)
                .map_err(SnapshotError::Io)
                .and_then(snapshot::read)
                .map_err(|error| bad_file(path, error)),
            Self::Core(path, sysroot) => Core::open(path, sysroot)
                .and_then(|core| survey_core(&core, options))
                .map_err(|error| bad_file(path, error)),
        }
    }
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    // A directory opens, too, and fails at the read.
    File::open(path)?.take(corefile::FIRST_BYTES as u64).read_to_end(&mut first)?;
    Ok(first)
}

fn bad_file(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(USAGE, format!("{}: {why}", path.display()))
}

/// As a shell takes it back.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted(OsStr::new("./a-b")), "./a-b");
        assert_eq!(quoted(OsStr::new("it's")), "'it'\\''s'");
        assert_eq!(quoted(OsStr::new("")), "''");
    }

    #[test]
    fn a_number_is_a_process_and_a_file_must_be_one_of_ours() {
        assert_eq!(Target::of(OsStr::new("17")).unwrap(), Target::Process(17));
        for path in ["/", "/etc/passwd", "/no/such/file"] {
            assert_eq!(Target::of(OsStr::new(path)).unwrap_err().code, USAGE, "{path}");
        }
    }
}
