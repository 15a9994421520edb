//! `watch -- CMD`: a program that is started to be watched, and whose output must not meet the screen.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;
use crate::target::cannot_run;

/// So much of the end of its output is kept.
const KEPT_BYTES: usize = 64 << 10;
/// How long it may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// The program while it runs.
pub struct Program {
    child: Child,
    output: Option<JoinHandle<VecDeque<u8>>>,
}

impl Program {
    /// Starts it without input. Its output is kept for the end if the screen is ours, else it
    /// goes to standard error: standard output is for what we say.
    pub fn start(command: &[OsString], is_screen_ours: bool) -> anyhow::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| anyhow::anyhow!("no program given"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let mut reader = None;
        if is_screen_ours {
            let (from, to) = io::pipe()?;
            command.stdout(to.try_clone()?).stderr(to);
            reader = Some(from);
        } else {
            command.stdout(io::stderr());
        }
        let child = command.spawn().map_err(|error| -> Failure { cannot_run(program, &error) })?;
        // Its end of the pipe is now its alone.
        drop(command);
        let output = reader.map(|reader| thread::spawn(move || last_of(reader)));
        Ok(Self { child, output })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it if it still runs; what it wrote last goes to standard output.
    pub fn end(mut self) -> io::Result<()> {
        let begun = Instant::now();
        // One that has ended is still ours to wait for: the number is nobody else's.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Children of it may hold the pipe open for ever.
        let Some(output) = self.output.take() else { return Ok(()) };
        while !output.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        if output.is_finished()
            && let Ok(kept) = output.join()
        {
            let (first, second) = kept.as_slices();
            let mut out = io::stdout().lock();
            out.write_all(first)?;
            out.write_all(second)?;
            out.flush()?;
        }
        Ok(())
    }
}

/// Reads to the end and keeps the last of it.
fn last_of(mut reader: impl Read) -> VecDeque<u8> {
    let mut kept = VecDeque::new();
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        kept.extend(&buffer[..length]);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_much_output_is_kept() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let kept = last_of(&text[..]);
        assert_eq!(kept.len(), KEPT_BYTES);
        assert!(kept.iter().eq(&text[text.len() - KEPT_BYTES..]));
    }
}
