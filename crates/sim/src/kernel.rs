//! The machine: all parts put together, and what every file here works on.
//!
//! ```text
//!   boot(config, |kernel| …)
//!     memory ─ zones ─ per-CPU lists ─ owners      Shared, Counted
//!     tables, VMA nodes, files, promises           lent to every verb as Env
//!     processes, groups, clock, prices, plan       Kernel
//! ```
//! Invariants: nothing here reads a clock, an address of the host's, or a hash map's
//! order: one seed, one run. Every frame is free, in a processor's list, a slab's, a file's or a process's.

use crate::config::Config;
use crate::event::{Event, Pid, What};
use crate::journey::MachineState;
use crate::objects::{CACHES, Held, Objects};
use crate::price::Prices;
use crate::process::{Group, Process};
use crate::ram::{Ram, RamContents};
use crate::source::{FrontSource, Shared};
use crate::table::{Arena, SimTable};
use crate::vmstat::Counts;
use crate::window::Window;
use heapwise_pages::slab::{CacheSlot, SlabFrame};
use heapwise_pages::{Metadata, Order, PAGE_SIZE, Pages, Pfn, Watermarks, Zone, ZoneKind, Zones};
use heapwise_seed::Rng;
use heapwise_vm::{
    Commit, Counted, Env, Events, FileId, FileKind, Files, Image, Layout, Limits, Mm, Policy, Prot,
    Segment, Shmem, ShmemSlot, Start, Table, TableArena, UNLIMITED, UpperHalf, VMALLOC_RANGE,
    VmaPool, VmaSlot, Vmalloc, Width,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU8;

/// Files and shared memory objects at once.
const FILES: usize = 4096;
/// Areas of vmalloc at once, lazy ones too.
const AREAS: usize = 4096;
/// Memory that the machine has at least.
const MIN_RAM: u64 = 16 << 20;
/// Sizes go up to a multiple of this, the largest block.
const RAM_STEP: u64 = 4 << 20;

/// Why a machine could not start.
#[derive(Debug)]
pub struct BootError(pub String);

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the simulated machine does not start: {}", self.0)
    }
}

impl std::error::Error for BootError {}

/// A running machine.
pub struct Kernel<'m> {
    pub(crate) nodes: VmaPool<'m>,
    pub(crate) frames: Counted<'m, FrontSource<'m>, RamContents<'m>>,
    pub(crate) files: Shmem<'m, 'm, 'm, Arena<'m>>,
    /// What has been promised.
    pub commit: Commit,
    pub(crate) arena: &'m Arena<'m>,
    pub(crate) shared: &'m Shared<'m>,
    pub(crate) ram: &'m Ram,
    pub(crate) window: Option<&'m Window>,
    /// The kernel's own objects.
    pub objects: Objects<'m>,
    pub(crate) scattered: Vmalloc<'m, UpperHalf<SimTable<'m>>>,
    pub(crate) processes: BTreeMap<Pid, Process<'m>>,
    pub(crate) groups: BTreeMap<u32, Group>,
    /// What steps cost.
    pub prices: Prices,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) aslr: heapwise_vm::Aslr,
    pub(crate) huge_pages: bool,
    pub(crate) rng: Rng,
    pub(crate) clock_ns: u64,
    pub(crate) running: Vec<Pid>,
    pub(crate) next_pid: Pid,
    pub(crate) log: Option<Vec<Event>>,
    /// Whose state is kept at each event, and the states.
    kept: Option<Kept>,
    /// Counters as of `/proc/vmstat`.
    pub counts: Counts,
    program: FileId,
    library: FileId,
}

/// The states of a process at each event.
struct Kept {
    pid: Pid,
    last: MachineState,
    states: Vec<MachineState>,
}

/// The zones' borders and books.
struct Books {
    kind: ZoneKind,
    start: Pfn,
    end: Pfn,
    frames: Vec<AtomicU8>,
    words: Vec<u64>,
}

fn books(frames: u32) -> Vec<Books> {
    ZoneKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let (start, end) = kind.span();
            let end = end.min(Pfn::new(frames));
            (start < end).then(|| Books {
                kind,
                start,
                end,
                frames: (0..Metadata::frame_bytes(start, end)).map(|_| AtomicU8::new(0)).collect(),
                words: vec![0; Metadata::words(start, end)],
            })
        })
        .collect()
}

