//! Ctrl-C and Ctrl-Z at a real terminal: the kernel signals the whole foreground
//! group, so the program must get each exactly once.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;

/// Runs `heapwise run --report SCRIPT` as the session leader of a new terminal; sends `keys`
/// once it has said "ready"; returns all it printed and the exit code.
fn at_terminal(script: &str, keys: &[u8]) -> (String, Option<i32>) {
    let pty = openpty(None, None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let template = common::heapwise();
    let mut command = Command::new(template.get_program());
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["run", "--report", "-o", "/dev/null", "--", "sh", "-c", script]);
    command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
    // SAFETY: setsid, ioctl and signal are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            common::default_signals()
        });
    }
    let mut child = command.spawn().unwrap();
    // The command holds copies of the slave end: with them open, the read below would never end.
    drop(command);
    drop(pty.slave);

    let mut master = File::from(pty.master);
    let mut output = Vec::new();
    let mut buffer = [0; 4096];
    let mut sent = false;
    let start = Instant::now();
    // EIO: every process has closed the terminal.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        output.extend_from_slice(&buffer[..length]);
        if !sent && output.windows(5).any(|text| text == b"ready") {
            master.write_all(keys).unwrap();
            sent = true;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{}", String::from_utf8_lossy(&output));
    }
    (String::from_utf8_lossy(&output).into_owned(), child.wait().unwrap().code())
}

#[test]
fn control_c_arrives_once() {
    let script = "trap 'echo INT; got=1' INT; echo ready; while [ -z \"$got\" ]; do sleep 0.05; done; sleep 0.3";
    let (output, code) = at_terminal(script, b"\x03");
    assert_eq!((output.matches("INT").count(), code), (1, Some(0)), "{output}");
}

#[test]
fn control_c_ends_a_program_that_does_not_catch_it() {
    // Without exec, dash itself loses the signal now and then between fork and exec.
    let (output, code) = at_terminal("echo ready; exec sleep 10", b"\x03");
    assert_eq!(code, Some(130), "{output}");
}

#[test]
fn control_backslash_arrives_once() {
    let script = "trap 'echo GOT; got=1' QUIT; echo ready; while [ -z \"$got\" ]; do sleep 0.05; done; sleep 0.3";
    let (output, code) = at_terminal(script, b"\x1c");
    assert_eq!((output.matches("GOT").count(), code), (1, Some(0)), "{output}");
}
