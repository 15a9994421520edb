//! Prints the events of a trace, a line each, and what they refer to.
//!
//! ```text
//! cargo run -p heapwise-trace --example dump -- trace.hwt | less
//! ```

use heapwise_trace::Trace;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: dump FILE");
        return ExitCode::from(2);
    };
    match dump(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&path).display());
            ExitCode::FAILURE
        }
    }
}

fn dump(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let trace = Trace::open(path)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "{:#?}", trace.recording())?;
    for process in trace.processes() {
        writeln!(out, "{process:#?}")?;
    }
    for event in trace.events() {
        let event = event?;
        let (time, process, thread) = (event.time_ns, event.process, event.thread);
        write!(out, "{time:>12} {process} {thread} {:?}", event.what)?;
        for frame in trace.stack(process, event.what.stack().unwrap_or(0)) {
            write!(out, " {frame:#x}")?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}
