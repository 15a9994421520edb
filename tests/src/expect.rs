//! The opening comment of a test program, which says what must come of it.
//!
//! ```c
//! /* Frees a small chunk twice in a row.
//!  *
//!  * stderr: free(): double free detected in tcache 2
//!  * or:     double free or corruption (fasttop)
//!  * signal: SIGABRT
//!  */
//! ```
//! Paragraphs come first, of which the first is the summary; then the keys:
//!
//! | key | meaning |
//! |---|---|
//! | `stderr`, `or` | the line that standard error must consist of; alternatives, glibc's first |
//! | `signal` | the signal that must end the program |
//! | `limit` | why Heapwise may miss this: any end without a word is then accepted, too |
//! | `env` | `NAME=VALUE` set for the program (repeatable) |
//! | `args` | its arguments |
//! | `libs` | further compiler arguments |
//! | `preload` | `no`: the program itself decides when the library comes in |
//! | `seconds` | its time limit |

use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a program's opening comment says.
#[derive(Debug, Default)]
pub struct Expectation {
    /// The first paragraph, on one line.
    pub summary: String,
    /// Lines of which standard error must be one; empty: it must be empty.
    pub lines: Vec<String>,
    /// The name of the signal that must end the program.
    pub signal: Option<String>,
    /// Why Heapwise may not notice.
    pub limit: Option<String>,
    /// Environment for the program.
    pub environment: Vec<(String, String)>,
    /// Arguments for the program.
    pub arguments: Vec<String>,
    /// Arguments for the compiler.
    pub libraries: Vec<String>,
    /// Whether the library is preloaded.
    pub preload: bool,
    /// Time limit.
    pub seconds: Option<u64>,
}

impl Expectation {
    /// Reads the opening comment of `source`.
    ///
    /// # Panics
    /// If there is none or it has a key that no test knows.
    pub fn of(source: &Path) -> Self {
        let text =
            fs::read_to_string(source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        let comment = text
            .strip_prefix("/*")
            .and_then(|rest| rest.split_once("*/"))
            .map(|(comment, _)| comment)
            .unwrap_or_else(|| panic!("{} does not open with a comment", source.display()));
        let mut expectation = Self { preload: true, ..Self::default() };
        let mut in_summary = true;
        for line in comment.lines().map(|l| l.trim().trim_start_matches('*').trim()) {
            if line.is_empty() {
                in_summary &= expectation.summary.is_empty();
            } else if in_summary {
                if !expectation.summary.is_empty() {
                    expectation.summary.push(' ');
                }
                expectation.summary.push_str(line);
            } else if let Some((key, value)) = key_of(line) {
                expectation.set(key, value, source);
            }
        }
        expectation
    }

    fn set(&mut self, key: &str, value: &str, source: &Path) {
        let words = || value.split_whitespace().map(String::from);
        match key {
            "stderr" | "or" => self.lines.push(value.into()),
            "signal" => self.signal = Some(value.into()),
            "limit" => self.limit = Some(value.into()),
            "env" => {
                let (name, value) = value.split_once('=').unwrap_or_else(|| {
                    panic!("{}: `env: {value}` is not NAME=VALUE", source.display())
                });
                self.environment.push((name.into(), value.into()));
            }
            "args" => self.arguments.extend(words()),
            "libs" => self.libraries.extend(words()),
            "preload" => self.preload = value != "no",
            "seconds" => self.seconds = Some(value.parse().expect("seconds: a number")),
            _ => unreachable!("key_of knows every key"),
        }
    }

    /// The time limit, or `default`.
    pub fn time_limit(&self, default: Duration) -> Duration {
        self.seconds.map_or(default, Duration::from_secs)
    }
}

fn key_of(line: &str) -> Option<(&str, &str)> {
    const KEYS: [&str; 9] =
        ["stderr", "or", "signal", "limit", "env", "args", "libs", "preload", "seconds"];
    let (key, value) = line.split_once(':')?;
    KEYS.contains(&key).then(|| (key, value.trim()))
}
