//! Our side: the same process, as `heapwise-vm` keeps it.

use crate::host::{Answer, Initial, Look};
use crate::op::{Op, Step, signal_result};
use heapwise_pages::slab::Source;
use heapwise_pages::{Order, Pfn};
use heapwise_vm::*;
use std::cell::RefCell;
use std::collections::HashMap;

pub(crate) type Arena<'a> = RefCell<TableArena<'a>>;
type Space<'l, 'a> = Mm<SoftTable<'l, 'a, Arena<'a>>>;

/// Frames by number, from a stack.
pub(crate) struct Stack(pub(crate) RefCell<Vec<u32>>);

impl Source for Stack {
    fn take(&self, _: Order) -> Option<Pfn> {
        self.0.borrow_mut().pop().map(Pfn::new)
    }

    fn give(&self, pfn: Pfn, _: Order) {
        self.0.borrow_mut().push(pfn.get());
    }
}

/// The words that scripts store, by frame and place.
#[derive(Default)]
pub(crate) struct Words(HashMap<u32, HashMap<u64, u64>>);

impl Contents for Words {
    fn zero(&mut self, pfn: Pfn) {
        self.0.remove(&pfn.get());
    }

    fn copy(&mut self, from: Pfn, to: Pfn) {
        let words = self.0.get(&from.get()).cloned().unwrap_or_default();
        self.0.insert(to.get(), words);
    }
}

/// How many frames, tables, nodes and files a run has.
const FRAMES: u32 = 1 << 15;
const TABLES: usize = 1 << 10;
/// Nodes for a common script.
pub const NODES: usize = 2048;
const FILES: usize = 4096;

/// The administrator's settings of this host.
pub fn host_policy() -> Policy {
    let number = |file: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/vm/{file}")).unwrap_or_default();
        text.trim().parse::<u64>().ok()
    };
    let chosen = |file: &str| {
        let path = format!("/sys/kernel/mm/transparent_hugepage/{file}");
        let text = std::fs::read_to_string(path).ok()?;
        let word = text.split('[').nth(1)?.split(']').next()?;
        Some(word.to_owned())
    };
    let default = Policy::default();
    let shmem = chosen("shmem_enabled");
    Policy {
        max_map_count: number("max_map_count").map_or(default.max_map_count, |n| n as u32),
        // The sysctl is only half of it: CONFIG_LSM_MMAP_MIN_ADDR, 64 KiB on x86, is the least.
        min_address: number("mmap_min_addr")
            .map_or(default.min_address, |at| VirtAddr::new(at).max(default.min_address)),
        legacy_layout: number("legacy_va_layout") == Some(1),
        align_huge: chosen("enabled").is_some(),
        align_shmem: shmem.is_some_and(|word| word != "never" && word != "deny"),
        ..default
    }
}

/// What the host has promised, and by which rules.
pub fn host_commit() -> Commit {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let setting = |file: &str, default: u64| {
        let text = std::fs::read_to_string(format!("/proc/sys/vm/{file}")).unwrap_or_default();
        text.trim().parse().unwrap_or(default)
    };
    let mode = match setting("overcommit_memory", 0) {
        1 => Overcommit::Always,
        2 => Overcommit::Never,
        _ => Overcommit::Heuristic,
    };
    let usual = Commit::new(mode, number("MemTotal:") / 4);
    Commit {
        huge_pages: number("HugePages_Total:") * number("Hugepagesize:") / 4,
        swap_pages: number("SwapTotal:") / 4,
        ratio: setting("overcommit_ratio", usual.ratio),
        admin_reserve: setting("admin_reserve_kbytes", usual.admin_reserve * 4) / 4,
        user_reserve: setting("user_reserve_kbytes", usual.user_reserve * 4) / 4,
        committed: number("Committed_AS:") / 4,
        ..usual
    }
}

/// The model during a script.
pub struct Ours<'s, 'l, 'a> {
    nodes: VmaPool<'a>,
    frames: Counted<'a, Stack, Words>,
    files: Shmem<'s, 'l, 'a, Arena<'a>>,
    commit: Commit,
    promised_before: u64,
    arena: &'l Arena<'a>,
    spaces: Vec<Space<'l, 'a>>,
    memfds: HashMap<u64, FileId>,
    paths: HashMap<String, FileId>,
    opened: Vec<FileId>,
}

