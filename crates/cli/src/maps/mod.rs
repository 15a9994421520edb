//! `heapwise maps`: each line of `/proc/PID/maps`, and what it is.

pub mod label;
mod picture;

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::Style;
use clap::Args;
use heapwise_inspect::origin::Source;
use heapwise_inspect::process::figures::MappingFigures;
use heapwise_inspect::{Options, Survey};
use serde_json::{Value, json};

use crate::exit;
use crate::table::{self, Column};
use crate::target::TargetArgs;
use crate::units::bytes;

/// Show what each mapping of a process is, and a picture of each heap
#[derive(Debug, Args)]
pub struct MapsArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON object (heapwise.maps/1)
    #[arg(long)]
    json: bool,

    /// Leave the pictures out
    #[arg(long)]
    no_picture: bool,
}

/// What stands below the options.
pub const HELP: &str = "\
RESIDENT is of the moment of the page walk, DIRTY of the kernel's smaps right after. In the pictures
a sign stands for one page or several:
  #  live          o  free, but pinned by something live
  .  free          c  in thread caches         blank  untouched or given back

Exit code: as for heapwise explain.";

/// Looks and prints.
pub fn run(args: MapsArgs) -> anyhow::Result<ExitCode> {
    let options = Options { paint: !args.no_picture, mappings: true, ..Options::default() };
    exit::code(args.target.each(options, |look| {
        let seen = &look.seen;
        let code = exit::of_survey(seen);
        let figures = seen.mapping_figures.iter();
        let dirty = figures.map(|figures| (figures.start, *figures)).collect();
        let mut out = anstream::stdout();
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&object(seen, &dirty))?)?;
        } else {
            write(seen, &dirty, &mut out)?;
            if !args.no_picture {
                picture::write(seen, &mut out)?;
            }
        }
        out.flush()?;
        Ok(code)
    })?)
}

fn write(
    seen: &Survey,
    dirty: &HashMap<usize, MappingFigures>,
    out: &mut impl Write,
) -> io::Result<()> {
    let labels = label::Labels::new(seen);
    let rows: Vec<Vec<String>> = seen
        .maps
        .iter()
        .map(|mapping| {
            let figures = dirty.get(&mapping.span.start).copied().unwrap_or_default();
            let in_bytes =
                |figure: usize| if figure == 0 { "–".into() } else { bytes(figure as u64) };
            vec![
                format!("{:x}", mapping.span.start),
                bytes(mapping.span.bytes() as u64),
                mapping.permissions(),
                in_bytes(seen.pages.resident(mapping.span)),
                in_bytes(figures.dirty),
                labels.of(mapping),
            ]
        })
        .collect();
    let columns = [
        Column::Right("START"),
        Column::Right("SIZE"),
        Column::Left("PERM"),
        Column::Right(match seen.origin.source {
            Source::Process => "RESIDENT",
            Source::Core => "IN CORE",
        }),
        Column::Right("DIRTY"),
        Column::Left("WHAT"),
    ];
    const BOLD: Style = Style::new().bold();
    for (index, line) in table::lines(&columns, &rows).iter().enumerate() {
        if index == 0 {
            writeln!(out, "{BOLD}{line}{BOLD:#}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn object(seen: &Survey, dirty: &HashMap<usize, MappingFigures>) -> Value {
    let labels = label::Labels::new(seen);
    let mappings: Vec<Value> = seen
        .maps
        .iter()
        .map(|mapping| {
            let figures = dirty.get(&mapping.span.start).copied().unwrap_or_default();
            json!({
                "start": format!("{:#x}", mapping.span.start),
                "end": format!("{:#x}", mapping.span.end),
                "permissions": mapping.permissions(),
                "resident_bytes": seen.pages.resident(mapping.span),
                "dirty_bytes": figures.dirty,
                "swap_bytes": figures.swap,
                "name": mapping.name,
                "what": labels.of(mapping),
            })
        })
        .collect();
    json!({
        "schema": "heapwise.maps/1",
        "pid": seen.pid,
        "rss_bytes": seen.rss,
        "mappings": mappings,
        "heaps": picture::object(seen),
    })
}
