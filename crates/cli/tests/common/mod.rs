//! What the tests of the command share: the command itself, a library, scripts.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its part")]

pub mod ready;
pub mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Whether this build carries the real library.
pub fn has_library() -> bool {
    fs::metadata(env!("HEAPWISE_SO")).is_ok_and(|so| so.len() > 0)
}

/// For tests that need the real library. A packaged crate has no sources of it;
/// in the repository there is no excuse.
macro_rules! needs_library {
    () => {
        if !crate::common::has_library() {
            let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../libheapwise/Cargo.toml");
            assert!(!std::path::Path::new(sources).exists(), "libheapwise.so did not build");
            eprintln!("skipped: this build carries no libheapwise.so");
            return;
        }
    };
}
pub(crate) use needs_library;

/// The command, in a clean environment; with a stand-in where there is no library,
/// for the tests that do not look at the heap.
pub fn heapwise() -> Command {
    let mut command = Command::new(program());
    for name in [
        "LD_PRELOAD",
        "GLIBC_TUNABLES",
        "HEAPWISE_LIB",
        "HEAPWISE_REPORT_FILE",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    if !has_library() {
        command.env("HEAPWISE_LIB", loaded_c_library());
    }
    command
}

/// Between fork and exec: signals as a terminal has them. A shell that runs the tests in the
/// background, or nohup, ignores some, and a shell cannot trap what was ignored at its start.
pub fn default_signals() -> std::io::Result<()> {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: the default action is no handler.
        unsafe { signal(ignored, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Path of the command.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_heapwise"))
}

/// Harmless in LD_PRELOAD: every program has it anyway.
fn loaded_c_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let line = maps.lines().find(|line| line.contains("/libc.so")).expect("the tests run on glibc");
    PathBuf::from(&line[line.find('/').expect("a path")..])
}

/// Writes an executable file.
///
/// By another process: a descriptor of ours, open for writing, would be inherited by whatever
/// another test thread forks at that moment, and running the file would fail with ETXTBSY.
pub fn executable(path: &Path, content: &[u8]) {
    Command::new("sh")
        .args(["-c", "rm -f \"$0\" && cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .write_stdin(content)
        .assert()
        .success();
}

/// Writes a script.
pub fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    executable(&path, text.as_bytes());
    path
}

/// Compiles a C program; `None`, with a message, without a compiler or where `flags` cannot work.
pub fn compile(directory: &Path, name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let file = directory.join(format!("{name}.c"));
    fs::write(&file, source).expect("the temporary directory is writable");
    let program = directory.join(name);
    let output =
        std::process::Command::new("cc").arg("-o").arg(&program).arg(&file).args(flags).output();
    match output {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            eprintln!("skipped: cc {flags:?}: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: cc: {error}");
            None
        }
    }
}
