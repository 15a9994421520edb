//! The memory limit of the target's control group: version 2, or version 1 beside it.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::read_text;

/// Where the groups are.
const ROOT: &str = "/sys/fs/cgroup";

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

/// How much more a process may use before its group, or one above it, is at its limit;
/// none without a limit. Page cache gives way, so it is not counted as used.
#[must_use]
pub fn headroom(pid: u32) -> Option<usize> {
    let text = read_text(pid, "cgroup").ok()?;
    let candidates = candidates(&text);
    let left = candidates.iter().flat_map(|(_, directory, limit, usage)| {
        directory.ancestors().take_while(|above| above.starts_with(ROOT)).filter_map(move |above| {
            let read = |name: &str| fs::read_to_string(above.join(name)).ok();
            let limit = parse_limit(read(limit)?.trim())?;
            let usage: usize = read(usage)?.trim().parse().ok()?;
            let cache = page_cache(&read("memory.stat").unwrap_or_default());
            Some(limit.saturating_sub(usage.saturating_sub(cache)))
        })
    });
    left.min()
}

/// What of a group's memory are pages of files.
fn page_cache(stat: &str) -> usize {
    let of = |wanted: &str| {
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        let line = lines.find(|(name, _)| *name == wanted);
        line.and_then(|(_, bytes)| bytes.parse::<usize>().ok()).unwrap_or(0)
    };
    of("inactive_file") + of("active_file")
}

type Candidate = (String, PathBuf, &'static str, &'static str);

fn candidates(text: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(name)) = (parts.next(), parts.next()) else { continue };
        let below = name.trim_start_matches('/');
        if controllers.is_empty() {
            let root = PathBuf::from(ROOT).join(below);
            found.push((name.to_owned(), root, "memory.max", "memory.current"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let root = PathBuf::from(ROOT).join("memory").join(below);
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
        assert_eq!(page_cache("anon 7\ninactive_file 4096\nactive_file 8192\nx\n"), 12288);
    }
}
