//! A timeline for people.

use std::io::{self, Write};

use heapwise_trace::{Event, KernelCall, KernelOp, What};

use super::model::{Line, Moment, Story};
use crate::units;

/// Rows of the picture: every third moment.
const EVERY: usize = 3;
/// Width of a bar.
const BAR: usize = 24;

/// Writes it.
pub fn write(story: &Story, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "heapwise timeline: {}", story.command)?;
    writeln!(out, "  time            {}", units::duration(story.duration_ns))?;
    writeln!(
        out,
        "  calls           {} allocations, {} frees",
        units::count(story.allocations),
        units::count(story.frees)
    )?;
    writeln!(
        out,
        "  highest         {} live, {} resident",
        units::bytes(story.live_peak_bytes),
        units::bytes(story.rss_peak_bytes)
    )?;
    if story.lost > 0 {
        writeln!(out, "  missing         {} records", units::count(story.lost))?;
    }
    write_moments(story, out)?;
    write_accounts(story, out)?;
    writeln!(out, "\nCalls and what they asked of the kernel")?;
    for line in &story.lines {
        write_line(line, out)?;
    }
    if story.more > 0 {
        writeln!(out, "  … {} more (--limit)", units::count(story.more))?;
    }
    Ok(())
}

fn write_moments(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let highest = story.live_peak_bytes.max(story.rss_peak_bytes).max(1);
    writeln!(
        out,
        "\n  {:>10} {:>10} {:>10} {:>11} {:>11} {:>7} {:>8}",
        "time", "live", "RSS", "allocations", "frees", "kernel", "faults"
    )?;
    for moments in story.moments.chunks(EVERY) {
        let Some(last) = moments.last() else { continue };
        let sum = |of: fn(&Moment) -> u64| moments.iter().map(of).sum::<u64>();
        let width = |bytes: u64| {
            (u128::from(bytes) * BAR as u128 / u128::from(highest)).min(BAR as u128) as usize
        };
        // The living inside the resident.
        let (live, rss) = (width(last.live_bytes), width(last.rss_bytes));
        let bar = format!("{}{}", "█".repeat(live), "░".repeat(rss.saturating_sub(live)));
        writeln!(
            out,
            "  {:>10} {:>10} {:>10} {:>11} {:>11} {:>7} {:>8}  {bar}",
            units::duration(last.time_ns),
            units::bytes(last.live_bytes),
            units::bytes(last.rss_bytes),
            units::count(sum(|m| m.allocations)),
            units::count(sum(|m| m.frees)),
            units::count(sum(|m| m.kernel_calls)),
            units::count(sum(|m| m.minor_faults)),
        )?;
    }
    Ok(())
}

fn write_accounts(story: &Story, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nKernel calls by cause")?;
    if story.accounts.is_empty() {
        writeln!(out, "  none")?;
    }
    for account in &story.accounts {
        let (call, cause) = (account.call, account.cause);
        let (count, bytes) = (units::count(account.count), units::bytes(account.bytes));
        writeln!(out, "  {call:<9} for {cause:<20} {count:>9}   {bytes:>9}")?;
    }
    Ok(())
}

fn write_line(line: &Line, out: &mut impl Write) -> io::Result<()> {
    match line {
        Line::Quiet { allocations, frees } => writeln!(
            out,
            "  … {} allocations and {} frees without the kernel",
            units::count(*allocations),
            units::count(*frees)
        ),
        Line::Turn { event, pid } => {
            let what = match event.what {
                What::ProcessStart => "begins".to_owned(),
                What::ProcessEnd => "ends".to_owned(),
                What::ProcessGone => "is gone".to_owned(),
                What::Fork { child_pid: 0 } => "forks".to_owned(),
                What::Fork { child_pid } => format!("forks {child_pid}"),
                What::Lost { records } => format!("{records} records missing here"),
                _ => return Ok(()),
            };
            writeln!(out, "{} {pid:>7} ── process {what}", seconds(event.time_ns))
        }
        Line::Call { event, kernel, thread, time_ns, .. } => {
            let call = event.as_ref().map_or("(the allocator itself)".to_owned(), call_text);
            writeln!(out, "{} {thread:>7} {call}", seconds(*time_ns))?;
            for (number, (_, call)) in kernel.iter().enumerate() {
                let branch = if number + 1 == kernel.len() { "└" } else { "├" };
                writeln!(out, "{:20}   {branch} {}", "", kernel_text(call))?;
            }
            Ok(())
        }
    }
}

fn seconds(time_ns: u64) -> String {
    format!("{:>5}.{:06}", time_ns / 1_000_000_000, time_ns / 1000 % 1_000_000)
}

/// `malloc(24) = 0x5555…`, as ltrace has it.
pub fn call_text(event: &Event) -> String {
    let result = |address: u64| match address {
        0 => "NULL".to_owned(),
        address => format!("{address:#x}"),
    };
    match event.what {
        What::Malloc { size, address, .. } => format!("malloc({size}) = {}", result(address)),
        What::Calloc { size, address, .. } => format!("calloc({size}) = {}", result(address)),
        What::Aligned { size, align, address, .. } => {
            format!("memalign({align}, {size}) = {}", result(address))
        }
        What::Realloc { size, old, address, .. } => {
            format!("realloc({}, {size}) = {}", result(old), result(address))
        }
        What::Free { address } => format!("free({address:#x})"),
        other => format!("{other:?}"),
    }
}

/// `mmap(135168) = 0x7f…`, about as strace has it.
pub fn kernel_text(call: &KernelCall) -> String {
    let KernelCall { op, address, bytes, new_address, new_bytes, .. } = *call;
    let failed = if call.failed { " = failed" } else { "" };
    match op {
        KernelOp::Brk if call.failed => format!("brk({bytes:+}) = failed"),
        KernelOp::Brk => format!("brk({address:#x} {bytes:+})"),
        KernelOp::Mmap if call.failed => format!("mmap({bytes}) = failed"),
        KernelOp::Mmap => format!("mmap({bytes}) = {address:#x}"),
        KernelOp::Reserve if call.failed => format!("mmap({bytes}, PROT_NONE) = failed"),
        KernelOp::Reserve => format!("mmap({bytes}, PROT_NONE) = {address:#x}"),
        KernelOp::Mremap if call.failed => {
            format!("mremap({address:#x}, {bytes}, {new_bytes}) = failed")
        }
        KernelOp::Mremap => {
            format!("mremap({address:#x}, {bytes}, {new_bytes}) = {new_address:#x}")
        }
        KernelOp::Munmap | KernelOp::Mprotect | KernelOp::Madvise => {
            format!("{}({address:#x}, {bytes}){failed}", op.name())
        }
    }
}
