//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Heapwise against its peers: CPU time, memory, the kernel's share.
#[derive(Parser)]
#[command(name = "bench", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
}

/// What to do instead of the whole benchmark.
#[derive(Subcommand)]
pub enum Command {
    /// Get the peers and programs, and say what could not be had.
    Setup,
    /// List workloads, programs and peers.
    List,
    /// Record what a program asks of malloc, as a trace for a workload (bench/traces/NAME.gz).
    Record {
        /// Name of the trace.
        name: String,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Tables and pictures of runs that were stored with --json: a long run in pieces.
    Report {
        /// The runs; of a job that is in several, the last counts (but calls counted in an earlier one stay).
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// What profiling and recording cost, against nothing and against heaptrack; exit code 1 if a
    /// profile's total is far from the record's.
    Overhead,
    /// The ten-minute subset: exit code 1 if something got worse than the stored baseline.
    Guard {
        /// Store this run as the baseline instead.
        #[arg(long)]
        save: bool,
    },
    /// Run one workload in this process, under whatever allocator serves it.
    #[command(hide = true)]
    Workload {
        name: String,
        #[arg(long = "threads", default_value_t = 1, id = "workers")]
        threads: usize,
        #[arg(long = "scale", default_value_t = 1.0, id = "size")]
        scale: f64,
    },
}

#[derive(Args)]
pub struct Options {
    /// Only these workloads and programs (names, comma-separated; "synthetic" and "programs" are all of a kind).
    #[arg(long, value_delimiter = ',', global = true)]
    pub only: Vec<String>,
    /// Only these peers; NAME=FILE.so for any other library.
    #[arg(long, value_delimiter = ',', global = true)]
    pub peers: Vec<String>,
    /// Runs of each job under each peer.
    #[arg(long, default_value_t = 5, global = true)]
    pub reps: usize,
    /// These of the peers run in the first round only: slow ones whose second digit nobody asks for.
    #[arg(long, value_delimiter = ',', global = true)]
    pub once: Vec<String>,
    /// These thread counts, where a workload can have them, instead of one, the cores and twice the cores.
    #[arg(long, value_delimiter = ',', global = true)]
    pub threads: Vec<usize>,
    /// Size of the workloads; 1 is about a second each.
    #[arg(long, default_value_t = 1.0, global = true)]
    pub scale: f64,
    /// Everything tiny, once, only to see that it runs.
    #[arg(long, global = true)]
    pub smoke: bool,
    /// Count brk, mmap, munmap, mremap, mprotect and madvise in one more run, by strace.
    #[arg(long, global = true)]
    pub syscalls: bool,
    /// Write all figures, schema heapwise.bench/1.
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long, value_name = "FILE", global = true)]
    pub md: Option<PathBuf>,
    /// Write time.svg, memory.svg and both.svg.
    #[arg(long, value_name = "DIR", global = true)]
    pub svg: Option<PathBuf>,
}
