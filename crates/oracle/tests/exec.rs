//! Programs right after exec: the host's kernel against the model, without ASLR line by line,
//! with it by the ranges.
#![allow(missing_docs)]

use heapwise_oracle::exec::{Begun, Program, in_the_model, on_the_host};
use heapwise_oracle::host;
use heapwise_seed::Rng;
use heapwise_vm::Aslr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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

/// A program of 32 bits, written here since few hosts can build one: text, constants, data with
/// .bss. It is never begun.
fn of_32_bits(name: &str, relocatable: bool, interpreter: Option<&Path>) -> PathBuf {
    const HEADER: usize = 52;
    const PROGRAM_HEADER: usize = 32;
    const PAGE: u32 = 4096;
    let interpreter = interpreter.map_or(Vec::new(), |path| {
        let mut name = path.as_os_str().as_encoded_bytes().to_vec();
        name.push(0);
        name
    });
    let (base, start) = (if relocatable { 0 } else { 0x804_8000 }, 0x800);
    // Type, offset, address, bytes in the file, bytes in memory, flags.
    let mut parts = vec![
        [1, 0, base, 0xa00, 0xa00, 4],
        [1, PAGE, base + PAGE, 0x100, 0x100, 5],
        [1, 2 * PAGE, base + 3 * PAGE, 0x234, 0x5678, 6],
        // PT_GNU_STACK: not executable.
        [0x6474_e551, 0, 0, 0, 0, 6],
    ];
    if !interpreter.is_empty() {
        let bytes = interpreter.len() as u32;
        parts.insert(0, [3, start, base + start, bytes, bytes, 4]);
    }
    let mut file = vec![0; 3 * PAGE as usize];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&[if relocatable { 3 } else { 2 }, 0, 3, 0]);
    for word in [1, base + PAGE, HEADER as u32, 0, 0] {
        put(&word.to_le_bytes());
    }
    for half in [HEADER, PROGRAM_HEADER, parts.len(), 0, 0, 0] {
        put(&(half as u16).to_le_bytes());
    }
    for [kind, offset, address, bytes, memory, flags] in parts {
        for word in [kind, offset, address, address, bytes, memory, flags, PAGE] {
            put(&word.to_le_bytes());
        }
    }
    file[start as usize..][..interpreter.len()].copy_from_slice(&interpreter);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, file).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Fixed, anywhere, and anywhere with an interpreter; none where the host runs no such programs.
/// Each test writes its own.
fn programs_of_32_bits(test: &str) -> Vec<PathBuf> {
    let loader = of_32_bits(&format!("{test}-loader"), true, None);
    if let Err(error) = on_the_host(&loader, false) {
        println!("left out: no program of 32 bits runs here: {error}");
        return Vec::new();
    }
    let fixed = of_32_bits(&format!("{test}-fixed"), false, None);
    let loaded = of_32_bits(&format!("{test}-loaded"), true, Some(&loader));
    vec![loader, fixed, loaded]
}

#[test]
fn without_aslr_every_line_is_the_same() {
    if unsuitable() {
        return;
    }
    let mut compared = 0;
    for path in programs().into_iter().chain(programs_of_32_bits("lines")) {
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
    let _stays = LEVEL_STAYS.lock().unwrap();
    if std::fs::read_to_string(LEVEL).ok().as_deref() != Some("2\n") {
        println!("left out: kernel.randomize_va_space is not 2 here");
        return;
    }
    // With an interpreter and, where the host has one, without.
    let of_64_bits = [env!("CARGO_BIN_EXE_oracle-child"), "/sbin/ldconfig"].map(PathBuf::from);
    for path in of_64_bits.into_iter().chain(programs_of_32_bits("ranges")) {
        if let Some((program, interpreter)) = read(&path) {
            compare_ranges(&path, &program, interpreter.as_ref(), Aslr::Full);
        }
    }
}

/// Puts the level back, however the test ends.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        std::fs::write(LEVEL, &self.0).expect("the level goes back");
    }
}

const LEVEL: &str = "/proc/sys/kernel/randomize_va_space";
/// Held by who needs the level to stay.
static LEVEL_STAYS: Mutex<()> = Mutex::new(());

#[test]
fn level_1_of_aslr_leaves_the_break() {
    if std::env::var_os("HEAPWISE_ORACLE_ASLR").is_none() {
        return println!("left out: HEAPWISE_ORACLE_ASLR=1 lets root change the machine's level");
    }
    if unsuitable() {
        return;
    }
    let programs: Vec<_> = programs().into_iter().chain(programs_of_32_bits("level")).collect();
    let _stays = LEVEL_STAYS.lock().unwrap();
    let restore = Restore(std::fs::read_to_string(LEVEL).unwrap());
    std::fs::write(LEVEL, "1").expect("root may set the level");
    for path in &programs {
        if let Some((program, interpreter)) = read(path) {
            compare_ranges(path, &program, interpreter.as_ref(), Aslr::Conservative);
        }
    }
    drop(restore);
}

fn compare_ranges(path: &Path, program: &Program, interpreter: Option<&Program>, aslr: Aslr) {
    let labels = on_the_host(path, false).unwrap().maps;
    let ours = |random: &mut dyn FnMut() -> u64| {
        moved(&in_the_model(program, interpreter, aslr, random, &labels))
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
            // 64 of one distribution all in one half of it: once in 2^63. What does not move
            // does not.
            let wide = most - least > (high - low) / 2 || low == high;
            assert!(wide, "{who}, {what}: {least:#x} to {most:#x} is too narrow");
            assert!(of().all(|at| at % 4096 == 0), "{who}, {what}: a part of a page");
        }
    }
}