/// Starts a machine, lets `work` use it, and takes it down. O(frames).
///
/// # Errors
/// The host cannot give its memory, or the configuration makes no machine.
pub fn boot<R>(config: &Config, work: impl FnOnce(&mut Kernel<'_>) -> R) -> Result<R, BootError> {
    boot_shared(config, |kernel| work(&mut kernel.borrow_mut()))
}

/// The same, for programs that run on the machine while it is looked at. O(frames).
///
/// # Errors
/// As [`boot`].
pub fn boot_shared<R>(
    config: &Config,
    work: impl for<'m> FnOnce(&RefCell<Kernel<'m>>) -> R,
) -> Result<R, BootError> {
    let bytes = config.ram_bytes.max(MIN_RAM).checked_next_multiple_of(RAM_STEP);
    let frames = bytes.and_then(|bytes| u32::try_from(bytes / PAGE_SIZE).ok());
    let frames = frames.ok_or_else(|| BootError("too much memory".into()))?;
    if !(1..=64).contains(&config.cpus) {
        return Err(BootError(format!("{} processors; 1 to 64 are possible", config.cpus)));
    }
    let told = |error: &dyn fmt::Display| BootError(error.to_string());
    let ram = Ram::new(u64::from(frames) * PAGE_SIZE).map_err(|error| told(&error))?;
    let window = config.window.map(Window::new).transpose().map_err(|error| told(&error))?;
    let mut books = books(frames);
    let mut zones = Zones::new();
    for Books { kind, start, end, frames, words } in &mut books {
        let metadata = Metadata { frames, words };
        let zone = Zone::new(*kind, *start, *end, Order::MAX, metadata);
        zones.add_zone(zone.map_err(|error| told(&error))?).map_err(|error| told(&error))?;
    }
    // Frame 0 stays the firmware's, as on a PC.
    zones.add_region(Pfn::new(1), Pfn::new(frames)).map_err(|error| told(&error))?;
    let shared = Shared::new(Pages::new(zones, RefCell::new), config.cpus);
    // Tables come from lent memory, not from the frames: a table to 512 pages, and upper ones.
    let mut tables = vec![Table::new(); (frames as usize / 64).max(4096)];
    let arena = RefCell::new(TableArena::new(&mut tables));
    let mut nodes = vec![VmaSlot::new(); config.vmas];
    let mut areas = vec![VmaSlot::new(); AREAS];
    let mut owners = vec![0; frames as usize];
    let mut slots: Vec<ShmemSlot<'_, '_, Arena<'_>>> =
        (0..FILES).map(|_| ShmemSlot::new()).collect();
    let slab_frames: Vec<SlabFrame> = (0..frames).map(|_| SlabFrame::new()).collect();
    let mut cache_slots = vec![CacheSlot::new(); CACHES];

    let contents = RamContents { ram: &ram, fidelity: config.fidelity };
    let counted = Counted::new(FrontSource(&shared), contents, Pfn::new(0), &mut owners)
        .ok_or_else(|| BootError("no frame for the page of zeros".into()))?;
    let mut files = Shmem::new(&mut slots, &arena);
    let mut image = |path, pages| {
        let file = files.create(FileKind::Regular, pages, path);
        file.ok_or_else(|| BootError("no file".into()))
    };
    let program = image("/bin/program", 16)?;
    let library = image("/lib/ld.so", 48)?;
    let mut commit = Commit::new(config.overcommit, u64::from(frames));
    commit.swap_pages = config.swap_bytes / PAGE_SIZE;
    commit.ratio = config.overcommit_ratio;
    let mut rng = Rng::new(config.seed);
    let secret = rng.word();
    let objects = Objects::new(&ram, &shared, &slab_frames, &mut cache_slots, secret)
        .map_err(|error| told(&error))?;
    let kernel = Kernel {
        nodes: VmaPool::new(&mut nodes),
        frames: counted,
        files,
        commit,
        arena: &arena,
        shared: &shared,
        ram: &ram,
        window: window.as_ref(),
        objects,
        scattered: Vmalloc::new(
            UpperHalf(SimTable::new(&arena, None)),
            VmaPool::new(&mut areas),
            VMALLOC_RANGE,
            config.cpus as u32,
        ),
        processes: BTreeMap::new(),
        groups: BTreeMap::new(),
        prices: config.prices,
        limits: config.limits,
        policy: config.policy,
        aslr: config.aslr,
        huge_pages: config.huge_pages,
        rng,
        clock_ns: 0,
        running: vec![0; config.cpus],
        next_pid: 1,
        log: None,
        kept: None,
        counts: Counts::default(),
        program,
        library,
    };
    let kernel = RefCell::new(kernel);
    Ok(work(&kernel))
}

