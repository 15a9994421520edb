//! `heapwise exporter`: the account of chosen processes for Prometheus and its like.
//!
//! ```text
//! choose ──► collect ──► page ──► encode ──► serve      HTTP, scraped
//! which      looks, not   what     OpenMetrics   textfile   a file for node_exporter
//! processes  too often    it says  or plain text
//! ```

mod choose;
mod collect;
mod encode;
mod families;
mod json;
mod page;
mod serve;
mod textfile;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::choose::Choice;
use self::collect::{Collector, Limits};
use self::encode::Format;

/// Export the account of chosen processes as OpenMetrics, over HTTP or as a file
#[derive(Debug, Args)]
pub struct ExporterArgs {
    #[command(flatten)]
    choice: Choice,

    /// Answer scrapes at this address; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9917")]
    listen: SocketAddr,

    /// Write DIR/heapwise.prom every interval instead, for node_exporter's textfile collector
    #[arg(long, value_name = "DIR", conflicts_with = "listen")]
    textfile: Option<PathBuf>,

    /// Look once, print (or write the file), and end
    #[arg(long, conflicts_with = "listen")]
    once: bool,

    /// With --once: print the same as one JSON object (heapwise.exporter/1)
    #[arg(long, requires = "once", conflicts_with = "textfile")]
    json: bool,

    /// Look at a process no more often than this, however often we are scraped
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,

    /// Look at so many processes at most, those with the lowest numbers
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_processes: u32,
}

/// What stands below the options.
pub const HELP: &str = "\
Examples:
  heapwise exporter --name redis-server
          Scrape http://127.0.0.1:9917/metrics
  heapwise exporter --match '^python3 .*worker' --cgroup /system.slice/jobs.service
          By command line, and all of a control group and the groups below it
  heapwise exporter --name postgres --textfile /var/lib/node_exporter/textfile
          For a node_exporter that is there already
  heapwise exporter --once --pid 4711
          Once, to standard output; with --json as an object

A process is named by --pid, --name, --match or --cgroup; all those that any of them names are
looked at. Processes that start later are found; those that have ended vanish. Heaps of ours and of
glibc are read; of others only the mappings are told, and heapwise_up is 0.

The address is on the loopback by default: who can reach it reads names and sizes of processes.
Looks cost processor time, so there is at most one an interval and process, and none that would take
more than 2 % of a processor; between them scrapes get what was seen last.

To look at processes of other users, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are needed.

Exit code:
  0  ended by SIGTERM or SIGINT; with --once: the page was written
  1  the address is taken, the file cannot be written
  2  wrong usage, no such directory";

/// Serves until it is told to end.
pub fn run(args: ExporterArgs) -> anyhow::Result<ExitCode> {
    let interval = Duration::from_secs(args.interval);
    let limits = Limits { interval, processes: args.max_processes as usize };
    let mut collector = Collector::new(args.choice, limits);
    match args.textfile {
        Some(directory) => textfile::run(&directory, &mut collector, interval, args.once),
        None if args.once => {
            let page = collector.page();
            let text = if args.json {
                format!("{}\n", json::object(&page))
            } else {
                encode::encode(&page, Format::OpenMetrics)
            };
            std::io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        None => serve::run(args.listen, collector),
    }
}
