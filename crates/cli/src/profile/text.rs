//! A profile as tables for people, and as JSON.

use std::io::{self, Write};

use heapwise_trace::Trace;
use serde::Serialize;

use super::sites::{Site, Sites};
use super::symbols::Symbols;
use crate::units;

/// Sites in the tables.
const ROWS: usize = 15;
/// Frames shown of a stack.
const FRAMES: usize = 8;

/// Writes the tables.
pub fn write(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    leaks: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let bytes = |value: f64| units::bytes(value.round().max(0.0) as u64);
    let count = |value: f64| units::count(value.round().max(0.0) as u64);
    writeln!(out, "heapwise profile: {}", trace.recording().note("command").unwrap_or("?"))?;
    writeln!(out, "  time            {}", units::duration(sites.duration_ns))?;
    let (all, live) = (sites.allocated, sites.live);
    writeln!(out, "  allocated       {} in {} blocks", bytes(all.bytes), count(all.count))?;
    writeln!(out, "  live at the end {} in {} blocks", bytes(live.bytes), count(live.count))?;
    match sites.sample_bytes {
        0 => writeln!(out, "  basis           every allocation")?,
        mean => writeln!(
            out,
            "  basis           one sample every {}; {} samples",
            units::bytes(mean),
            units::count(sites.samples)
        )?,
    }
    let mut table = |title: &str, list: &[&Site], of: fn(&Site) -> f64, whole: f64| {
        writeln!(out, "\n{title}")?;
        if list.is_empty() {
            writeln!(out, "  none")?;
        }
        for site in list {
            let part = of(site);
            let share = units::percent(part as u64, whole as u64);
            let samples = if sites.sample_bytes > 0 {
                format!(", {} samples", site.samples)
            } else {
                String::new()
            };
            writeln!(
                out,
                "  {:>9} {share:>7}  of {} allocated{samples}",
                bytes(part),
                bytes(site.allocated.bytes)
            )?;
            for name in frames(trace, site, symbols) {
                writeln!(out, "            {name}")?;
            }
        }
        io::Result::Ok(())
    };
    let growing: Vec<&Site> = sites.sites.iter().filter(|site| site.only_grows()).collect();
    if !leaks {
        let keep: Vec<&Site> =
            sites.sites.iter().filter(|s| s.live.bytes >= 1.0).take(ROWS).collect();
        table("Sites that keep the most", &keep, |s| s.live.bytes, live.bytes)?;
        let mut most: Vec<&Site> = sites.sites.iter().collect();
        most.sort_by(|a, b| b.allocated.bytes.total_cmp(&a.allocated.bytes));
        most.truncate(ROWS);
        table("Sites that allocate the most", &most, |s| s.allocated.bytes, all.bytes)?;
    }
    let shown = &growing[..growing.len().min(ROWS)];
    table("Sites whose live bytes only grow", shown, |s| s.live.bytes, live.bytes)
}

/// Names of a site's innermost frames.
fn frames(trace: &Trace, site: &Site, symbols: &mut Symbols) -> Vec<String> {
    let Some(process) = trace.process(site.process) else { return Vec::new() };
    let mut names = Vec::new();
    for &address in &site.stack {
        for function in &symbols.place(process, address).functions {
            names.push(match function.line {
                0 => function.name.clone(),
                line => {
                    let file = function.file.rsplit('/').next().unwrap_or_default();
                    format!("{} ({file}:{line})", function.name)
                }
            });
        }
    }
    if names.is_empty() {
        names.push("(no stack)".to_owned());
    }
    if names.len() > FRAMES {
        let more = names.len() - FRAMES;
        names.truncate(FRAMES);
        names.push(format!("… {more} more"));
    }
    names
}

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    command: Option<&'a str>,
    duration_ns: u64,
    sample_bytes: u64,
    samples: u64,
    complete: bool,
    allocated_bytes: f64,
    allocated_blocks: f64,
    live_bytes: f64,
    live_blocks: f64,
    sites: Vec<JsonSite>,
}

#[derive(Serialize)]
struct JsonSite {
    pid: u32,
    samples: u64,
    allocated_bytes: f64,
    allocated_blocks: f64,
    live_bytes: f64,
    live_blocks: f64,
    only_grows: bool,
    live_bytes_over_time: Vec<f64>,
    stack: Vec<JsonFrame>,
}

#[derive(Serialize)]
struct JsonFrame {
    address: u64,
    module: String,
    functions: Vec<String>,
}

/// Writes one object.
pub fn write_json(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    out: &mut impl Write,
) -> io::Result<()> {
    let site = |site: &Site| {
        let process = trace.process(site.process);
        let stack = process.map_or_else(Vec::new, |process| {
            let frame = |&address: &u64| {
                let place = symbols.place(process, address);
                JsonFrame {
                    address,
                    module: place.module.clone(),
                    functions: place.functions.iter().map(|f| f.name.clone()).collect(),
                }
            };
            site.stack.iter().map(frame).collect()
        });
        JsonSite {
            pid: process.map_or(0, |process| process.pid),
            samples: site.samples,
            allocated_bytes: site.allocated.bytes,
            allocated_blocks: site.allocated.count,
            live_bytes: site.live.bytes,
            live_blocks: site.live.count,
            only_grows: site.only_grows(),
            live_bytes_over_time: site.history.clone(),
            stack,
        }
    };
    let json = Json {
        schema: "heapwise.profile/1",
        command: trace.recording().note("command"),
        duration_ns: sites.duration_ns,
        sample_bytes: sites.sample_bytes,
        samples: sites.samples,
        complete: sites.damage.is_none(),
        allocated_bytes: sites.allocated.bytes,
        allocated_blocks: sites.allocated.count,
        live_bytes: sites.live.bytes,
        live_blocks: sites.live.count,
        sites: sites.sites.iter().map(site).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}
