//! Which processes are exported: by number, name, command line or control group.

use std::collections::BTreeMap;

use clap::Args;
use heapwise_inspect::process::{cgroup, names};
use regex_lite::Regex;

/// The choice; a process that any part of it names is chosen.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Choice {
    /// The process of this number (repeatable)
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,

    /// Processes with this name or program file (repeatable)
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// Processes whose command line matches this regular expression (repeatable)
    #[arg(long = "match", value_name = "REGEX")]
    patterns: Vec<Regex>,

    /// Processes of this control group and of those below it (repeatable)
    #[arg(long = "cgroup", value_name = "GROUP", value_parser = parse_group)]
    groups: Vec<String>,
}

impl Choice {
    /// Number and name of those that are there now. Kernel threads have no memory and are left out.
    pub fn find(&self) -> BTreeMap<u32, String> {
        let numbered = self.pids.iter().filter_map(|&pid| names::of(pid));
        let searches =
            !(self.names.is_empty() && self.patterns.is_empty() && self.groups.is_empty());
        let all = if searches { names::all() } else { Vec::new() };
        let sought = all.into_iter().filter(|names| self.seeks(names));
        numbered.chain(sought).map(|names| (names.pid, names.comm)).collect()
    }

    fn seeks(&self, names: &names::Names) -> bool {
        if self.names.iter().any(|name| names.is(name)) {
            return true;
        }
        // A kernel thread has no command line: its name in brackets must not match.
        let command = || Some(names.command()).filter(|command| !command.starts_with('['));
        let matches = |command: String| self.patterns.iter().any(|regex| regex.is_match(&command));
        if !self.patterns.is_empty() && command().is_some_and(matches) {
            return true;
        }
        !self.groups.is_empty()
            && cgroup::names(names.pid)
                .iter()
                .any(|name| self.groups.iter().any(|group| is_within(name, group)))
    }
}

/// `/a/b`, `a/b` and `/sys/fs/cgroup/a/b/` are the same group.
fn parse_group(text: &str) -> Result<String, String> {
    let below = text.strip_prefix("/sys/fs/cgroup").unwrap_or(text).trim_matches('/');
    if below.is_empty() {
        return Err("the root group holds every process: name a group below it".into());
    }
    Ok(format!("/{below}"))
}

fn is_within(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_holds_those_below_it_but_not_its_namesakes() {
        let group = parse_group("/sys/fs/cgroup/system.slice/redis.service/").unwrap();
        assert_eq!(group, parse_group("system.slice/redis.service").unwrap());
        assert!(is_within("/system.slice/redis.service", &group));
        assert!(is_within("/system.slice/redis.service/worker", &group));
        assert!(!is_within("/system.slice/redis.service2", &group));
        assert!(parse_group("/").is_err() && parse_group("/sys/fs/cgroup").is_err());
    }
}
