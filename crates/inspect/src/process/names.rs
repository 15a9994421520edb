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

/// Processes whose name, program file or script is `name`, ourselves left out.
#[must_use]
pub fn find(name: &str) -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Candidate> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid: &u32| pid != std::process::id())
        .filter_map(|pid| candidate(pid, name))
        .collect();
    found.sort_by_key(|candidate| candidate.pid);
    found
}

fn candidate(pid: u32, name: &str) -> Option<Candidate> {
    let comm = fs::read_to_string(path(pid, "comm")).ok()?;
    let comm = comm.trim_end();
    let executable = fs::read_link(path(pid, "exe")).ok();
    let executable = executable.as_deref().and_then(|path| path.file_name()?.to_str());
    if comm != name && executable != Some(name) {
        return None;
    }
    let command = fs::read(path(pid, "cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    let command = if command.is_empty() { format!("[{comm}]") } else { command };
    Some(Candidate { pid, command })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_that_nobody_has_finds_nobody() {
        assert!(super::find("no process is called like this").is_empty());
    }
}
