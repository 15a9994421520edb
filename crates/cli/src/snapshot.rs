//! `heapwise snapshot`: a look kept in a file, for every command and another day.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use heapwise_inspect::{Options, Survey, snapshot};

use crate::exit;
use crate::failure::{Failure, OURS, USAGE};
use crate::target::TargetArgs;
use crate::units::bytes;

/// Keep a look in a file that explain, maps, bins and diff read like a process
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Leave out what the chunks that hold up memory begin with: no byte of the program's data
    #[arg(long)]
    no_bytes: bool,

    /// Say what was written as one JSON object (heapwise.snapshot/1)
    #[arg(long)]
    json: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise snapshot 4711 -o before.hws
          A process, now …
  heapwise diff before.hws 4711
          … and what has grown since
  heapwise snapshot -o end.hws -- ./job
          A program as it is when it ends

The file holds the account, every arena, bins, pictures of the heaps, mappings, threads and, of each
chunk that holds up free memory, its first 32 bytes; else nothing of the program's data. It is
compressed, carries a version, and is replaced at once: a reader sees the old one or the new one.

Exit code: as for heapwise explain; 125 if the file cannot be written.";

/// Looks and writes.
pub fn run(args: SnapshotArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        refuse_standard_output(Some(&args.output))?;
    }
    let options = Options { first_bytes: !args.no_bytes, ..Options::ALL };
    exit::code(args.target.each(options, |look| {
        let code = exit::of_survey(&look.seen);
        write(&look.seen, &args.output, args.json)
            .map_err(|error| Failure::new(OURS, format!("{}: {error:#}", args.output.display())))?;
        Ok(code)
    })?)
}

fn write(seen: &Survey, path: &Path, json: bool) -> anyhow::Result<()> {
    if is_standard_output(path) {
        return Ok(snapshot::write(seen, io::stdout().lock())?);
    }
    let length = keep(seen, path)?;
    if json {
        let object = serde_json::json!({
            "schema": "heapwise.snapshot/1",
            "file": path.to_string_lossy(),
            "file_bytes": length,
            "pid": seen.pid,
            "name": seen.figures.name,
            "rss_bytes": seen.rss,
            "taken_unix_ms": seen.origin.taken_unix_ms,
        });
        writeln!(io::stdout(), "{object}")?;
        return Ok(());
    }
    crate::remark(&format!(
        "{} ({}), RSS {}: {} in {}",
        seen.figures.name,
        seen.pid,
        bytes(seen.rss as u64),
        bytes(length as u64),
        path.display()
    ));
    Ok(())
}

/// Whether a file's name stands for standard output.
pub fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// An object that tells about a file cannot stand in it: `path` must be one of its own.
///
/// # Errors
/// It is standard output.
pub fn refuse_standard_output(path: Option<&Path>) -> Result<(), Failure> {
    if path.is_none_or(is_standard_output) {
        let why = "--json tells about the file on standard output: name one with -o";
        return Err(Failure::new(USAGE, why));
    }
    Ok(())
}

/// Writes a file, as a whole or not at all; its length.
pub fn keep(seen: &Survey, path: &Path) -> anyhow::Result<usize> {
    let mut content = Vec::new();
    snapshot::write(seen, &mut content)?;
    replace(path, &content)?;
    Ok(content.len())
}

/// Writes beside it and renames, so that nobody reads half of it. What is no plain file, a pipe
/// or a device, is written to as it is.
pub fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        return Ok(fs::write(path, content)?);
    }
    let mut name = path.file_name().context("not the name of a file")?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = path.with_file_name(name);
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_data()
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    Ok(())
}