/// Builds the process as the host's child found itself, and lets `work` run it.
pub fn with_process<R>(
    initial: &Initial,
    stack: u64,
    nodes: usize,
    work: impl for<'s, 'l, 'a> FnOnce(&mut Ours<'s, 'l, 'a>) -> R,
) -> R {
    let mut tables = vec![Table::new(); TABLES];
    let arena = RefCell::new(TableArena::new(&mut tables));
    let mut slots: Vec<ShmemSlot<'_, '_, Arena<'_>>> =
        (0..FILES).map(|_| ShmemSlot::new()).collect();
    let node_count = nodes;
    let mut nodes = vec![VmaSlot::new(); nodes];
    let mut owners = vec![0; FRAMES as usize];
    let stack_of_frames = Stack(RefCell::new((0..FRAMES).rev().collect()));
    let frames = Counted::new(stack_of_frames, Words::default(), Pfn::new(0), &mut owners);
    let commit = host_commit();
    let mut ours = Ours {
        nodes: VmaPool::new(&mut nodes),
        frames: frames.expect("there are frames"),
        files: Shmem::new(&mut slots, &arena),
        promised_before: commit.committed,
        commit,
        arena: &arena,
        spaces: Vec::new(),
        memfds: HashMap::new(),
        paths: HashMap::new(),
        opened: Vec::new(),
    };
    ours.start(initial, stack);
    let result = work(&mut ours);
    ours.finish(node_count);
    result
}

/// The number of a field of `/proc/PID/stat`, counted from 1.
pub(crate) fn stat(text: &str, field: usize) -> VirtAddr {
    let rest = text.rsplit_once(')').map_or("", |parts| parts.1);
    let value = rest.split_whitespace().nth(field - 3).and_then(|word| word.parse().ok());
    VirtAddr::new(value.unwrap_or(0))
}

fn flags_of(letters: &str) -> VmFlags {
    letters.split_whitespace().fold(VmFlags::NONE, |flags, letters| {
        flags
            | match letters {
                "rd" => VmFlags::READ,
                "wr" => VmFlags::WRITE,
                "ex" => VmFlags::EXEC,
                "sh" => VmFlags::SHARED,
                "mr" => VmFlags::MAYREAD,
                "mw" => VmFlags::MAYWRITE,
                "me" => VmFlags::MAYEXEC,
                "ms" => VmFlags::MAYSHARE,
                "gd" => VmFlags::GROWSDOWN,
                "pf" => VmFlags::PFNMAP,
                "de" => VmFlags::DONTEXPAND,
                "ac" => VmFlags::ACCOUNT,
                "nr" => VmFlags::NORESERVE,
                "dd" => VmFlags::DONTDUMP,
                _ => VmFlags::NONE,
            }
    })
}

