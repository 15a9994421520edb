//! The command at a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running command, and the other end of its terminal.
pub struct Session {
    child: Child,
    master: File,
    output: Vec<u8>,
    screen: vt100::Parser,
}

impl Session {
    /// Starts the command as the session leader of a new terminal of 80 columns and 24 lines.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        for fd in [&pty.master, &pty.slave] {
            // The command must not hold the other end of its own terminal.
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let template = super::heapwise();
        let mut command = Command::new(template.get_program());
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        // SAFETY: setsid, ioctl and signal are async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                super::default_signals()
            });
        }
        let child = command.spawn().unwrap();
        // The command and we hold copies of the slave end: with them open, reading never ends.
        drop(command);
        drop(pty.slave);
        let screen = vt100::Parser::new(cells(24), cells(80), 0);
        Self { child, master: File::from(pty.master), output: Vec::new(), screen }
    }

    /// The command's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until `text` is on the screen.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.screen.screen().contents().contains(text) {
            let screen = || self.screen.screen().contents();
            assert!(start.elapsed() < PATIENCE, "no {text:?}:\n{}", screen());
            assert!(self.read(), "it ended without {text:?}: {}", self.text());
        }
    }

    /// Reads on until `sequence` was written so many times.
    pub fn wait_for_written(&mut self, sequence: &str, times: usize) {
        let start = Instant::now();
        while self.text().matches(sequence).count() < times {
            assert!(start.elapsed() < PATIENCE, "no {sequence:?}: {}", self.text());
            assert!(self.read(), "it ended without {sequence:?}: {}", self.text());
        }
    }

    /// Types.
    pub fn send(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Makes the window another size.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel reads one winsize of ours.
        let done = unsafe {
            libc::ioctl(
                std::os::fd::AsRawFd::as_raw_fd(&self.master),
                libc::TIOCSWINSZ,
                &raw const size,
            )
        };
        assert_eq!(done, 0);
        self.screen.screen_mut().set_size(cells(lines), cells(columns));
    }

    /// Closes the terminal under it, as an ssh that breaks does; its exit code, or the signal.
    pub fn hang_up(mut self) -> (Option<i32>, Option<i32>) {
        use std::os::unix::process::ExitStatusExt;
        let null = File::open("/dev/null").unwrap();
        drop(std::mem::replace(&mut self.master, null));
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), status.signal());
            }
            assert!(start.elapsed() < PATIENCE, "it outlives its terminal");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it wrote, and its exit code.
    pub fn finish(mut self) -> (String, Option<i32>) {
        let start = Instant::now();
        while self.read() {
            assert!(start.elapsed() < PATIENCE, "it does not end: {}", self.text());
        }
        (self.text(), self.child.wait().unwrap().code())
    }

    /// False once every process has closed the terminal (EIO).
    fn read(&mut self) -> bool {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(500_u16)).unwrap() == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = self.master.read(&mut buffer) else { return false };
        self.output.extend_from_slice(&buffer[..length]);
        self.screen.process(&buffer[..length]);
        true
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a window has a size")
}
