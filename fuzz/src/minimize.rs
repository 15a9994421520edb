//! A failing input made shorter: by parts, then word by word, then simpler words.
//!
//! Each candidate runs in a process of its own, as a failure ends one.

use crate::crash::save;
use crate::input::Input;
use crate::reach;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes the shortest input found beside `file`.
pub fn minimize(file: &Path) -> io::Result<()> {
    let mut best = Input::read(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let scratch = folder.join("candidate");
    let fails = |input: &Input| -> io::Result<bool> {
        std::fs::write(&scratch, input.bytes())?;
        let status = Command::new(std::env::current_exe()?)
            .args(reach::is_kernel().then_some(reach::KERNEL))
            .arg("--replay")
            .arg(&scratch)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(!status.success())
    };
    if !fails(&best)? {
        return Err(io::Error::other("does not fail"));
    }
    let mut part = best.words.len().next_power_of_two() / 2;
    while part > 0 {
        let mut at = 0;
        while at < best.words.len() {
            let mut shorter = best.clone();
            shorter.words.drain(at..(at + part).min(best.words.len()));
            if fails(&shorter)? {
                best = shorter;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    for at in 0..best.words.len() {
        for mask in [0xffff_ffff_ffff_00ff, 0xffff_ffff_0000_ffff, 0x0000_ffff_ffff_ffff] {
            let mut simpler = best.clone();
            simpler.words[at] &= mask;
            if simpler != best && fails(&simpler)? {
                best = simpler;
            }
        }
    }
    std::fs::remove_file(&scratch)?;
    let kept = save(&best, folder)?;
    println!("{} operations: {}", best.words.len(), kept.display());
    for word in &best.words {
        if reach::is_kernel() {
            println!("    {word:#018x}");
        } else {
            println!("    {:?}", heapwise_testkit::op::Op::decode(*word));
        }
    }
    Ok(())
}
