//! Commands to a running process on our allocator, see [`heapwise_layout::control`].
//!
//! ```text
//! channel   writes a command into the control block and waits for the answer
//! start     where no helper runs: leads one thread through the entry that starts it
//! ```
//! The one place of this crate that changes anything in a target.

pub mod channel;
#[cfg(target_arch = "x86_64")]
mod start;

pub use channel::{Reply, request};

use std::{error, fmt};

use crate::error::Error;
use crate::images::Files;
use crate::ours::root::Root;
use crate::process::memory::Memory;
use crate::recognise::recognise;
use crate::{moment, survey};

/// The published state of a process on our allocator; none on another.
///
/// # Errors
/// No such process, no permission.
pub fn find(pid: u32) -> Result<Option<Root>, Error> {
    let (maps, pages) = moment::resident(pid, survey::page_bytes())?;
    let memory = Memory::open(pid, &pages)?;
    Ok(recognise(Files::Process(pid), &maps, &memory).ours)
}

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// No such process, no permission.
    Unreachable(Error),
    /// It would not be safe, or cannot be; in words.
    NotNow(String),
    /// It was asked for, but there was no answer in time.
    NoAnswer,
    /// The allocator in the target is older than the command.
    Unknown,
    /// The target tried; an errno or 0.
    Failed(u64),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => error.fmt(f),
            Self::NotNow(why) => f.write_str(why),
            Self::NoAnswer => f.write_str("the process did not answer in time; it may still do it"),
            Self::Unknown => f.write_str("the Heapwise in that process does not know this command"),
            Self::Failed(0) => f.write_str("the process could not do it"),
            Self::Failed(errno) => {
                let said = std::io::Error::from_raw_os_error(*errno as i32);
                write!(f, "the process could not do it: {said}")
            }
        }
    }
}

impl error::Error for Refusal {}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Unreachable(error)
    }
}
