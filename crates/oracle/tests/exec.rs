//! Programs right after exec: the host's kernel against the model, without ASLR line by line,
//! with it by the ranges.
#![allow(missing_docs)]

use heapwise_oracle::exec::{Begun, Program, in_the_model, on_the_host};
use heapwise_oracle::host;
use heapwise_seed::Rng;
use heapwise_vm::Aslr;
use std::path::{Path, PathBuf};

/// Programs that the host has, of all kinds: with and without an interpreter.
fn programs() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["/bin/cat", "/bin/bash", "/usr/bin/env", "/usr/bin/gcc"]
        .into_iter()
        .chain(["/usr/bin/python3", "/usr/bin/perl", "/usr/bin/gdb", "/sbin/ldconfig"])
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect();
    found.push(env!("CARGO_BIN_EXE_oracle-child").into());
    found
}

fn read(path: &Path) -> Option<(Program, Option<Program>)> {
    let program = Program::read(path).ok()?;
    let interpreter = program.interpreter.as_ref().map(|path| Program::read(path).unwrap());
    Some((program, interpreter))
}

fn unsuitable() -> bool {
    let why = host::unsuitable().or_else(|| {
        let error = on_the_host(Path::new("/bin/true"), false).err()?;
        Some(format!("no program can be stopped at exec here: {error}"))
    });
    if let Some(why) = &why {
        println!("left out: {why}");
    }
    why.is_some()
}

#[test]
fn without_aslr_every_line_is_the_same() {
    if unsuitable() {
        return;
    }
    let mut compared = 0;
    for path in programs() {
        let Some((program, interpreter)) = read(&path) else { continue };
        let host = on_the_host(&path, false).expect("it runs");
        let ours = in_the_model(
            &program,
            interpreter.as_ref(),
            Aslr::Off,
            &mut || unreachable!("nothing is random"),
            &host.maps,
        );
        assert_eq!(host.maps, ours.maps, "{}", path.display());
        assert_eq!(host.bounds, ours.bounds, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 3, "only {compared} programs");
}

/// What ASLR moves: image, break (above the image's data, or alone), mappings' top, stack's
/// end.
fn moved(begun: &Begun) -> [u64; 4] {
    let spans: Vec<(u64, u64, &str)> = begun
        .maps
        .lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let hex = |text| u64::from_str_radix(text, 16).ok();
            Some((hex(start)?, hex(end)?, rest))
        })
        .collect();
    let stack = spans.iter().position(|span| span.2.ends_with("[stack]")).unwrap();
    let bounds = &begun.bounds;
    let image_end = bounds.end_data.get().next_multiple_of(4096);
    [
        spans[0].0,
        bounds.start_brk.get().checked_sub(image_end).unwrap_or(bounds.start_brk.get()),
        spans[stack - 1].1,
        spans[stack].1,
    ]
}

#[test]
fn with_aslr_all_lies_in_the_same_ranges() {
    if unsuitable() {
        return;
    }
    if std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").ok().as_deref() != Some("2\n")
    {
        println!("left out: kernel.randomize_va_space is not 2 here");
        return;
    }
    // With an interpreter and, where the host has one, without.
    for path in [env!("CARGO_BIN_EXE_oracle-child"), "/sbin/ldconfig"] {
        if let Some((program, interpreter)) = read(Path::new(path)) {
            compare_ranges(Path::new(path), &program, interpreter.as_ref());
        }
    }
}

fn compare_ranges(path: &Path, program: &Program, interpreter: Option<&Program>) {
    let labels = on_the_host(path, false).unwrap().maps;
    let ours = |random: &mut dyn FnMut() -> u64| {
        moved(&in_the_model(program, interpreter, Aslr::Full, random, &labels))
    };
    let (one, other) = (ours(&mut || 0), ours(&mut || u64::MAX));
    let host: Vec<_> = (0..64).map(|_| moved(&on_the_host(path, true).unwrap())).collect();
    let mut rng = Rng::new(1);
    let model: Vec<_> = (0..64).map(|_| ours(&mut || rng.word())).collect();
    for what in 0..4 {
        let (low, high) = (one[what].min(other[what]), one[what].max(other[what]));
        for (who, samples) in [("host", &host), ("model", &model)] {
            let of = || samples.iter().map(|sample| sample[what]);
            let (least, most) = (of().min().unwrap(), of().max().unwrap());
            assert!(
                low <= least && most <= high,
                "{who}, {what}: {least:#x} to {most:#x} of {low:#x} to {high:#x}"
            );
            // 64 of one distribution all in one half of it: once in 2^63.
            assert!(most - least > (high - low) / 2, "{who}, {what}: too narrow");
            assert!(of().all(|at| at % 4096 == 0), "{who}, {what}: a part of a page");
        }
    }
}
