//! Exit codes, and the error that carries one to `main`.
//!
//! ```text
//!   0‥        the program's own code          125  heapwise itself could not start it
//!   1         doctor, lab: something failed    126  found, but not executable
//!   2         wrong usage                      127  not found
//!                                              128+n  the program died of signal n
//! ```

use std::fmt;

/// Wrong usage, as clap exits too.
pub const USAGE: u8 = 2;
/// heapwise itself failed, or refused, before the program started.
pub const OURS: u8 = 125;
/// The program was found but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The program was not found.
pub const NOT_FOUND: u8 = 127;

/// One clear sentence and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// What `main` returns.
    pub code: u8,
    message: String,
}

impl Failure {
    /// A failure that ends the command with `code`.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
