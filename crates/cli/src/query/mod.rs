//! `heapwise query`: SQL over a trace, with ready views.
//!
//! ```text
//!   trace ─► rows, as exported ─► batches ─► engine: DataFusion ─► table, CSV, JSON
//!                                 scan       views.sql, the query
//! ```
//! The engine is behind the cargo feature `query`, since it takes minutes to build; the views are
//! here always, for engines elsewhere.

#[cfg(feature = "query")]
mod engine;
#[cfg(feature = "query")]
mod output;
#[cfg(feature = "query")]
mod scan;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

/// The views, as SQL that DataFusion and DuckDB take.
const VIEWS: &str = include_str!("views.sql");

/// Ask a recorded trace by SQL
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// A trace that `heapwise record` wrote; with --views the Parquet file that they are to read
    #[arg(value_name = "FILE", required_unless_present = "views")]
    file: Option<PathBuf>,

    /// The query
    #[arg(value_name = "SQL", required_unless_present = "views", conflicts_with = "views")]
    sql: Option<String>,

    /// How to print what comes out
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    /// Print the ready views as SQL, to be used with DuckDB and an exported Parquet file
    #[arg(long)]
    views: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For eyes
    Table,
    /// Comma-separated, with a line of names
    Csv,
    /// A JSON object a line
    Json,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise query server.hwt 'SELECT event, count(*) FROM events GROUP BY event'
  heapwise query server.hwt 'SELECT * FROM by_size_class ORDER BY allocated_bytes DESC LIMIT 10'
  heapwise query server.hwt 'SELECT * FROM lifetimes' --format csv
  heapwise query --views events.parquet | duckdb -c '.read /dev/stdin' -c 'FROM lifetimes'
          The same views on an exported file

The table is `events`, a row an event, with the fields of docs/trace-fields.md. Ready views:
  allocations          requests that were granted
  by_size_class        allocations, frees, bytes and median age of each chunk size
  by_site              the same of each place in the program, and what is live (needs stacks)
  lifetimes            how long blocks live, by powers of ten
  threshold_crossings  frees at and above glibc's mmap threshold, and where that drifts to
  live_and_rss         what the program holds and what is resident, over time
  kernel_calls         what the kernel was asked for, and by which calls of the program

The engine is DataFusion, and in the command only if it was built with --features query. A trace that
ends early is asked as far as it goes. Queries only read.

Exit code: 0 answered; 1 the query failed on the way; 2 wrong usage, a query that is none, no trace or
a damaged one, a command built without the engine.";

/// Asks and prints.
pub fn run(args: QueryArgs) -> anyhow::Result<ExitCode> {
    if args.views {
        let file = args.file.unwrap_or_else(|| "events.parquet".into());
        let quoted = file.display().to_string().replace('\'', "''");
        let mut out = anstream::stdout();
        writeln!(out, "CREATE OR REPLACE VIEW events AS SELECT * FROM read_parquet('{quoted}');")?;
        write!(out, "\n{VIEWS}")?;
        return Ok(ExitCode::SUCCESS);
    }
    // Both are there: clap has seen to it.
    let (file, sql) = (args.file.unwrap_or_default(), args.sql.unwrap_or_default());
    answer(&file, &sql, args.format)
}

#[cfg(feature = "query")]
use engine::answer;

#[cfg(not(feature = "query"))]
fn answer(_: &std::path::Path, _: &str, _: Format) -> anyhow::Result<ExitCode> {
    Err(crate::failure::Failure::new(
        crate::failure::USAGE,
        "this heapwise was built without its SQL engine: build it with \
         `cargo install --path crates/cli --features query`, or export the trace to Parquet for DuckDB \
         (`heapwise query --views`)",
    )
    .into())
}