impl<'m> Kernel<'m> {
    /// Simulated time, in nanoseconds.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.clock_ns
    }

    /// Lets time pass in which nothing happens.
    pub const fn pass_ns(&mut self, ns: u64) {
        self.clock_ns += ns;
    }

    /// Processors.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.running.len()
    }

    /// Frames that nobody has. O(processors × lists).
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.shared.free_frames()
    }

    /// Frames of the whole machine that the page allocator manages.
    #[must_use]
    pub fn managed_frames(&self) -> u64 {
        u64::from(self.shared.pages.zones(|zones| zones.managed_frames()))
    }

    /// The plan of faults.
    pub fn plan<R>(&mut self, work: impl FnOnce(&mut crate::inject::Plan) -> R) -> R {
        work(&mut self.shared.plan.borrow_mut())
    }

    /// Writes events down from now on.
    pub fn watch(&mut self) {
        self.shared.watched.set(true);
        self.log.get_or_insert_default();
    }

    /// The events since the last time. O(events).
    pub fn events(&mut self) -> Vec<Event> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Keeps a process's state at each event from now on.
    pub(crate) fn keep_states(&mut self, pid: Pid) {
        let last = MachineState::of(self, pid);
        self.kept = Some(Kept { pid, last, states: Vec::new() });
    }

    /// The states at the events since the last time, one each.
    pub(crate) fn take_states(&mut self) -> Vec<MachineState> {
        self.kept.as_mut().map(|kept| std::mem::take(&mut kept.states)).unwrap_or_default()
    }

    /// Events since the last time.
    pub(crate) fn event_count(&self) -> usize {
        self.log.as_ref().map_or(0, Vec::len)
    }

    /// The processes, by number. O(processes) to walk.
    pub fn processes(&self) -> impl Iterator<Item = &Process<'m>> {
        self.processes.values()
    }

    /// A process. O(log processes).
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&Process<'m>> {
        self.processes.get(&pid)
    }

    /// A process, to change what an administrator may. O(log processes).
    pub fn process_mut(&mut self, pid: Pid) -> Option<&mut Process<'m>> {
        self.processes.get_mut(&pid)
    }

    /// A memory group.
    #[must_use]
    pub fn group(&self, group: u32) -> Option<&Group> {
        self.groups.get(&group)
    }

    /// Makes a memory group of so many pages, or changes its limit.
    pub fn set_group(&mut self, group: u32, limit: u64) {
        self.groups.entry(group).or_insert(Group::new(limit)).limit = limit;
    }

    /// Puts a process into a group: what it has counts there from now on.
    pub fn join_group(&mut self, pid: Pid, group: u32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if let Some(old) = process.group.replace(group).and_then(|old| self.groups.get_mut(&old)) {
            old.usage -= process.charged;
        }
        let group = self.groups.entry(group).or_insert(Group::new(UNLIMITED));
        group.usage += process.charged;
        group.peak = group.peak.max(group.usage);
    }

    /// The processor that runs, from now on.
    ///
    /// # Panics
    /// If there is no such processor.
    pub fn on_cpu(&mut self, cpu: usize) {
        assert!(cpu < self.cpus(), "no processor {cpu}");
        self.shared.cpu.set(cpu);
    }

    /// A process and the parts that its memory's verbs need.
    pub(crate) fn parts(&mut self, pid: Pid) -> Option<(&mut Process<'m>, Env<'_, 'm>)> {
        let process = self.processes.get_mut(&pid)?;
        let env = Env {
            nodes: &mut self.nodes,
            frames: &mut self.frames,
            files: &mut self.files,
            commit: &mut self.commit,
        };
        Some((process, env))
    }

    /// The processor that runs takes this process; others' pages leave the window.
    pub(crate) fn enter(&mut self, pid: Pid) {
        let cpu = self.shared.cpu.get();
        let from = self.running[cpu];
        if let Some(process) = self.processes.get_mut(&pid) {
            process.cpus |= 1 << cpu;
            if process.in_window
                && let Some(window) = self.window
            {
                window.show(pid);
            }
        }
        if from != pid {
            self.running[cpu] = pid;
            if from != 0 {
                self.counts.switches += 1;
                self.emit(pid, self.prices.switch, What::Switch { from });
            }
        }
    }

    /// Prices what a verb did, follows its counters, and writes it down.
    pub(crate) fn account(&mut self, pid: Pid, before: Events, fixed_ns: u64, what: What) {
        let cpu = self.shared.cpu.get();
        let mut cost = fixed_ns;
        if let Some(process) = self.processes.get_mut(&pid) {
            let after = process.mm.events();
            let others = u64::from((process.cpus & !(1 << cpu)).count_ones());
            cost += self.prices.of(&before, &after, others);
            self.counts.add(&before, &after, others);
            if after.flushes != before.flushes {
                // Who has forgotten needs no further word until it runs again.
                process.cpus &= 1 << cpu;
            }
            let vmas = process.mm.map_count() as usize;
            self.objects.follow(&mut process.objects, vmas);
            charge(&mut self.groups, process);
        }
        self.emit(pid, cost, what);
    }

    pub(crate) fn emit(&mut self, pid: Pid, cost_ns: u64, what: What) {
        self.clock_ns += cost_ns;
        self.counts.steps += 1;
        self.counts.note(&what);
        let (cpu, at_ns) = (self.shared.cpu.get() as u32, self.clock_ns);
        if let Some(log) = &mut self.log {
            let before = log.len();
            for what in self.shared.steps.borrow_mut().drain(..) {
                log.push(Event { at_ns, cost_ns: 0, cpu, pid, what });
            }
            log.push(Event { at_ns, cost_ns, cpu, pid, what });
            let steps = log.len() - before - 1;
            if let Some(mut kept) = self.kept.take() {
                let state = MachineState::of(self, kept.pid);
                // The page allocator's steps came before the page table changed.
                let middle = MachineState {
                    blocks: state.blocks,
                    ready: state.ready,
                    time_ns: state.time_ns,
                    ..std::mem::take(&mut kept.last)
                };
                kept.states.extend(std::iter::repeat_n(middle, steps));
                kept.states.push(state.clone());
                kept.last = state;
                self.kept = Some(kept);
            }
        }
    }

    /// A new process that runs the usual small program: code, data, .bss, a stack, an interpreter.
    /// O(VMAs of the program × log).
    ///
    /// # Errors
    /// What `exec` refuses with; no memory for the process's own objects.
    pub fn spawn(&mut self, name: &str) -> Result<Pid, heapwise_vm::Error> {
        let objects = self.objects.admit().map_err(|_| heapwise_vm::Error::OutOfFrames)?;
        let pid = self.next_pid;
        let in_window = self.window.is_some() && !self.processes.values().any(|p| p.in_window);
        let window = if in_window { self.window } else { None };
        let table = SimTable::new(self.arena, window.map(|window| (window, pid)));
        let layout = match window {
            Some(window) => window_layout(window),
            None => {
                let rng = &mut self.rng;
                Layout::new(Width::Bits64, self.aslr, &self.limits, &self.policy, &mut || {
                    rng.word()
                })
            }
        };
        let mm = Mm::new(table, layout, self.limits, self.policy);
        self.next_pid += 1;
        self.processes.insert(
            pid,
            Process {
                pid,
                parent: 0,
                name: name.to_owned(),
                mm,
                group: None,
                oom_adjust: 0,
                cpus: 0,
                in_window,
                charged: 0,
                objects,
            },
        );
        self.enter(pid);
        let start = Start {
            program: program_image(self.program),
            interpreter: Some(library_image(self.library)),
            argument_bytes: name.len() as u64 + 1,
            environment_bytes: 64,
            vdso: !in_window,
        };
        let Some((process, mut env)) = self.parts(pid) else {
            return Err(heapwise_vm::Error::Argument);
        };
        let before = process.mm.events();
        match process.mm.exec(&mut env, &start) {
            Ok(entry) => {
                let price = self.prices.system_call + self.prices.mapping * 8;
                self.account(pid, before, price, What::Exec { entry });
                Ok(pid)
            }
            Err(error) => {
                self.exit(pid);
                Err(error)
            }
        }
    }

    /// Takes a process's objects out of the machine's books once its memory is gone.
    pub(crate) fn bury(&mut self, mut process: Process<'m>) {
        let held: Held = std::mem::take(&mut process.objects);
        self.objects.dismiss(held);
        if let Some(group) = process.group.and_then(|group| self.groups.get_mut(&group)) {
            group.usage -= process.charged;
        }
        for cpu in &mut self.running {
            if *cpu == process.pid {
                *cpu = 0;
            }
        }
    }

    /// A file of so many pages, for scripts to map. O(files).
    ///
    /// # Errors
    /// Too many files.
    pub fn create_file(&mut self, pages: u64) -> Result<FileId, heapwise_vm::Error> {
        let file = self.files.create(FileKind::Regular, pages, "/tmp/file");
        file.ok_or(heapwise_vm::Error::OutOfFiles)
    }

    /// The maker of a file lets go of it. O(pages of the file).
    pub fn close_file(&mut self, file: FileId) {
        let promised = self.files.close(file, &mut self.frames);
        self.commit.uncharge(promised);
    }

    /// The watermarks of the highest zone.
    #[must_use]
    pub fn watermarks(&self) -> Option<Watermarks> {
        self.shared.pages.zones(|zones| zones.iter().last().map(|zone| *zone.watermarks()))
    }
}

