//! From what a user types to a process: a number, or a name that only one has.

use std::fs;

use super::files::path;

/// A process that a name could mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub pid: u32,
    /// Its command line, or its name in brackets.
    pub command: String,
}

/// What a process is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Its number.
    pub pid: u32,
    /// Its name (`comm`): 15 bytes at most, and the process may change it.
    pub comm: String,
    /// File name of its program, where it may be read; kernel threads have none.
    pub executable: Option<String>,
}

impl Names {
    /// Whether a user who types `name` may mean it.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.comm == name || self.executable.as_deref() == Some(name)
    }

    /// Its command line with blanks between the arguments, or its name in brackets.
    #[must_use]
    pub fn command(&self) -> String {
        let command = fs::read(path(self.pid, "cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
        if command.is_empty() { format!("[{}]", self.comm) } else { command }
    }
}

/// All processes by number, ourselves left out.
#[must_use]
pub fn all() -> Vec<Names> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Names> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid: &u32| pid != std::process::id())
        .filter_map(of)
        .collect();
    found.sort_by_key(|names| names.pid);
    found
}

/// What process `pid` is called; `None` if there is no such process.
#[must_use]
pub fn of(pid: u32) -> Option<Names> {
    let comm = fs::read(path(pid, "comm")).ok()?;
    let comm = String::from_utf8_lossy(&comm).trim_end_matches('\n').to_owned();
    let executable = fs::read_link(path(pid, "exe")).ok();
    let executable = executable.as_deref().and_then(|path| path.file_name()?.to_str());
    Some(Names { pid, comm, executable: executable.map(str::to_owned) })
}

/// Processes whose name or program file is `name`, ourselves left out.
#[must_use]
pub fn find(name: &str) -> Vec<Candidate> {
    let named = all().into_iter().filter(|names| names.is(name));
    named.map(|names| Candidate { pid: names.pid, command: names.command() }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_that_nobody_has_finds_nobody() {
        assert!(super::find("no process is called like this").is_empty());
    }

    #[test]
    fn our_own_name_is_known_but_not_listed() {
        let own = super::of(std::process::id()).unwrap();
        assert!(own.is(own.executable.as_deref().unwrap()));
        assert!(super::all().iter().all(|names| names.pid != own.pid));
    }
}
