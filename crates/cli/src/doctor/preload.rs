//! Whether the library loads: tried, not concluded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heapwise_layout::report::REPORT_ENV;

use super::Finding;
use crate::library;
use crate::report::{Record, ReportFile};
use crate::run::{PRELOAD_ENV, Verdict, inspect};

/// The library, its report file, and the two together.
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![environment()];
    let file = ReportFile::create();
    findings.push(match &file {
        Ok(file) if file.path().starts_with("/dev/shm") => Finding::ok("report file", "/dev/shm"),
        Ok(file) => Finding::warn(
            "report file",
            format!("{}", file.path().parent().unwrap_or(Path::new("/")).display()),
            "/dev/shm is missing, read-only or full: reports may cost disk writes",
        ),
        Err(error) => Finding::fail(
            "report file",
            error.to_string(),
            "make /dev/shm or /tmp writable, with 20 MiB free",
        ),
    });
    match library::locate() {
        Ok(path) => {
            findings.push(Finding::ok("library", path.display().to_string()));
            findings.push(match file {
                Ok(file) => match loads(&path, &file) {
                    Ok(found) => Finding::ok("preload", found),
                    Err((found, remedy)) => Finding::fail("preload", found, remedy),
                },
                Err(_) => Finding::fail("preload", "not tried", "needs a report file"),
            });
        }
        Err(error) => findings.push(Finding::fail(
            "library",
            format!("{error:#}"),
            "build heapwise with `cargo install --path crates/cli`, or set HEAPWISE_LIB",
        )),
    }
    findings
}

fn environment() -> Finding {
    match env::var_os(PRELOAD_ENV).filter(|list| !list.is_empty()) {
        None => Finding::ok(PRELOAD_ENV, "not set"),
        Some(list) if list.to_string_lossy().contains("libheapwise") => {
            Finding::ok(PRELOAD_ENV, format!("{} (ours already)", list.display()))
        }
        Some(list) => Finding::warn(
            PRELOAD_ENV,
            list.display().to_string(),
            "ours goes before it; another allocator or malloc wrapper there is best unset",
        ),
    }
}

/// Runs a harmless program under the library and looks for its record.
fn loads(library: &Path, file: &ReportFile) -> Result<String, (String, String)> {
    let (program, argument) = subject();
    let output = Command::new(&program)
        .args(argument)
        .env(PRELOAD_ENV, library)
        .env(REPORT_ENV, file.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            (
                format!("{}: {error}", program.display()),
                "check the program's permissions".to_owned(),
            )
        })?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.lines().next().unwrap_or("without a message");
    if !output.status.success() {
        return Err((
            format!("{} under the library: {}, {complaint}", program.display(), output.status),
            "does the library belong to this machine? rebuild it here".to_owned(),
        ));
    }
    let records = file.read().map(|contents| contents.records).unwrap_or_default();
    let calls = |record: &Record| record.malloc_calls + record.calloc_calls + record.free_calls;
    // A record without calls is no proof: in a build of the whole workspace this very command
    // is linked with the allocator's start-up, which takes a slot, but not with its malloc.
    match records.iter().find(|record| calls(record) > 0) {
        Some(record) => Ok(format!("{} made {} calls to it", record.comm, calls(record))),
        None => Err((
            format!("{} ran, but the library did not load: {complaint}", program.display()),
            "was it built for another C library, or is HEAPWISE_LIB another library?".to_owned(),
        )),
    }
}

/// Ourselves, unless we cannot be preloaded.
fn subject() -> (PathBuf, Option<&'static str>) {
    match env::current_exe() {
        Ok(own) if inspect(&own) == Verdict::Fine => (own, Some("--version")),
        _ => (PathBuf::from("/bin/true"), None),
    }
}
