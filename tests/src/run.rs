//! Running a program to its end or to its time limit.

use crate::allocator::Allocator;
use crate::group;
use crate::workspace::Scratch;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// Its status; `None` if it had to be killed at the time limit.
    pub status: Option<ExitStatus>,
    /// Everything written to standard output.
    pub stdout: Vec<u8>,
    /// Everything written to standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Outcome {
    /// Did it exit with status 0?
    pub fn success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|s| s.signal())
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// How it ended, in words.
    pub fn ending(&self) -> String {
        match self.status {
            None => "hung, and was killed at its time limit".into(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (_, Some(signal)) => signal_name(signal),
                _ => format!("{status}"),
            },
        }
    }

    /// The whole outcome, for the message of a failed test.
    pub fn describe(&self) -> String {
        let cut = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let skip = text.chars().count().saturating_sub(4000);
            text.chars().skip(skip).collect::<String>()
        };
        format!(
            "{} after {:.1?}\n--- stdout\n{}\n--- stderr\n{}",
            self.ending(),
            self.elapsed,
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}

/// The name of a signal that programs die of.
pub fn signal_name(signal: i32) -> String {
    match signal {
        4 => "SIGILL".into(),
        6 => "SIGABRT".into(),
        7 => "SIGBUS".into(),
        8 => "SIGFPE".into(),
        9 => "SIGKILL".into(),
        11 => "SIGSEGV".into(),
        14 => "SIGALRM".into(),
        15 => "SIGTERM".into(),
        _ => format!("signal {signal}"),
    }
}

/// A command on `program` that will preload `allocator`.
///
/// Preloading leaves the tests' own environment alone: the variables that
/// tune an allocator are removed, so that a test says itself what it sets.
///
/// # Panics
/// If the allocator's library is missing.
pub fn on(allocator: Allocator, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MALLOC_") || text == "GLIBC_TUNABLES" || tunes_heapwise(&text) {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_PRELOAD");
    match allocator.preload() {
        Ok(None) => {}
        Ok(Some(library)) => {
            command.env("LD_PRELOAD", library);
        }
        Err(message) => panic!("{message}"),
    }
    command
}

fn tunes_heapwise(name: &str) -> bool {
    name.starts_with("HEAPWISE_") && name != "HEAPWISE_LIB"
}

/// Runs `command` in a process group of its own, with nothing on standard
/// input unless `input` names a file, and kills the group after `limit`.
pub fn run(mut command: Command, input: Option<&Path>, limit: Duration) -> Outcome {
    // Files rather than pipes: a grandchild that outlives the program cannot
    // block us, and nothing has to be read while it runs.
    let scratch = Scratch::new("run");
    let (out, err) = (scratch.path().join("stdout"), scratch.path().join("stderr"));
    let create = |path| File::create(path).expect("scratch files can be made");
    let stdin = input.map_or_else(Stdio::null, |path| {
        Stdio::from(File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    });
    command.stdin(stdin).stdout(create(&out)).stderr(create(&err)).process_group(0);

    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if start.elapsed() > limit {
            group::end(&mut child);
            break None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let read = |path| fs::read(path).expect("scratch files can be read");
    Outcome { status, stdout: read(&out), stderr: read(&err), elapsed: start.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children_and_nobody_else() {
        let mut bystander = Command::new("sleep").arg("30").spawn().expect("sleep starts");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo $!; wait"]);
        let outcome = run(command, None, Duration::from_millis(500));
        assert!(outcome.status.is_none());
        let grandchild = outcome.stdout_text();
        // It is init's to bury now; until then it is a zombie.
        let state = fs::read_to_string(format!("/proc/{}/stat", grandchild.trim()));
        assert!(state.is_err() || state.is_ok_and(|s| s.contains(") Z ")));
        assert!(bystander.try_wait().expect("a child can be asked").is_none());
        bystander.kill().expect("a child can be killed");
        let _ = bystander.wait();
    }
}
