//! The memory limit of the target's control group: version 2, or version 1 beside it.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::read_text;

/// What the group may use and uses, bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// The group's name, as in `/proc/PID/cgroup`.
    pub name: String,
    /// The limit; `None` if there is none.
    pub limit: Option<usize>,
    /// In use, page cache included.
    pub usage: usize,
}

/// Names of all groups of a process, as in `/proc/PID/cgroup`: `/` in version 2 without any.
#[must_use]
pub fn names(pid: u32) -> Vec<String> {
    let text = read_text(pid, "cgroup").unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
}

/// The memory group of a process, if it can be read.
#[must_use]
pub fn of(pid: u32) -> Option<Cgroup> {
    let text = read_text(pid, "cgroup").ok()?;
    candidates(&text).into_iter().find_map(|(name, directory, limit, usage)| {
        let usage = fs::read_to_string(directory.join(usage)).ok()?.trim().parse().ok()?;
        let limit = fs::read_to_string(directory.join(limit)).ok()?;
        Some(Cgroup { name, limit: parse_limit(limit.trim()), usage })
    })
}

type Candidate = (String, PathBuf, &'static str, &'static str);

fn candidates(text: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(name)) = (parts.next(), parts.next()) else { continue };
        let below = name.trim_start_matches('/');
        if controllers.is_empty() {
            let root = PathBuf::from("/sys/fs/cgroup").join(below);
            found.push((name.to_owned(), root, "memory.max", "memory.current"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = PathBuf::from("/sys/fs/cgroup/memory").join(below);
            found.push((name.to_owned(), root, "memory.limit_in_bytes", "memory.usage_in_bytes"));
        }
    }
    found
}

/// "max", or version 1's way of saying so, is no limit.
fn parse_limit(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&limit: &usize| limit < 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let found = candidates("5:cpu,memory:/a\n0::/b/c\nnonsense\n");
        let directories: Vec<_> = found.iter().map(|(_, d, ..)| d.to_str().unwrap()).collect();
        assert_eq!(directories, ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/b/c"]);
        assert_eq!(parse_limit("max"), None);
        assert_eq!(parse_limit("9223372036854771712"), None);
        assert_eq!(parse_limit("1048576"), Some(1 << 20));
    }
}
