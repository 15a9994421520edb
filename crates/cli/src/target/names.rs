//! From a name to a process.

use heapwise_inspect::process::names::{self, Candidate};

use crate::exit::NO_SUCH_PROCESS;
use crate::failure::{Failure, USAGE};

/// So many candidates are listed.
const LISTED: usize = 10;

/// The one process of that name.
pub fn resolve(target: &str) -> Result<u32, Failure> {
    match names::find(target).as_slice() {
        [] => Err(Failure::new(NO_SUCH_PROCESS, format!("no process is called {target:?}"))),
        [only] => Ok(only.pid),
        several => Err(Failure::new(USAGE, candidates(target, several))),
    }
}

fn candidates(target: &str, several: &[Candidate]) -> String {
    let mut text = format!("{} processes are called {target:?}, give a number:", several.len());
    for candidate in several.iter().take(LISTED) {
        let command: String = candidate.command.chars().take(80).collect();
        text.push_str(&format!("\n  {}  {command}", candidate.pid));
    }
    if several.len() > LISTED {
        text.push_str("\n  …");
    }
    text
}
