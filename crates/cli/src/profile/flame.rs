//! Collapsed stacks and the flame graph made of them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heapwise_trace::Trace;
use inferno::flamegraph;

use super::Show;
use super::sites::Sites;
use super::symbols::Symbols;

/// Each stack's name, outermost first and split by `;`, and its bytes.
fn lines(trace: &Trace, sites: &Sites, symbols: &mut Symbols, show: Show) -> BTreeMap<String, f64> {
    let mut lines = BTreeMap::new();
    let several = trace.processes().len() > 1;
    for site in &sites.sites {
        let bytes = match show {
            Show::Live => site.live.bytes,
            Show::Allocated => site.allocated.bytes,
        };
        let Some(process) = trace.process(site.process) else { continue };
        let mut names = Vec::new();
        for &address in &site.stack {
            let functions = &symbols.place(process, address).functions;
            // A semicolon splits frames, a blank the number.
            names.extend(functions.iter().map(|f| f.name.replace(';', ":")));
        }
        if names.is_empty() {
            names.push("(no stack)".to_owned());
        }
        if several {
            let command = process.command.first().map_or("?", String::as_str);
            let short = command.rsplit('/').next().unwrap_or(command);
            names.push(format!("{short} [{}]", process.pid));
        }
        names.reverse();
        *lines.entry(names.join(";")).or_insert(0.0) += bytes;
    }
    lines.retain(|_, bytes| bytes.round() >= 1.0);
    lines
}

/// Collapsed stacks: `main;work;malloc 4096`, a line each.
pub fn folded(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    show: Show,
    out: &mut impl Write,
) -> io::Result<()> {
    for (line, bytes) in lines(trace, sites, symbols, show) {
        writeln!(out, "{line} {bytes:.0}")?;
    }
    Ok(())
}

/// A flame graph that stands alone.
pub fn svg(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    show: Show,
    out: &mut impl Write,
) -> io::Result<()> {
    let lines: Vec<String> = lines(trace, sites, symbols, show)
        .into_iter()
        .map(|(line, bytes)| format!("{line} {bytes:.0}"))
        .collect();
    let mut options = flamegraph::Options::default();
    options.title = match show {
        Show::Live => "Live bytes by allocation site".to_owned(),
        Show::Allocated => "Allocated bytes by allocation site".to_owned(),
    };
    options.count_name = "bytes".to_owned();
    options.colors = flamegraph::color::Palette::Basic(flamegraph::color::BasicPalette::Mem);
    if lines.is_empty() {
        // A graph of nothing is an error there, and an honest picture here.
        return out.write_all(
            b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"400\" height=\"40\">\
              <text x=\"10\" y=\"25\">nothing: no such bytes</text></svg>\n",
        );
    }
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
}
