//! `heapwise sim`: scripts, workloads and experiments on the simulated kernel.

mod json;
mod text;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use heapwise_sim::labs::{LABS, Lab};
use heapwise_sim::script::{HELP as STATEMENTS, Run, RunError, parse, run as run_script};
use heapwise_sim::workload::{KINDS, Workload};
use heapwise_sim::{Config, Injection, boot};

use crate::failure::{Failure, USAGE};
use crate::view::pace::Cost;

/// Help behind the options.
pub fn help() -> String {
    let labs: Vec<String> =
        LABS.iter().map(|lab| format!("  {:<16} {}", lab.name, lab.title())).collect();
    let kinds: Vec<String> =
        KINDS.iter().map(|(name, _, what)| format!("  {name:<16} {what}")).collect();
    format!(
        "\
Examples:
  heapwise sim --lab
          The kernel's side of memory, experiment by experiment
  heapwise sim --lab fragmentation --events
          One of them, step by step
  heapwise sim --script steps.sim
          Your own machine
  heapwise sim --workload mixed --processes 20 --cpus 4 --steps 100000 --seed 7
          Made-up programs, and what /proc says afterwards

Experiments:
{}

Workloads:
{}

Statements of a script, a line each (# begins a comment, sizes may end in K, M, G):
{STATEMENTS}

Exit code: 0; 1 if an expectation does not hold; 2 for what makes no sense.",
        labs.join("\n"),
        kinds.join("\n")
    )
}

/// Run scripts, workloads and experiments on a deterministic simulated kernel
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false)))]
pub struct SimArgs {
    /// Run the statements of this file
    #[arg(long, value_name = "FILE", group = "what")]
    script: Option<PathBuf>,

    /// Run made-up programs of this kind
    #[arg(long, value_name = "NAME", group = "what",
        value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.0)))]
    workload: Option<String>,

    /// Run experiments; all of them if none is named
    #[arg(long, value_name = "NAME", group = "what", num_args = 0..,
        value_parser = PossibleValuesParser::new(LABS.iter().map(|lab| lab.name)),
        hide_possible_values = true)]
    lab: Option<Vec<String>>,

    /// Tell every step
    #[arg(long)]
    events: bool,

    /// Processes of a workload
    #[arg(long, value_name = "N", default_value_t = 8, requires = "workload",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    processes: u16,

    /// Processors of its machine
    #[arg(long, value_name = "N", default_value_t = 2, requires = "workload",
        value_parser = clap::value_parser!(u8).range(1..=64))]
    cpus: u8,

    /// MiB of its memory
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "workload",
        value_parser = clap::value_parser!(u32).range(16..=65536))]
    ram: u32,

    /// Its operations
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "workload")]
    steps: u64,

    /// Decides everything that is random
    #[arg(long, value_name = "N", default_value_t = 1, requires = "workload")]
    seed: u64,

    /// System call N fails
    #[arg(long, value_name = "N", requires = "workload")]
    fail_call: Vec<u64>,

    /// Print one JSON document (schema heapwise.sim/1)
    #[arg(long)]
    json: bool,
}

/// A script that was run.
struct Told {
    name: String,
    title: Option<&'static str>,
    run: Run,
}

/// What a workload left.
struct Afterwards {
    steps: u64,
    time_ns: u64,
    took_s: f64,
    sections: Vec<(String, String)>,
    events: Vec<String>,
}

/// Runs what is asked for.
pub fn run(args: SimArgs) -> anyhow::Result<ExitCode> {
    let mut out = anstream::stdout().lock();
    if let Some(kind) = &args.workload {
        let after = workload(&args, kind)?;
        if args.json {
            json::workload(&mut out, &args, kind, &after)?;
        } else {
            text::workload(&mut out, kind, &after)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let told = match (&args.script, &args.lab) {
        (Some(path), _) => vec![script(path, args.events)?],
        (None, Some(names)) => labs(names, args.events)?,
        (None, None) => Vec::new(),
    };
    if args.json {
        json::runs(&mut out, &told)?;
    } else {
        for one in &told {
            text::run(&mut out, one)?;
        }
        text::summary(&mut out, &told)?;
    }
    out.flush()?;
    let failed = told.iter().any(|told| told.run.failed() > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn script(path: &Path, watched: bool) -> anyhow::Result<Told> {
    let name = path.display().to_string();
    let usage = |why: String| Failure::new(USAGE, format!("{name}: {why}"));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let script = parse(&text).map_err(|error| usage(error.to_string()))?;
    match run_script(&script, watched) {
        Ok(run) => Ok(Told { name, title: None, run }),
        Err(RunError::Script(error)) => Err(usage(error.to_string()).into()),
        Err(error @ RunError::Boot(_)) => Err(Failure::new(1, error.to_string()).into()),
    }
}

fn labs(names: &[String], watched: bool) -> anyhow::Result<Vec<Told>> {
    let wanted = |lab: &&Lab| names.is_empty() || names.iter().any(|name| name == lab.name);
    LABS.iter()
        .filter(wanted)
        .map(|lab| {
            let run = lab.run(watched)?;
            Ok(Told { name: lab.name.to_owned(), title: Some(lab.title()), run })
        })
        .collect()
}

fn workload(args: &SimArgs, name: &str) -> anyhow::Result<Afterwards> {
    let kind = KINDS.iter().find(|kind| kind.0 == name).map(|kind| kind.1);
    let kind = kind.ok_or_else(|| Failure::new(USAGE, format!("no workload `{name}`")))?;
    let config = Config {
        ram_bytes: u64::from(args.ram) << 20,
        cpus: args.cpus.into(),
        seed: args.seed,
        ..Config::default()
    };
    let result = boot(&config, |kernel| {
        if args.events {
            kernel.watch();
        }
        for &nth in &args.fail_call {
            kernel.plan(|plan| plan.at_call(nth, Injection::CallFails));
        }
        let mut workload = Workload::new(kind, args.processes.into(), args.seed);
        let ((), cost) = Cost::of(|| (0..args.steps).for_each(|_| workload.step(kernel)));
        // Not by the clock: how busy this machine is says nothing about the simulated one.
        let took_s = cost.cpu.as_secs_f64();
        let events = kernel.events().iter().map(ToString::to_string).collect();
        let first = kernel.processes().next().map(|process| process.pid);
        let mut sections = vec![
            ("processes".to_owned(), kernel.process_table()),
            ("meminfo".to_owned(), kernel.meminfo()),
            ("vmstat".to_owned(), kernel.vmstat()),
            ("buddyinfo".to_owned(), kernel.buddyinfo()),
            ("slabinfo".to_owned(), kernel.slabinfo()),
        ];
        if let Some(pid) = first {
            sections.push((format!("maps of process {pid}"), kernel.maps(pid)));
        }
        let (steps, time_ns) = (kernel.counts.steps, kernel.now_ns());
        Afterwards { steps, time_ns, took_s, sections, events }
    });
    Ok(result.map_err(|error| Failure::new(1, error.to_string()))?)
}