/// A process's pages, as its group counts them.
fn charge(groups: &mut BTreeMap<u32, Group>, process: &mut Process<'_>) {
    let now = process.mm.rss().anon + process.mm.rss().shmem;
    let was = std::mem::replace(&mut process.charged, now);
    if let Some(group) = process.group.and_then(|group| groups.get_mut(&group)) {
        group.usage = group.usage + now - was;
        group.peak = group.peak.max(group.usage);
    }
}

/// The image of the small program, as linkers lay it out.
const fn program_image(file: FileId) -> Image<'static> {
    const SEGMENTS: &[Segment] = &[
        Segment {
            address: 0,
            offset: 0,
            file_bytes: 0x1000,
            memory_bytes: 0x1000,
            prot: Prot::READ,
        },
        Segment {
            address: 0x1000,
            offset: 0x1000,
            file_bytes: 0x8000,
            memory_bytes: 0x8000,
            prot: Prot::RX,
        },
        Segment {
            address: 0x9000,
            offset: 0x9000,
            file_bytes: 0x2000,
            memory_bytes: 0x2000,
            prot: Prot::READ,
        },
        Segment {
            address: 0xb000,
            offset: 0xb000,
            file_bytes: 0x1800,
            memory_bytes: 0x5000,
            prot: Prot::RW,
        },
    ];
    Image { file, segments: SEGMENTS, entry: 0x1040, relocatable: true }
}

/// The image of its interpreter.
const fn library_image(file: FileId) -> Image<'static> {
    const SEGMENTS: &[Segment] = &[
        Segment {
            address: 0,
            offset: 0,
            file_bytes: 0x2_6000,
            memory_bytes: 0x2_6000,
            prot: Prot::RX,
        },
        Segment {
            address: 0x2_6000,
            offset: 0x2_6000,
            file_bytes: 0x4000,
            memory_bytes: 0x4000,
            prot: Prot::RW,
        },
    ];
    Image { file, segments: SEGMENTS, entry: 0x1000, relocatable: true }
}

/// The usual layout, drawn together to a window's length.
fn window_layout(window: &Window) -> Layout {
    let span = window.span();
    let bytes = span.bytes();
    Layout {
        width: Width::Bits64,
        task_size: span.end,
        mmap_base: span.end.down(128 << 20),
        legacy_base: span.start.up(bytes / 2),
        stack_top: span.end,
        brk_offset: 0,
        dyn_base: span.start.up(1 << 20),
        legacy: false,
    }
}