impl<'l, 'a> Ours<'_, 'l, 'a> {
    fn env_and_spaces(&mut self) -> (Env<'_, 'a>, &mut Vec<Space<'l, 'a>>) {
        let env = Env {
            nodes: &mut self.nodes,
            frames: &mut self.frames,
            files: &mut self.files,
            commit: &mut self.commit,
        };
        (env, &mut self.spaces)
    }

    fn start(&mut self, initial: &Initial, stack: u64) {
        let limits = Limits { stack, ..Limits::default() };
        let policy = host_policy();
        let layout = Layout::new(Width::Bits64, Aslr::Off, &limits, &policy, &mut || 0);
        let mut mm = Mm::new(SoftTable::new(self.arena), layout, limits, policy);
        mm.privileged = true;
        let number = |field| stat(&initial.stat, field);
        mm.bounds = Bounds {
            start_code: number(26),
            end_code: number(27),
            start_stack: number(28),
            start_data: number(45),
            end_data: number(46),
            start_brk: number(47),
            brk: number(47),
            arg_start: number(48),
            arg_end: number(49),
            env_start: number(50),
            env_end: number(51),
        };
        self.spaces.push(mm);
        let mut line = None;
        let mut touched = false;
        let mut family = 1 << 20;
        for text in initial.smaps.lines() {
            if let Some(letters) = text.strip_prefix("VmFlags:") {
                family += 1;
                let anon = touched.then_some(AnonVma { id: family, forked: false });
                self.adopt(line.take().unwrap_or(""), flags_of(letters), anon);
            } else if let Some(size) = text.strip_prefix("Anonymous:") {
                touched = size.trim() != "0 kB";
            } else if text.split_once(' ').is_some_and(|(range, _)| range.contains('-')) {
                line = Some(text);
            }
        }
    }

    /// Brings one of the first mappings in, from its line in the maps.
    fn adopt(&mut self, line: &str, flags: VmFlags, anon: Option<AnonVma>) {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or("");
        let (range, _, offset, device, inode) = (word(), word(), word(), word(), word());
        let path = words.collect::<Vec<_>>().join(" ");
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        let (start, end) = range.split_once('-').unwrap_or(("0", "0"));
        let span = Span::new(VirtAddr::new(hex(start)), VirtAddr::new(hex(end)));
        let backing = match path.as_str() {
            "[vvar]" => Backing::Special(Special::Vvar),
            "[vvar_vclock]" => Backing::Special(Special::VvarVclock),
            "[vdso]" => Backing::Special(Special::Vdso),
            "[vsyscall]" => return,
            path if path.starts_with('/') => {
                let (major, minor) = device.split_once(':').unwrap_or(("0", "0"));
                let label = FileLabel {
                    major: hex(major) as u32,
                    minor: hex(minor) as u32,
                    inode: inode.parse().unwrap_or(0),
                };
                Backing::File(self.file(path, label))
            }
            _ => Backing::Anonymous,
        };
        let offset = match backing {
            Backing::File(_) => hex(offset) >> 12,
            _ => span.start.page_number(),
        };
        let vma = Vma { span, flags, offset, backing, anon };
        let (mut env, spaces) = self.env_and_spaces();
        spaces[0].adopt(&mut env, vma).unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    fn file(&mut self, path: &str, label: FileLabel) -> FileId {
        if let Some(file) = self.paths.get(path) {
            return *file;
        }
        // A name for as long as the process lives: there are few.
        let name: &'static str = path.to_owned().leak();
        let file = self.files.create(FileKind::Regular, 1 << 20, name).expect("room for a file");
        self.files.set_label(file, label);
        self.paths.insert(path.to_owned(), file);
        file
    }

    /// Where the heap starts.
    pub fn start_brk(&self) -> u64 {
        self.spaces[0].bounds.start_brk.get()
    }

    /// The break now, of one of the two.
    pub fn brk(&self, who: u64) -> u64 {
        self.spaces[who as usize].bounds.brk.get()
    }

    /// The spans of the mappings of one of the two.
    pub fn spans(&self, who: u64) -> Vec<Span> {
        self.spaces[who as usize].vmas(&self.nodes).map(|vma| vma.span).collect()
    }

    /// Does a step and looks.
    pub fn step(&mut self, step: &Step) -> Answer {
        let result = self.run(step);
        let mut look = (!step.blind).then(|| self.look(step.who));
        if let (Op::Smaps, Some(look)) = (step.op, &mut look) {
            look.maps = self.smaps(step.who);
        }
        Answer { result, look }
    }

    /// What `/proc` would show.
    pub fn look(&self, who: u64) -> Look {
        let mm = &self.spaces[who as usize];
        let maps = render::Maps { mm, nodes: &self.nodes, files: &self.files }.to_string();
        Look { maps, status: render::Status(mm).to_string() }
    }

    /// What `/proc/PID/smaps` would show.
    pub fn smaps(&self, who: u64) -> String {
        let mm = &self.spaces[who as usize];
        let (nodes, files, frames) = (&self.nodes, &self.files, &self.frames);
        render::Smaps { mm, nodes, files, frames }.to_string()
    }

    fn run(&mut self, step: &Step) -> i64 {
        let who = step.who as usize;
        if let Op::Read(at) = step.op {
            return self.touch(who, at, None);
        }
        if let Op::Write(at, value) = step.op {
            return self.touch(who, at, Some(value));
        }
        if let Op::Memfd(nth, pages) = step.op {
            let name = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"][nth as usize % 8];
            let path: &'static str = format!("/memfd:{name} (deleted)").leak();
            let file = self.files.create(FileKind::Shmem, pages, path).expect("room for a file");
            // The host's child never closes one.
            self.opened.push(file);
            self.memfds.insert(nth % 8, file);
            return 0;
        }
        if let Op::File(nth, pages) = step.op {
            let path = "/tmp/#0 (deleted)";
            let file = self.files.create(FileKind::Regular, pages, path).expect("room for a file");
            for index in 0..pages {
                let page = self.files.load(file, index, &mut self.frames).expect("room for a page");
                self.frames.contents_mut().zero(page);
            }
            self.opened.push(file);
            self.memfds.insert(nth % 8, file);
            return 0;
        }
        if let Op::Truncate(nth, pages) = step.op {
            let Some(file) = self.memfds.get(&nth).copied() else { return -9 };
            self.files.truncate(file, pages, &mut self.frames);
            let (mut env, spaces) = self.env_and_spaces();
            for mm in spaces {
                mm.unmap_file_from(&mut env, file, pages);
            }
            return 0;
        }
        let table = SoftTable::new(self.arena);
        let file = |memfds: &HashMap<u64, FileId>, nth: u64| memfds.get(&nth).copied();
        let source = match step.op {
            Op::Mmap { file: nth, flags, .. } if flags & 0x20 == 0 => file(&self.memfds, nth),
            _ => None,
        };
        let (mut env, spaces) = self.env_and_spaces();
        let env = &mut env;
        let mm = &mut spaces[who];
        let addr = VirtAddr::new;
        let errno = |error: Error| -(error.errno() as i64);
        let done = |result: Result<(), Error>| result.map_or_else(errno, |()| 0);
        let place =
            |result: Result<VirtAddr, Error>| result.map_or_else(errno, |at| at.get() as i64);
        match step.op {
            Op::Brk(at) => mm.brk(env, addr(at)).get() as i64,
            Op::Mmap { at, length, prot, flags, offset, .. } => {
                let source = match source {
                    Some(file) => MapSource::File { file, offset, mode: OpenMode::READ_WRITE },
                    // What Linux looks at before there is a file: of anonymous memory too.
                    None if offset % 4096 != 0 => return -22,
                    None if flags & 0x20 == 0 => return -9,
                    None => MapSource::Anonymous,
                };
                let (at, prot) = (addr(at), Prot::from_bits(prot as u32));
                let flags = MapFlags::from_bits(flags as u32);
                place(mm.mmap(env, MapRequest { at, length, prot, flags, source }))
            }
            Op::Munmap(at, length) => done(mm.munmap(env, addr(at), length)),
            Op::Mremap { at, old, new, flags, to } => place(mm.mremap(
                env,
                RemapRequest {
                    at: addr(at),
                    old_length: old,
                    new_length: new,
                    flags: RemapFlags::from_bits(flags as u32),
                    to: addr(to),
                },
            )),
            Op::Mprotect(at, length, prot) => {
                done(mm.mprotect(env, addr(at), length, Prot::from_bits(prot as u32)))
            }
            Op::Madvise(at, length, advice) => match Advice::from_number(advice as u32) {
                Some(advice) => done(mm.madvise(env, addr(at), length, advice)),
                None => -22,
            },
            Op::Limit(which, bytes) => {
                let limits = &mut mm.limits;
                let limit = match which % 3 {
                    0 => &mut limits.address_space,
                    1 => &mut limits.data,
                    _ => &mut limits.stack,
                };
                *limit = bytes;
                0
            }
            Op::Fork => match mm.fork(env, table) {
                Ok(child) => {
                    spaces.push(child);
                    0
                }
                Err(error) => errno(error),
            },
            Op::Look | Op::Smaps | Op::Read(_) | Op::Write(..) => 0,
            Op::Memfd(..) | Op::File(..) | Op::Truncate(..) => 0,
        }
    }

    fn touch(&mut self, who: usize, at: u64, store: Option<u64>) -> i64 {
        let access = if store.is_some() { Access::Write } else { Access::Read };
        let (mut env, spaces) = self.env_and_spaces();
        match spaces[who].access(&mut env, VirtAddr::new(at), access) {
            Ok(touch) => {
                let words = self.frames.contents_mut().0.entry(touch.pfn.get()).or_default();
                match store {
                    Some(value) => {
                        words.insert(at % 4096, value);
                        0
                    }
                    None => words.get(&(at % 4096)).copied().unwrap_or(0) as i64,
                }
            }
            Err(FaultError::NotMapped) => signal_result(11, 1),
            Err(FaultError::NotAllowed) => signal_result(11, 2),
            Err(FaultError::BeyondFile) => signal_result(7, 2),
            Err(FaultError::OutOfMemory) => panic!("the model ran out of frames or tables"),
        }
    }

    /// Everything goes, and nothing may be left.
    fn finish(&mut self, nodes: usize) {
        let mut opened = std::mem::take(&mut self.opened);
        opened.extend(self.paths.drain().map(|(_, file)| file));
        let sound = self.spaces.iter().all(|mm| mm.is_sound(&self.nodes));
        assert!(sound, "tree or counters are wrong");
        let (mut env, spaces) = self.env_and_spaces();
        for mm in spaces.iter_mut() {
            mm.exit(&mut env);
        }
        for file in opened {
            env.files.close(file, env.frames);
        }
        assert_eq!(self.frames.in_use(), 0, "frames are lost");
        assert_eq!(self.arena.borrow().free_tables(), TABLES, "tables are lost");
        assert_eq!(self.nodes.free_nodes() as usize, nodes, "VMAs are lost");
        assert_eq!(self.commit.committed, self.promised_before, "promises are lost");
        assert_eq!(self.files.objects(), 0, "objects are lost");
    }
}
