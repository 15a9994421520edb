//! The kernel's share: how often a job calls brk, mmap, munmap, mremap,
//! mprotect and madvise, counted by strace in a run of its own (which is slow, so its time
//! is not used).

use crate::job::Job;
use crate::peers::Peer;
use crate::places::target_folder;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// Calls, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Moves of the break.
    pub brk: u64,
    /// New mappings.
    pub mmap: u64,
    /// Mappings removed.
    pub munmap: u64,
    /// Mappings resized or moved.
    pub mremap: u64,
    /// Pages made usable or not.
    #[serde(default)]
    pub mprotect: u64,
    /// Pages given back, by madvise or process_madvise.
    pub madvise: u64,
}

impl Calls {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.brk + self.mmap + self.munmap + self.mremap + self.mprotect + self.madvise
    }
}

/// Counts the calls of one run; `None` for a server.
pub fn count(job: &Job, peer: &Peer) -> Result<Option<Calls>> {
    let Some(command) = job.command(peer)? else { return Ok(None) };
    let summary = target_folder("bench-data")?.join("strace.txt");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-c", "-U", "calls,name", "-o"]).arg(&summary);
    strace.args(["-e", "trace=brk,mmap,munmap,mremap,mprotect,madvise,process_madvise"]);
    // strace itself stays on the C library's malloc.
    if let Some(library) = &peer.library {
        strace.arg("-E").arg(format!("LD_PRELOAD={}", library.display()));
    }
    for (name, value) in command.get_envs().filter(|(name, _)| *name != "LD_PRELOAD") {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace.arg(command.get_program()).args(command.get_args());
    if !strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success()
    {
        bail!("strace failed");
    }
    Ok(Some(parse(&std::fs::read_to_string(summary)?)))
}

fn parse(summary: &str) -> Calls {
    let mut calls = Calls::default();
    for line in summary.lines() {
        let mut words = line.split_whitespace();
        let (Some(Ok(count)), Some(name)) = (words.next().map(str::parse::<u64>), words.next())
        else {
            continue;
        };
        match name {
            "brk" => calls.brk += count,
            "mmap" => calls.mmap += count,
            "munmap" => calls.munmap += count,
            "mremap" => calls.mremap += count,
            "mprotect" => calls.mprotect += count,
            "madvise" | "process_madvise" => calls.madvise += count,
            _ => {}
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_summary_of_strace() {
        let text = "    calls syscall\n--------- ----------------\n       12 mmap\n        3 brk\n        4 process_madvise\n        2 mprotect\n\
                    --------- ----------------\n       21 total\n";
        assert_eq!(
            parse(text),
            Calls { mmap: 12, brk: 3, mprotect: 2, madvise: 4, ..Calls::default() }
        );
        assert_eq!(parse(text).sum(), 21);
    }
}
