//! `heapwise export`: a trace in formats that others read.

mod chrome;
mod csv;
mod json;
mod parquet;
pub mod rows;
mod thrift;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use heapwise_trace::Trace;
use serde_json::json;

use self::rows::Rows;
use crate::failure::{Failure, USAGE};
use crate::interrupt::Interrupt;
use crate::profile;
use crate::progress::Progress;
use crate::replay::load;
use crate::snapshot;

/// Write a trace as Parquet, CSV, JSON, pprof, or for chrome://tracing
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A trace that `heapwise record` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// In which format
    #[arg(long, value_enum)]
    format: Format,

    /// Where to; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// With chrome-trace: show single allocations from this size on, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10)]
    from_bytes: u64,

    /// Say what was written to FILE as one JSON object (heapwise.export/1)
    #[arg(long)]
    json: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Apache Parquet, a row an event, for DuckDB, DataFusion, Spark, pandas
    Parquet,
    /// Comma-separated, with a line of names
    Csv,
    /// A JSON object a line
    Json,
    /// For chrome://tracing and ui.perfetto.dev
    ChromeTrace,
    /// Its allocation sites, gzipped, for `go tool pprof`; wants a trace with stacks
    Pprof,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise export server.trace --format parquet -o server.parquet
  duckdb -c \"SELECT event, count(*) FROM 'server.parquet' GROUP BY 1\"
  heapwise export server.trace --format chrome-trace -o server.json
          Then open it at https://ui.perfetto.dev
  heapwise export server.trace --format pprof -o server.pb.gz

What the fields mean stands in docs/trace-fields.md. A trace that ends early is written as far as it
goes; Ctrl-C ends the file whole, with what was written by then.

Exit code: 0 written; 1 it could not be written, as on a full disk; 2 wrong usage, no trace, a damaged
one.";

/// Writes.
pub fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        snapshot::refuse_standard_output(args.output.as_deref())?;
    }
    let trace = load::trace(&args.file)?;
    let Some(output) = &args.output else {
        if matches!(args.format, Format::Parquet | Format::Pprof) && io::stdout().is_terminal() {
            let why = "Parquet and pprof are not for a terminal: name a file with -o";
            return Err(Failure::new(USAGE, why).into());
        }
        export(&args, &trace, io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut fed = None;
    write_file(output, |file| {
        fed = export(&args, &trace, file)?;
        Ok(())
    })?;
    if args.json {
        let object = json!({
            "schema": "heapwise.export/1",
            "file": output.to_string_lossy(),
            "file_bytes": std::fs::metadata(output)?.len(),
            "format": args.format.to_possible_value().map(|format| format.get_name().to_owned()),
            "events": fed.map(|fed| fed.events),
            "complete": fed.map(|fed| fed.is_complete),
        });
        writeln!(io::stdout(), "{object}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file beside and renames it once it is whole.
fn write_file(
    output: &Path,
    write: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = |error: &dyn std::fmt::Display| {
        anyhow::anyhow!("cannot write {}: {error}", output.display())
    };
    if output.exists() && !output.is_file() {
        // A pipe, /dev/null: written as it is.
        let mut file = File::options().write(true).open(output).map_err(|e| cannot(&e))?;
        return write(&mut file);
    }
    let name = output.file_name().ok_or_else(|| cannot(&"it has no name"))?;
    let temporary =
        output.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = File::create(&temporary)
        .map_err(|error| cannot(&error))
        .and_then(|mut file| {
            write(&mut file).map_err(|error| match error.downcast::<io::Error>() {
                Ok(error) => cannot(&error),
                Err(other) => other,
            })
        })
        .and_then(|()| std::fs::rename(&temporary, output).map_err(|error| cannot(&error)));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// What takes the rows of a trace.
trait Sink {
    /// One more row.
    fn row(&mut self, row: &rows::Row<'_>) -> io::Result<()>;
    /// That was all.
    fn finish(&mut self) -> io::Result<()>;
}

/// What of a trace was written.
#[derive(Clone, Copy)]
struct Fed {
    events: u64,
    /// To its end.
    is_complete: bool,
}

/// Writes; of a format that has events, how many.
fn export(args: &ExportArgs, trace: &Trace, out: impl Write) -> anyhow::Result<Option<Fed>> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut sink: Box<dyn Sink + '_> = match args.format {
        Format::Pprof => {
            // Sites, not events: the same as `heapwise profile` writes.
            let form = profile::Format::Pprof;
            profile::render(&args.file, form, profile::Show::default(), false, &mut out)?;
            out.flush()?;
            return Ok(None);
        }
        Format::Parquet => Box::new(parquet::Table::new(&mut out)?),
        Format::Csv => Box::new(csv::Table::new(&mut out)?),
        Format::Json => Box::new(json::Lines::new(&mut out)),
        Format::ChromeTrace => Box::new(chrome::Timeline::new(&mut out, trace, args.from_bytes)?),
    };
    let fed = feed(args, trace, &mut *sink)?;
    drop(sink);
    out.flush()?;
    Ok(Some(fed))
}

fn feed(args: &ExportArgs, trace: &Trace, sink: &mut dyn Sink) -> anyhow::Result<Fed> {
    let interrupt = Interrupt::watch();
    let progress = Progress::new("exporting", trace.records());
    let mut rows = Rows::new(trace);
    let (mut done, mut is_complete) = (0u64, true);
    for event in trace.events() {
        match event {
            Ok(event) => rows.row(&event, |row| sink.row(row))?,
            Err(error) if error.is_cut() => {
                progress.clear();
                crate::complain(&format!("{} {error}", args.file.display()));
                is_complete = false;
                break;
            }
            Err(error) => {
                progress.clear();
                return Err(load::unreadable(&args.file, &error).into());
            }
        }
        done += 1;
        if done.is_multiple_of(65_536) {
            progress.set(done);
            if interrupt.seen() {
                crate::complain("interrupted; what was read so far is written");
                is_complete = false;
                break;
            }
        }
    }
    sink.finish()?;
    progress.clear();
    Ok(Fed { events: done, is_complete })
}
