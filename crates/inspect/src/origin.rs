//! Of what a look was, when, where, and how long it took.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::process::figures::start_time;
use crate::process::files::{path, read};
use crate::wire;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A live process: the account is of its resident pages.
    #[default]
    Process,
    /// A core file: the account is of the pages that the file holds.
    Core,
}

/// What a process is stopped for, when a look is to be of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseFor {
    /// For a copy of it to be made, which was looked at then.
    Copy {
        /// How long that took the kernel, nanoseconds.
        made_ns: u64,
        /// Memory of the copy's page tables.
        #[serde(deserialize_with = "wire::figure")]
        table_bytes: usize,
        /// Page faults of the process while it was there: each a page copied, at most.
        faults: u64,
        /// Whether it was removed without a trace; if not it stays as a zombie until the process ends.
        is_removed: bool,
    },
    /// For the whole look.
    Look {
        /// Why no copy could be made.
        why: String,
    },
}

/// The circumstances of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What was looked at.
    pub source: Source,
    /// When, in milliseconds since 1970; of a core file when it was last written.
    pub taken_unix_ms: u64,
    /// How long the look took, nanoseconds.
    pub took_ns: u64,
    /// How long the process was stopped for it, nanoseconds; none if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ns: Option<u64>,
    /// What the process was stopped for; none if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_for: Option<PauseFor>,
    /// When the process started, in clock ticks since boot: with its number, its identity.
    #[serde(default)]
    pub start_ticks: u64,
    /// The target's command line.
    pub command: Vec<String>,
    /// Path of its program.
    pub executable: String,
    /// The machine it ran on; empty for a core file, which does not tell.
    pub host: Host,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Its memory, bytes.
    pub memory_bytes: usize,
}

impl Origin {
    /// That of a live process, now.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let executable = std::fs::read_link(path(pid, "exe")).unwrap_or_default();
        Self {
            source: Source::Process,
            taken_unix_ms: unix_ms(SystemTime::now()),
            took_ns: 0,
            pause_ns: None,
            pause_for: None,
            start_ticks: start_time(pid).unwrap_or(0),
            command: words(&read(pid, "cmdline").unwrap_or_default()),
            executable: executable.to_string_lossy().into_owned(),
            host: Host::this(),
        }
    }
}

impl Host {
    /// The one that we run on.
    #[must_use]
    pub fn this() -> Self {
        let line = |path: &str| {
            std::fs::read_to_string(path).map(|text| text.trim_end().to_owned()).unwrap_or_default()
        };
        let total = line("/proc/meminfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()
            })
            .unwrap_or(0usize);
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            memory_bytes: total.saturating_mul(1024),
        }
    }
}

/// Milliseconds since 1970; 0 for earlier times.
#[must_use]
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The words of a `cmdline`, each ended by a zero byte. What is not UTF-8 is replaced.
#[must_use]
pub fn words(cmdline: &[u8]) -> Vec<String> {
    let text = cmdline.strip_suffix(&[0]).unwrap_or(cmdline);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_its_words() {
        assert_eq!(words(b"a\0b c\0\0"), ["a", "b c", ""]);
        assert!(words(b"").is_empty());
        assert_eq!(words(b"redis-server *:6379"), ["redis-server *:6379"]);
    }

    #[test]
    fn our_own_circumstances_are_known() {
        let own = Origin::of_process(std::process::id());
        assert!(!own.command.is_empty() && own.executable.starts_with('/'));
        assert!(own.host.memory_bytes > 1 << 20 && !own.host.kernel.is_empty());
    }
}
