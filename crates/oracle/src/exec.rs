//! A program right after `exec`, before its first instruction: the host's and the model's.
//!
//! ```text
//!   host    a child asks to be traced and executes: it stops there, its /proc is read, it ends
//!   ours    the same file's program headers as an image, and `Mm::exec`
//! ```

use crate::ours::{Arena, Stack, Words, host_policy, stat};
use heapwise_pages::Pfn;
use heapwise_vm::*;
use std::cell::RefCell;
use std::fs;
use std::io::{self, Error};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is to be loaded of an ELF file.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path, as `/proc` shows it.
    pub path: PathBuf,
    /// The width of its addresses.
    pub width: Width,
    /// `PT_LOAD`.
    pub segments: Vec<Segment>,
    /// `e_entry`.
    pub entry: u64,
    /// `ET_DYN`.
    pub relocatable: bool,
    /// `PT_INTERP`.
    pub interpreter: Option<PathBuf>,
}

impl Program {
    /// Reads a little-endian ELF file's headers, of 64 or 32 bits.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let bytes = fs::read(&path)?;
        let bad = || Error::other(format!("{}: not an ELF file of a PC", path.display()));
        let number = |at: usize, length: usize| -> io::Result<u64> {
            let slice = bytes.get(at..at + length).ok_or_else(bad)?;
            Ok(slice.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let width = match bytes.get(..6) {
            Some(b"\x7fELF\x01\x01") => Width::Compat32,
            Some(b"\x7fELF\x02\x01") => Width::Bits64,
            _ => return Err(bad()),
        };
        // Where the headers are, their size and number; in each: flags, offset, address, bytes
        // in the file and in memory.
        let (word, [table, size, count], [flags, offset, address, file, memory]) = match width {
            Width::Bits64 => (8, [32, 54, 56], [4, 8, 16, 32, 40]),
            _ => (4, [28, 42, 44], [24, 4, 8, 16, 20]),
        };
        let (table, size, count) = (number(table, word)?, number(size, 2)?, number(count, 2)?);
        let (mut segments, mut interpreter) = (Vec::new(), None);
        for nth in 0..count {
            let at = (table + nth * size) as usize;
            let (offset, file_bytes) = (number(at + offset, word)?, number(at + file, word)?);
            match number(at, 4)? {
                1 => {
                    let flags = number(at + flags, 4)?;
                    let right = |bit: u64, prot| if flags & bit != 0 { prot } else { Prot::NONE };
                    let prot = right(4, Prot::READ) | right(2, Prot::WRITE) | right(1, Prot::EXEC);
                    let address = number(at + address, word)?;
                    let memory_bytes = number(at + memory, word)?;
                    segments.push(Segment { address, offset, file_bytes, memory_bytes, prot });
                }
                3 => {
                    let end = (offset + file_bytes).saturating_sub(1) as usize;
                    let name = bytes.get(offset as usize..end).ok_or_else(bad)?;
                    let name = std::str::from_utf8(name).map_err(|_| bad())?;
                    interpreter = Some(fs::canonicalize(name)?);
                }
                _ => {}
            }
        }
        let (entry, relocatable) = (number(24, word)?, number(16, 2)? == 3);
        Ok(Self { path, width, segments, entry, relocatable, interpreter })
    }
}

/// A process that has executed a program and not begun it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// `/proc/PID/maps`, without `[vsyscall]`.
    pub maps: String,
    /// Where code, data and break are.
    pub bounds: Bounds,
}

