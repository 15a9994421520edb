//! Writing a command into a target's control block, and waiting for what comes of it.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use heapwise_layout::control::{Command, Control, STATUS_DONE, STATUS_UNKNOWN};
use heapwise_layout::state::ProcessState;

use super::Refusal;
use crate::error::Error;
use crate::ours::root::Root;
use crate::process::files::{convert, open};
use crate::process::remote;

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// As the command says.
    pub result: u64,
    /// What could not be done of it, as the command says.
    pub left: u64,
    /// Whether the helper had to be started, which stopped one thread for a moment.
    pub started_helper: bool,
}

/// Time between two looks at the block.
const LOOK: Duration = Duration::from_millis(2);
/// Between two attempts to start a helper: the last one may just have ended.
const NEXT_START: Duration = Duration::from_millis(20);

/// Asks the process for `command` and waits at most `patience` for the answer.
///
/// `forced` starts a helper also where the target has seccomp filters of its own, which
/// may end it for that. Commands of several callers wait for each other.
///
/// # Errors
/// Why it was not, or may not be, carried out.
pub fn request(
    pid: u32,
    root: &Root,
    command: Command,
    argument: u64,
    patience: Duration,
    forced: bool,
) -> Result<Reply, Refusal> {
    let until = Instant::now() + patience;
    let block = Block::open(pid, root.address, until)?;
    may_be_stopped(pid)?;
    let number = block.long(offset_of!(Control, done))?.wrapping_add(1);
    // A process whose allocator is not ready, or is built without the entry.
    let entry = block.long(offset_of!(Control, entry))? as usize;
    block.set(offset_of!(Control, argument), &argument.to_le_bytes())?;
    block.set(offset_of!(Control, command), &(command as u32).to_le_bytes())?;
    block.set(offset_of!(Control, request), &number.to_le_bytes())?;
    let mut started_helper = false;
    let mut next_start = Instant::now();
    loop {
        if block.long(offset_of!(Control, done))? == number {
            return block.reply(started_helper);
        }
        let now = Instant::now();
        if now >= until {
            return Err(Refusal::NoAnswer);
        }
        let has_helper = block.half(offset_of!(Control, helper_tid))? != 0;
        if !has_helper && now >= next_start {
            match start(&block, entry, until, forced) {
                Ok(started) => started_helper |= started,
                Err(refusal) => {
                    // Nobody is to find it later.
                    block
                        .set(offset_of!(Control, request), &number.wrapping_sub(1).to_le_bytes())?;
                    return Err(refusal);
                }
            }
            next_start = Instant::now() + NEXT_START;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(target_arch = "x86_64")]
use super::start::{may_be_stopped, start};

#[cfg(not(target_arch = "x86_64"))]
fn start(_: &Block, _: usize, _: Instant, _: bool) -> Result<bool, Refusal> {
    Err(Refusal::NotNow("no helper runs in it, and none can be started on this processor".into()))
}

#[cfg(not(target_arch = "x86_64"))]
fn may_be_stopped(_: u32) -> Result<(), Refusal> {
    Ok(())
}

/// The block in the target, ours alone until dropped.
pub(super) struct Block {
    pub(super) pid: u32,
    address: usize,
    /// Holds the lock that keeps other callers out.
    _lock: File,
}

impl Block {
    fn open(pid: u32, root: usize, until: Instant) -> Result<Self, Refusal> {
        // The file stands for the process wherever it is opened, and lets nobody
        // in who has no ptrace rights.
        let lock = open(pid, "mem")?;
        // SAFETY: a file of ours.
        while unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EWOULDBLOCK | libc::EINTR) if Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Some(libc::EWOULDBLOCK) => {
                    return Err(Refusal::NotNow("another command to it is under way".into()));
                }
                _ => return Err(convert(pid, "mem", error).into()),
            }
        }
        Ok(Self { pid, address: root + offset_of!(ProcessState, control), _lock: lock })
    }

    fn reply(&self, started_helper: bool) -> Result<Reply, Refusal> {
        let result = self.long(offset_of!(Control, result))?;
        match self.half(offset_of!(Control, status))? {
            STATUS_DONE => {
                Ok(Reply { result, left: self.long(offset_of!(Control, left))?, started_helper })
            }
            STATUS_UNKNOWN => Err(Refusal::Unknown),
            _ => Err(Refusal::Failed(result)),
        }
    }

    pub(super) fn long(&self, offset: usize) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.copy_from(self.address + offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn half(&self, offset: usize) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.copy_from(self.address + offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn set(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        remote::write(self.pid, self.address + offset, bytes).map_err(|error| self.convert(error))
    }

    fn copy_from(&self, address: usize, into: &mut [u8]) -> Result<(), Error> {
        remote::read(self.pid, address, into).map_err(|error| self.convert(error))
    }

    fn convert(&self, error: io::Error) -> Error {
        convert(self.pid, "memory", error)
    }
}
