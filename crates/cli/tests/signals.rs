//! Signals under `--report`: forwarded once, job control as if we were not there.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A program under the supervisor that has said "ready".
struct Session {
    supervisor: Child,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Starts a shell script in a process group of its own; `$$` is the program's pid.
    fn start(script: &str) -> Self {
        let template = common::heapwise();
        let mut command = Command::new(template.get_program());
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // SAFETY: signal(2) is async-signal-safe.
        unsafe { command.pre_exec(common::default_signals) };
        let mut supervisor = command
            .args(["run", "--report", "-o", "/dev/null", "--", "sh", "-c", script])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(supervisor.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("ready"), "{line}");
        Self { supervisor, output }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.supervisor.id() as i32)
    }

    /// What it printed after "ready", and its exit code.
    fn finish(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (rest, self.supervisor.wait().unwrap().code())
    }
}

/// Says what it got; ends 0.3 s after the first, so that a second one would show.
fn reporter(signal: &str) -> String {
    format!(
        "trap 'echo {signal}; got=1' {signal}; echo ready; \
         while [ -z \"$got\" ]; do sleep 0.05; done; for i in 1 2 3 4 5 6; do sleep 0.05; done"
    )
}

#[test]
fn signals_sent_to_us_reach_the_program() {
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGALRM,
    ] {
        let name = signal.as_str().trim_start_matches("SIG");
        let session = Session::start(&reporter(name));
        kill(session.pid(), signal).unwrap();
        assert_eq!(session.finish(), (format!("{name}\n"), Some(0)), "{signal}");
    }
}

#[test]
fn a_program_that_dies_of_a_forwarded_signal_gives_128_plus_n() {
    let session = Session::start("echo ready; while :; do sleep 0.05; done");
    kill(session.pid(), Signal::SIGINT).unwrap();
    assert_eq!(session.finish().1, Some(130));
}

#[test]
fn what_the_program_sends_to_its_group_does_not_come_back() {
    let session =
        Session::start("trap 'echo USR1' USR1; echo ready; kill -USR1 0; sleep 0.3; echo end");
    assert_eq!(session.finish(), ("USR1\nend\n".into(), Some(0)));
}

#[test]
fn stopped_and_continued_together() {
    let session =
        Session::start("trap 'echo continued' CONT; echo ready; sleep 0.1; sleep 0.6; echo end");
    kill(session.pid(), Signal::SIGTSTP).unwrap();
    let supervisor = session.pid();
    wait_until("both are stopped", || {
        state(supervisor) == Some('T')
            && children(supervisor).iter().all(|child| state(*child) == Some('T'))
    });
    // As `fg` does it.
    killpg(supervisor, Signal::SIGCONT).unwrap();
    assert_eq!(session.finish(), ("continued\nend\n".into(), Some(0)));
}

#[test]
fn continuing_us_alone_continues_the_program() {
    let session = Session::start("echo ready; sleep 0.1; echo end");
    kill(session.pid(), Signal::SIGTSTP).unwrap();
    let supervisor = session.pid();
    wait_until("we are stopped", || state(supervisor) == Some('T'));
    kill(supervisor, Signal::SIGCONT).unwrap();
    assert_eq!(session.finish(), ("end\n".into(), Some(0)));
}

#[test]
fn the_program_gets_the_signal_mask_and_dispositions_that_we_got() {
    let masks = |arguments: &[&str]| {
        let output = common::heapwise()
            .args(arguments)
            .args(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(masks(&["run", "--report", "-o", "/dev/null", "--"]), masks(&["run", "--"]));
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "timed out: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// The letter in `/proc/PID/stat`, behind the name in parentheses.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

fn children(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).map(Pid::from_raw).collect()
}
