//! Starts the player under a malloc of choice, and reads what it found.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::calls;
use crate::figures::Figures;
use crate::script::Script;
use crate::streams::{self, Playing};

/// A malloc and its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The library to preload; none for the C library's own malloc.
    pub preload: Option<PathBuf>,
    /// Its settings.
    pub environment: Vec<(String, String)>,
}

/// Why a run gave no figures.
#[derive(Debug)]
pub enum Error {
    /// The steps cannot be written, the player cannot be started.
    Io(io::Error),
    /// It ended badly: its last words.
    Player(ExitStatus, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Player(status, words) if words.is_empty() => write!(f, "ended with {status}"),
            Self::Player(status, words) => write!(f, "ended with {status}: {words}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The player, and the steps in a file that is removed with this.
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
    steps: PathBuf,
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.steps);
    }
}

impl Launcher {
    /// Writes the steps to a file of its own in `directory`. `program`, given `arguments` and
    /// the file, calls [`crate::player::play`].
    ///
    /// # Errors
    /// The file cannot be written, for example since the disk is full.
    pub fn new(
        program: PathBuf,
        arguments: Vec<OsString>,
        script: &Script,
        playing: Playing,
        directory: &Path,
    ) -> io::Result<Self> {
        let (file, steps) = create(directory)?;
        let launcher = Self { program, arguments, steps };
        let mut out = BufWriter::new(file);
        streams::write(script, playing, &mut out)?;
        out.flush()?;
        Ok(launcher)
    }

    /// Plays once; with `count_calls` under a tracer, which changes times but not memory.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run(&self, target: &Target, count_calls: bool) -> Result<Figures, Error> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(&self.steps);
        forget_settings(&mut command);
        if let Some(library) = &target.preload {
            command.env("LD_PRELOAD", library);
        }
        command.envs(target.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (status, out, err, calls) = if count_calls {
            let mut child = calls::spawn(command)?;
            // What it says fits into the pipes: it is read after its end.
            let (calls, status) = calls::follow(&child)?;
            let status = ExitStatus::from_raw(status);
            let (out, err) = (drain(child.stdout.take())?, drain(child.stderr.take())?);
            (status, out, err, Some(calls))
        } else {
            let output = command.output()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status, text(&output.stdout), text(&output.stderr), None)
        };
        let last_words = || err.lines().last().unwrap_or_default().trim().to_owned();
        match Figures::from_text(&out) {
            Some(figures) if status.success() => Ok(Figures { calls, ..figures }),
            _ => Err(Error::Player(status, last_words())),
        }
    }
}

fn drain(pipe: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes out of a command's environment what would set up a malloc.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_setting) {
            command.env_remove(&name);
        }
    }
}

/// Whether a variable would set up a malloc: those of whoever called us must not count.
fn is_setting(name: &str) -> bool {
    let known = ["LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_CONF", "_RJEM_MALLOC_CONF"];
    known.contains(&name)
        || ["MALLOC_", "HEAPWISE_", "MIMALLOC_", "TCMALLOC_"].iter().any(|p| name.starts_with(p))
}

fn create(directory: &Path) -> io::Result<(File, PathBuf)> {
    for attempt in 0..1000 {
        let name = format!("heapwise-replay-{}-{attempt}.steps", std::process::id());
        let path = directory.join(name);
        match File::create_new(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let message = format!("cannot write {}: {error}", path.display());
                return Err(io::Error::new(error.kind(), message));
            }
        }
    }
    Err(io::Error::other(format!("no free name in {}", directory.display())))
}
