//! A journey as text: a step a paragraph, runs of like steps drawn together.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use heapwise_sim::journey::{Class, Journey, Layer, State, Step};

use crate::units::{bytes, count, duration};

const TITLE: Style = Style::new().bold();

/// Of more like steps in a row than this, the first two and the last are told.
const MOST_ALIKE: usize = 6;

const fn style(layer: Layer) -> Style {
    let color = match layer {
        Layer::Program => AnsiColor::White,
        Layer::Cache => AnsiColor::Green,
        Layer::Arena => AnsiColor::Cyan,
        Layer::Call => AnsiColor::Yellow,
        Layer::Fault => AnsiColor::Magenta,
        Layer::Pages => AnsiColor::Blue,
    };
    color.on_default()
}

/// All steps, and the state at the end.
pub fn print(out: &mut impl Write, journey: &Journey) -> io::Result<()> {
    let mut at = 0;
    while at < journey.steps.len() {
        let alike = run_of_faults(&journey.steps[at..]);
        if alike > MOST_ALIKE * FAULT_STEPS {
            let (first, rest) = (2 * FAULT_STEPS, alike - 2 * FAULT_STEPS);
            for step in &journey.steps[at..at + first] {
                print_step(out, step)?;
            }
            let skipped = &journey.steps[at + first..at + alike - FAULT_STEPS];
            let cost: u64 = skipped.iter().map(|step| step.cost_ns).sum();
            writeln!(
                out,
                "{:>14}  … {} more faults like these, {}\n",
                "",
                count((rest / FAULT_STEPS - 1) as u64),
                duration(cost)
            )?;
            for step in &journey.steps[at + alike - FAULT_STEPS..at + alike] {
                print_step(out, step)?;
            }
            at += alike;
        } else {
            print_step(out, &journey.steps[at])?;
            at += 1;
        }
    }
    match journey.states.last() {
        Some(state) => print_state(out, state),
        None => Ok(()),
    }
}

/// A first touch is three steps: no entry, a frame, the entry.
const FAULT_STEPS: usize = 3;

/// How many steps from here on are first touches in a row.
fn run_of_faults(steps: &[Step]) -> usize {
    let is_fault = |steps: &[Step]| {
        let layers = [Layer::Fault, Layer::Pages, Layer::Fault];
        steps.len() == FAULT_STEPS && steps.iter().zip(layers).all(|(step, l)| step.layer == l)
    };
    steps.chunks(FAULT_STEPS).take_while(|steps| is_fault(steps)).count() * FAULT_STEPS
}

fn print_step(out: &mut impl Write, step: &Step) -> io::Result<()> {
    let style = style(step.layer);
    let price = match step.cost_ns {
        0 => String::new(),
        ns => format!("  [{}]", duration(ns)),
    };
    let name = format!("{:>14}", step.layer.name());
    writeln!(out, "{style}{name}{style:#}  {TITLE}{}{TITLE:#}{price}", step.title)?;
    for line in &step.detail {
        writeln!(out, "{:>14}    {}", "", line.trim_end())?;
    }
    writeln!(out)
}

fn print_state(out: &mut impl Write, state: &State) -> io::Result<()> {
    let (heap, machine) = (&state.heap, &state.machine);
    writeln!(out, "{TITLE}at the end{TITLE:#}")?;
    for (name, classes) in [
        ("thread cache", &heap.cache),
        ("fastbins", &heap.fast),
        ("unsorted", &heap.unsorted),
        ("small bins", &heap.small),
        ("large bins", &heap.large),
    ] {
        writeln!(out, "{name:>14}  {}", chunks(classes))?;
    }
    writeln!(out, "{:>14}  {} at {:#x}", "top", bytes(heap.top_bytes as u64), heap.top)?;
    writeln!(
        out,
        "{:>14}  {:#x}, {} above the heap's start",
        "break",
        machine.brk,
        bytes(machine.brk - machine.start_brk)
    )?;
    writeln!(
        out,
        "{:>14}  {} pages resident, {} page tables",
        "memory", machine.rss_pages, machine.tables
    )?;
    let blocks: Vec<String> = machine.blocks.iter().map(u32::to_string).collect();
    writeln!(out, "{:>14}  {}  (free blocks of orders 0 to 10)", "buddy", blocks.join(" "))?;
    writeln!(out, "{:>14}  {}", "time", duration(machine.time_ns))?;
    writeln!(out)?;
    for line in &machine.maps {
        writeln!(out, "{:>14}  {line}", "")?;
    }
    Ok(())
}

fn chunks(classes: &[Class]) -> String {
    if classes.is_empty() {
        return "–".into();
    }
    let each =
        |class: &Class| format!("{} × {}", count(class.chunks as u64), bytes(class.size as u64));
    classes.iter().map(each).collect::<Vec<_>>().join(", ")
}
