//! Compiling one C or C++ file, and not again while it has not changed.

use crate::program;
use crate::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// Compiles `source` and returns the program.
///
/// `arguments` stand after the source, so that `-l…` works. The result is kept
/// under the target directory for as long as it is newer than the source, its
/// folder's headers and the library files among the arguments.
pub fn compile(source: &Path, arguments: &[String]) -> PathBuf {
    let cpp = source.extension().is_some_and(|e| e == "cpp");
    let compiler = if cpp { "c++" } else { "cc" };
    let folder = source.parent().expect("a source has a folder");
    let stem = source.file_stem().expect("a source has a name").to_string_lossy();
    let out_dir = workspace::build_dir(&folder.file_name().expect("not /").to_string_lossy());
    let key = key_of(compiler, arguments);
    let program_path = out_dir.join(format!("{stem}-{key:016x}"));

    let mut newest = modified(source);
    for entry in fs::read_dir(folder).expect("the source's folder can be read").flatten() {
        if entry.path().extension().is_some_and(|e| e == "h") {
            newest = newest.max(modified(&entry.path()));
        }
    }
    for argument in arguments.iter().map(Path::new).filter(|a| a.is_file()) {
        newest = newest.max(modified(argument));
    }
    if program_path.is_file() && modified(&program_path) > newest {
        return program_path;
    }

    assert!(
        program::find(compiler).is_some(),
        "no `{compiler}` on this machine: install a C and C++ compiler (Debian: apt-get install g++)"
    );
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = out_dir.join(format!("{stem}-{key:016x}.{}.{number}", std::process::id()));
    let output = Command::new(compiler)
        .args(["-O0", "-g", "-fno-builtin", "-w", "-pthread"])
        .arg(if cpp { "-std=c++17" } else { "-std=gnu11" })
        .arg("-o")
        .arg(&unfinished)
        .arg(source)
        .args(arguments)
        .output()
        .expect("the compiler runs");
    assert!(
        output.status.success(),
        "{compiler} {} failed:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    // Another test may have been quicker; both programs are the same.
    fs::rename(&unfinished, &program_path).expect("the program can be put in its place");
    program_path
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path)
        .and_then(|m| m.modified())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// FNV-1a over the command's variable part: it only names a file.
fn key_of(compiler: &str, arguments: &[String]) -> u64 {
    std::iter::once(compiler)
        .chain(arguments.iter().map(String::as_str))
        .flat_map(|s| s.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
