//! A profile as a page that stands alone: the flame graph, the tables as text.

use std::io::{self, Write};

use heapwise_trace::Trace;

use super::sites::Sites;
use super::symbols::Symbols;
use super::{Show, flame, text};

/// Writes the page.
pub fn write(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    show: Show,
    out: &mut impl Write,
) -> io::Result<()> {
    let command = escape(trace.recording().note("command").unwrap_or("?"));
    let mut graph = Vec::new();
    flame::svg(trace, sites, symbols, show, &mut graph)?;
    let graph = String::from_utf8_lossy(&graph);
    // Inside a page an image has no declaration of its own.
    let graph = graph.find("<svg").map_or(&*graph, |at| &graph[at..]);
    let mut tables = Vec::new();
    text::write(trace, sites, symbols, false, &mut tables)?;
    let tables = escape(&String::from_utf8_lossy(&tables));
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <title>Heapwise profile: {command}</title>\n\
         <style>body{{font:15px system-ui,sans-serif;margin:2em;color:#222;background:#fff}}\
         pre{{overflow-x:auto}}svg{{max-width:100%}}</style></head>\n\
         <body><h1>Heapwise profile</h1>\n<p><code>{command}</code></p>\n{graph}\n\
         <pre>{tables}</pre>\n</body></html>\n"
    )
}

/// Text in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