/// Executes a program on the host, without arguments but its name and without an
/// environment, with a stack of 8 MiB; with ASLR as the host has it, or without.
///
/// # Errors
/// If it cannot be run or not be looked at.
pub fn on_the_host(program: &Path, randomized: bool) -> io::Result<Begun> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let limit = libc::rlimit { rlim_cur: 8 << 20, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: system calls alone, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let persona = if randomized { 0 } else { libc::ADDR_NO_RANDOMIZE as libc::c_ulong };
            if libc::personality(persona) < 0
                || libc::setrlimit(libc::RLIMIT_STACK, &limit) < 0
                || libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0
            {
                return Err(Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let pid = child.id();
    let mut status = 0;
    // SAFETY: our child; the status is ours.
    let stopped = unsafe { libc::waitpid(pid as i32, &mut status, 0) } == pid as i32
        && libc::WIFSTOPPED(status);
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let seen = if stopped {
        read("maps").and_then(|maps| Ok((maps, read("stat")?)))
    } else {
        Err(Error::other("it did not stop at exec"))
    };
    let _ = child.kill();
    let _ = child.wait();
    let (maps, stat_line) = seen?;
    let lines = maps.lines().filter(|line| !line.ends_with("[vsyscall]"));
    let number = |field| stat(&stat_line, field);
    let bounds = Bounds {
        start_code: number(26),
        end_code: number(27),
        start_data: number(45),
        end_data: number(46),
        start_brk: number(47),
        brk: number(47),
        ..Bounds::default()
    };
    Ok(Begun { maps: lines.map(|line| format!("{line}\n")).collect(), bounds })
}

/// Executes it in the model. `random` gives what is random in the layout; files are
/// labelled as `maps` has them.
pub fn in_the_model(
    program: &Program,
    interpreter: Option<&Program>,
    aslr: Aslr,
    random: &mut dyn FnMut() -> u64,
    maps: &str,
) -> Begun {
    const FRAMES: u32 = 256;
    let mut tables = vec![Table::new(); 256];
    let arena: Arena<'_> = RefCell::new(TableArena::new(&mut tables));
    let mut slots: Vec<ShmemSlot<'_, '_, Arena<'_>>> = (0..4).map(|_| ShmemSlot::new()).collect();
    let mut nodes = vec![VmaSlot::new(); 64];
    let mut owners = vec![0; FRAMES as usize];
    let source = Stack(RefCell::new((0..FRAMES).rev().collect()));
    let mut frames =
        Counted::new(source, Words::default(), Pfn::new(0), &mut owners).expect("there are frames");
    let mut nodes = VmaPool::new(&mut nodes);
    let mut files = Shmem::new(&mut slots, &arena);
    let mut commit = Commit::new(Overcommit::Heuristic, 1 << 20);
    let mut opened = Vec::new();
    let mut open = |path: &Path| {
        let name: &'static str = path.display().to_string().leak();
        let file = files.create(FileKind::Regular, 1 << 20, name).expect("room for a file");
        let line = maps.lines().find(|line| line.ends_with(name)).unwrap_or("");
        let words: Vec<_> = line.split_whitespace().collect();
        let (major, minor) = words.get(3).and_then(|w| w.split_once(':')).unwrap_or(("0", "0"));
        let hex = |text| u32::from_str_radix(text, 16).unwrap_or(0);
        let inode = words.get(4).and_then(|word| word.parse().ok()).unwrap_or(0);
        files.set_label(file, FileLabel { major: hex(major), minor: hex(minor), inode });
        opened.push(file);
        file
    };
    let file = open(&program.path);
    let loader = interpreter.map(|program| (open(&program.path), program));
    let image = |file, of: &'_ Program| -> (FileId, u64, bool) { (file, of.entry, of.relocatable) };
    let make = |(file, entry, relocatable), segments| Image { file, segments, entry, relocatable };
    let name_bytes = program.path.as_os_str().len() as u64 + 1;
    let start = Start {
        program: make(image(file, program), &program.segments),
        interpreter: loader.map(|(file, of)| make(image(file, of), &of.segments)),
        argument_bytes: name_bytes,
        environment_bytes: 0,
        vdso: true,
    };
    let (limits, policy) = (Limits { stack: 8 << 20, ..Limits::default() }, host_policy());
    let layout = Layout::new(program.width, aslr, &limits, &policy, random);
    let mut mm = Mm::new(SoftTable::new(&arena), layout, limits, policy);
    let mut env =
        Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
    mm.exec(&mut env, &start).expect("the model executes it");
    let maps = render::Maps { mm: &mm, nodes: &nodes, files: &files }.to_string();
    let Bounds { start_code, end_code, start_data, end_data, start_brk, brk, .. } = mm.bounds;
    let bounds =
        Bounds { start_code, end_code, start_data, end_data, start_brk, brk, ..Bounds::default() };
    let mut env =
        Env { nodes: &mut nodes, frames: &mut frames, files: &mut files, commit: &mut commit };
    mm.exit(&mut env);
    for file in opened {
        env.files.close(file, env.frames);
    }
    Begun { maps, bounds }
}
