//! A program made ready to start on our heap: found, looked at, its environment set.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::preflight::{self, Verdict, inspect};
use super::{PRELOAD_ENV, program};
use crate::failure::{Failure, NOT_FOUND, OURS};
use crate::{library, tunables};

/// A program to start.
pub struct Launch {
    /// Its file.
    pub program: PathBuf,
    /// How to start it.
    pub command: Command,
    /// The library that it is preloaded with, if it can be.
    pub library: Option<PathBuf>,
}

impl Launch {
    /// Finds the program of a command line; refuses one that cannot be preloaded, unless `anyway`.
    pub fn new(words: &[OsString], settings: &[String], anyway: bool) -> anyhow::Result<Self> {
        let settings = settings
            .iter()
            .map(|argument| tunables::parse(argument))
            .collect::<Result<Vec<_>, _>>()?;
        let Some((name, arguments)) = words.split_first() else {
            anyhow::bail!("no program given");
        };
        let program = program::find(name)?;
        let library = if may_preload(&program, anyway)? { Some(library::locate()?) } else { None };
        let mut command = Command::new(&program);
        command.arg0(name).args(arguments);
        command.envs(tunables::environment(&settings));
        if let Some(library) = &library {
            command.env(PRELOAD_ENV, preload_list(library, env::var_os(PRELOAD_ENV).as_deref()));
        }
        Ok(Self { program, command, library })
    }

    /// What it means that it could not be started.
    pub fn exec_failure(&self, error: &std::io::Error) -> Failure {
        preflight::exec_failure(&self.program, error)
    }
}

/// Whether the program can take the library; an error if not and `anyway` is not given.
fn may_preload(program: &Path, anyway: bool) -> Result<bool, Failure> {
    match inspect(program) {
        Verdict::Fine => Ok(true),
        Verdict::CannotPreload(_) if anyway => Ok(false),
        Verdict::CannotPreload(why) => Err(Failure::new(
            OURS,
            format!(
                "{} cannot be preloaded: {why}; --anyway runs it on its own heap",
                program.display()
            ),
        )),
        Verdict::MissingInterpreter(why) => {
            Err(Failure::new(NOT_FOUND, format!("{} cannot run: {why}", program.display())))
        }
    }
}

/// Ours first, so that its `malloc` is the one that binds.
fn preload_list(library: &Path, before: Option<&OsStr>) -> OsString {
    let mut list = library.as_os_str().to_owned();
    let others = before.map(OsStr::as_bytes).unwrap_or_default();
    for other in others.split(|byte| b": \t\n".contains(byte)).map(OsStr::from_bytes) {
        if !other.is_empty() && other != library.as_os_str() {
            list.push(":");
            list.push(other);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_once() {
        let list = |before: &str| preload_list(Path::new("/h.so"), Some(OsStr::new(before)));
        assert_eq!(
            [list(""), list("a.so b.so"), list("x.so:/h.so")],
            ["/h.so", "/h.so:a.so:b.so", "/h.so:x.so"]
        );
    }
}
