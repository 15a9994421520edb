//! The one definition of the command line: help, man pages and completions come from it.

use clap::{Args, Parser, Subcommand};

use crate::{
    bins, diff, doctor, explain, export, exporter, html, journey, lab, maps, pages, profile, query,
    record, replay, run, sim, snapshot, timeline, trim, tune, watch,
};

/// Run any Linux program on the Heapwise allocator and see where its memory goes
#[derive(Debug, Parser)]
#[command(
    name = "heapwise",
    version,
    max_term_width = 100,
    after_long_help = "\
Examples:
  heapwise run -- python3 -c 'print(1)'
          Run a program, unchanged, on our heap
  heapwise run --report -- sqlite3 shop.db .dump
          The same, and tell afterwards how memory went
  LD_PRELOAD=$(heapwise lib) redis-server
          Without us in between
  heapwise explain redis-server
          Why is the memory of this process what it is?
  heapwise doctor
          Is this machine fit?

Environment:
  HEAPWISE_LIB         path of libheapwise.so to use instead of our own
  HEAPWISE_DEBUG_PATH  more folders with debug files by build id (.build-id/ab/….debug)
  NO_COLOR             if set, no colours

Each command has its own --help."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Print the path of libheapwise.so, for LD_PRELOAD=$(heapwise lib) PROGRAM
#[derive(Debug, Args)]
pub struct LibArgs {
    /// Print one JSON object (heapwise.lib/1)
    #[arg(long)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(after_long_help = run_help())]
    Run(run::RunArgs),
    #[command(after_long_help = record::HELP)]
    Record(record::RecordArgs),
    #[command(after_long_help = timeline::HELP)]
    Timeline(timeline::TimelineArgs),
    #[command(after_long_help = profile::HELP)]
    Profile(profile::ProfileArgs),
    /// Run the articles' experiments live, under glibc and under Heapwise
    Lab(lab::LabArgs),
    #[command(after_long_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    #[command(after_long_help = maps::HELP)]
    Maps(maps::MapsArgs),
    #[command(after_long_help = bins::HELP)]
    Bins(bins::BinsArgs),
    #[command(after_long_help = export::HELP)]
    Export(export::ExportArgs),
    #[command(after_long_help = query::HELP)]
    Query(query::QueryArgs),
    #[command(after_long_help = exporter::HELP)]
    Exporter(exporter::ExporterArgs),
    #[command(after_long_help = snapshot::HELP)]
    Snapshot(snapshot::SnapshotArgs),
    #[command(after_long_help = diff::HELP)]
    Diff(diff::DiffArgs),
    #[command(after_long_help = replay::HELP)]
    Replay(replay::ReplayArgs),
    #[command(after_long_help = tune::HELP)]
    Tune(tune::TuneArgs),
    #[command(after_long_help = html::HELP)]
    Report(html::ReportArgs),
    #[command(after_long_help = watch::help())]
    Watch(watch::WatchArgs),
    #[command(after_long_help = trim::HELP)]
    Trim(trim::TrimArgs),
    #[command(after_long_help = journey::help())]
    Journey(journey::JourneyArgs),
    #[command(after_long_help = sim::help())]
    Sim(sim::SimArgs),
    #[command(after_long_help = DOCTOR_HELP)]
    Doctor(doctor::DoctorArgs),
    /// Print the path of libheapwise.so, for LD_PRELOAD=$(heapwise lib) PROGRAM
    Lib(LibArgs),
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions(pages::CompletionsArgs),
    /// Print the man page, or write one page a command into DIR
    Man(pages::ManArgs),
}

fn run_help() -> String {
    format!(
        "\
Examples:
  heapwise run -- gcc -O2 -c big.c
  heapwise run --report -- ./server --port 8080
  heapwise run --report=json -o report.json -- make -j2
  heapwise run --tunable arena_max=2 --tunable MALLOC_TOP_PAD_=64K -- python3 job.py

Without --report, heapwise becomes the program: nothing stays in between. With it, heapwise waits,
and passes on standard input, output and error, the terminal's job control, and every signal that
it is sent.

The report covers the program and every descendant that loads the library; each image of a process
(fork, exec) has figures of its own. Those that end without exit handlers (_exit, a signal, exec)
are marked, since their last figures are a few hundred calls old.

Tunables (values are whole numbers, sizes in bytes; 64K, 0x10000 and 1M are understood):
{}
Exit code:
  that of the program, 128+n if signal n killed it; or
  2    wrong usage, an unknown tunable
  125  heapwise failed or refused before the start: the program cannot be preloaded (statically
       linked, set-user-ID, 32-bit, another architecture or C library; --anyway runs it on its own
       heap), the library is missing, FILE cannot be created
  126  the program was found but cannot be executed
  127  the program was not found
  A report that cannot be written after the run is an error message; the exit code stays the
  program's.",
        crate::tunables::help()
    )
}

const DOCTOR_HELP: &str = "\
Each line says ok, warn or fail, and what to do about it.

Exit code: 0 if the library works here, 1 if a line says fail.";

const COMPLETIONS_HELP: &str = "\
Examples:
  heapwise completions bash > ~/.local/share/bash-completion/completions/heapwise
  heapwise completions zsh  > \"${fpath[1]}/_heapwise\"
  heapwise completions fish > ~/.config/fish/completions/heapwise.fish";
