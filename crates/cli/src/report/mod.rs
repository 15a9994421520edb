//! `--report`: how memory went, from the file that the library filled.

pub mod file;
pub mod model;
mod record;
mod text;

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;

pub use self::file::ReportFile;
pub use self::model::Report;
pub use self::record::Record;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text with human units.
    Text,
    /// One JSON object, bytes and nanoseconds.
    Json,
}

/// Writes `report` to `out`.
pub fn write(report: &Report, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => text::write(report, out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

/// Whether process `pid` is alive and maps the report file: the pid alone may
/// belong to somebody else by now.
pub fn maps_report(pid: u32, inode: u64, path: &Path) -> bool {
    let Ok(process) = procfs::process::Process::new(pid as i32) else { return false };
    match process.maps() {
        Ok(maps) => maps.iter().any(|map| {
            map.inode == inode
                && matches!(&map.pathname, procfs::process::MMapPath::Path(mapped) if mapped.as_path() == path)
        }),
        // Another user's by now (a server that dropped its privileges): alive is all we know.
        Err(procfs::ProcError::PermissionDenied(_)) => true,
        Err(_) => false,
    }
}
