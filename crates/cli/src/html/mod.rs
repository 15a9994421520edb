//! `heapwise report`: one page about the memory of a process, complete in itself.
//!
//! ```text
//! TARGET ──► looks ──► Document ──► sections, a file each ──► page: one HTML file
//!                                   text and tables by maud, which escapes all that it is given
//!                                   data beside it as JSON, for page.js (assets)
//! ```
//! All words and tables stand in the file: without a script nothing is missing but the
//! map's zoom and the figures under the pointer. Nothing is fetched, and a policy in the
//! page forbids it. The same snapshots give the same bytes.
//!
//! A new section is a file in `sections` with one function from [`Document`] to
//! [`Section`](sections::Section), and a line in its list.

mod document;
mod page;
mod parts;
mod recorded;
mod sections;
mod source;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::document::Document;
use self::recorded::Recorded;
use crate::exit;
use crate::failure::{Failure, OURS, USAGE};
use crate::snapshot;
use crate::target::TargetArgs;
use crate::units::bytes;

/// Write one self-contained HTML page about the memory of a process, for a colleague to open
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Look again and again for so long (30s, 5min), for the timeline; the last look is shown
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "command")]
    duration: Option<Duration>,

    /// With --for, look so often; longer where a look takes much
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,

    /// Begin the timeline with earlier snapshots of the same process
    #[arg(long, value_name = "FILE", num_args = 1..)]
    since: Vec<PathBuf>,

    /// Also show what was recorded of it, a trace or a raw profile (.hwt): memory over time, and its
    /// allocation sites as a flame graph
    #[arg(long, value_name = "FILE")]
    recorded: Option<PathBuf>,

    /// Show what the chunks that hold up memory begin with: data of the program
    #[arg(long)]
    bytes: bool,

    /// Say what was written as one JSON object (heapwise.page/1)
    #[arg(long)]
    json: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise report redis-server -o redis.html
          One look
  heapwise report --for 30s --every 500ms 4711 -o server.html
          With a timeline of half a minute
  heapwise report after.hws --since before.hws between.hws -o day.html
          Snapshots, in the order of their time
  heapwise report -o job.html -- ./job
          A program as it is when it ends
  heapwise record --stacks -o t.hwt -- ./job; heapwise report t.hwt -o job.html
          A recording as a page: memory over time, and a flame graph of its allocation sites
  heapwise profile 4711 -o p.hwt; heapwise report 4711 --recorded p.hwt -o server.html
          A process and its profile on one page

The page needs no network, follows the system's light or dark, can be printed, and holds all its
tables without a script. It tells addresses, paths, thread names and the command line of the process;
of its data nothing, unless --bytes is given. The same snapshots give the same page.

Exit code: as for heapwise explain; 125 if the file cannot be written.";

/// Looks and writes.
pub fn run(args: ReportArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        snapshot::refuse_standard_output(Some(&args.output))?;
    }
    if let Some(file) = args.target.word().map(Path::new)
        && recorded::is_recording(file)
    {
        if args.duration.is_some() || !args.since.is_empty() || args.recorded.is_some() {
            let why = "a recording is told as a whole: without --for, --since and --recorded";
            return Err(Failure::new(USAGE, why).into());
        }
        write(&page::render_recorded(&Recorded::of(file)?), &args, Some(file), None)?;
        return Ok(ExitCode::SUCCESS);
    }
    let recorded = args.recorded.as_deref().map(Recorded::of).transpose()?;
    let mut code = 0;
    source::each(&args, |story| {
        code = exit::of_survey(&story.look.seen);
        let document = Document::new(&story, args.bytes);
        let page = page::render(&document, recorded.as_ref());
        write(&page, &args, args.recorded.as_deref(), Some(&document))?;
        Ok(code)
    })?;
    exit::code(code)
}

/// Writes the page and says so; `recorded` and `document` are what it is of.
fn write(
    page: &str,
    args: &ReportArgs,
    recorded: Option<&Path>,
    document: Option<&Document<'_>>,
) -> anyhow::Result<()> {
    if snapshot::is_standard_output(&args.output) {
        let mut out = std::io::stdout().lock();
        out.write_all(page.as_bytes())?;
        return Ok(out.flush()?);
    }
    snapshot::replace(&args.output, page.as_bytes())
        .map_err(|error| Failure::new(OURS, format!("{}: {error:#}", args.output.display())))?;
    if args.json {
        let seen = document.map(|document| document.seen);
        let object = serde_json::json!({
            "schema": "heapwise.page/1",
            "file": args.output.to_string_lossy(),
            "file_bytes": page.len(),
            "recorded": recorded.map(Path::to_string_lossy),
            "pid": seen.map(|seen| seen.pid),
            "name": seen.map(|seen| &seen.figures.name),
            "rss_bytes": seen.map(|seen| seen.rss),
            "situation": document.map(|document| document.verdict.main.name()),
            "taken_unix_ms": seen.map(|seen| seen.origin.taken_unix_ms),
        });
        writeln!(std::io::stdout(), "{object}")?;
        return Ok(());
    }
    crate::remark(&format!("{} in {}", bytes(page.len() as u64), args.output.display()));
    Ok(())
}

#[cfg(test)]
mod tests;
