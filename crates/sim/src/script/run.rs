//! Runs a script on a machine, statement by statement.

use super::expect::{Comparison, Expectation, Figure};
use super::parse::{ScriptError, parse_step};
use super::{How, Part, Script, Statement, Step};
use crate::event::{Event, Pid, errno_name};
use crate::kernel::{BootError, Kernel, boot};
use crate::touch::TouchError;
use heapwise_pages::slab::{CacheId, CacheSpec};
use heapwise_pages::{Order, PAGE_SIZE, Pfn, Request, SlabError, Virt};
use heapwise_vm::{
    Errno, FaultError, MapFlags, MapRequest, RemapRequest, VirtAddr, VmallocError, page_align,
};
use std::collections::BTreeMap;

/// One line of what a run tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Line {
    /// Words of the script's own.
    Said(String),
    /// A statement, how it ended, and its steps where they are watched.
    Did {
        /// Its line.
        line: usize,
        /// Its text.
        text: String,
        /// How it ended.
        ended: String,
        /// What happened.
        events: Vec<Event>,
    },
    /// Something of `/proc`.
    Shown {
        /// Which.
        title: String,
        /// Its text.
        text: String,
    },
    /// An expectation.
    Checked {
        /// Its line.
        line: usize,
        /// Its text.
        text: String,
        /// What was found.
        found: String,
        /// Whether it holds.
        holds: bool,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it tells, in order.
    pub lines: Vec<Line>,
    /// Steps priced.
    pub steps: u64,
    /// Simulated time, in nanoseconds.
    pub time_ns: u64,
}

impl Run {
    /// Expectations that do not hold.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Checked { holds: false, .. })).count()
    }

    /// Expectations in all.
    #[must_use]
    pub fn checked(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Checked { .. })).count()
    }
}

/// Runs a script. `watched`: every step is kept.
///
/// # Errors
/// The machine does not start; a statement that cannot be run (an unknown name).
pub fn run(script: &Script, watched: bool) -> Result<Run, RunError> {
    let result = boot(&script.config, |kernel| {
        if watched {
            kernel.watch();
        }
        let mut runner = Runner::new(kernel);
        for statement in &script.statements {
            runner.statement(statement)?;
        }
        let (steps, time_ns) = (runner.kernel.counts.steps, runner.kernel.now_ns());
        Ok(Run { lines: runner.lines, steps, time_ns })
    });
    match result {
        Ok(run) => run.map_err(RunError::Script),
        Err(error) => Err(RunError::Boot(error)),
    }
}

/// Why a script did not run to its end.
#[derive(Debug)]
pub enum RunError {
    /// The machine did not start.
    Boot(BootError),
    /// A statement makes no sense here.
    Script(ScriptError),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boot(error) => error.fmt(f),
            Self::Script(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// A mapping that a script has a name for.
#[derive(Clone, Copy)]
struct Mapping {
    at: VirtAddr,
    bytes: u64,
}

/// A kernel allocation that a script has a name for.
#[derive(Clone, Copy)]
enum Held {
    Pages(Pfn, Order),
    Kmalloc(Virt),
    Object(CacheId, Virt),
    Vmalloc(VirtAddr),
}

struct Runner<'k, 'm> {
    kernel: &'k mut Kernel<'m>,
    pids: BTreeMap<String, Pid>,
    /// By process and name; a child begins with its parent's.
    mappings: BTreeMap<(Pid, String), Mapping>,
    held: BTreeMap<String, Held>,
    caches: BTreeMap<String, (CacheId, u64)>,
    marks: BTreeMap<String, u64>,
    /// What statements in vain would have given a name to, and how they ended.
    missed: BTreeMap<String, String>,
    ended: String,
    lines: Vec<Line>,
}

type Ended = Result<String, String>;

fn errno(errno: Errno) -> String {
    errno_name(errno).to_owned()
}

fn signal(error: &TouchError) -> String {
    match error {
        TouchError::Signal(FaultError::BeyondFile) => "SIGBUS",
        TouchError::Signal(FaultError::OutOfMemory) => "ENOMEM",
        TouchError::Signal(_) => "SIGSEGV",
        TouchError::Killed | TouchError::NoProcess => "killed",
        TouchError::Deadlock => "deadlock",
    }
    .to_owned()
}

fn of_process(name: &str) -> String {
    format!("process {name}")
}

fn of_mapping(name: &str, var: &str) -> String {
    format!("{name} mapping {var}")
}

fn of_kernel(var: &str) -> String {
    format!("kernel {var}")
}

/// What a statement gives a name to.
fn named(step: &Step) -> Option<String> {
    match step {
        Step::Process { name, .. } | Step::Fork { child: name, .. } => Some(of_process(name)),
        Step::Mmap { name, var, .. } => Some(of_mapping(name, var)),
        Step::Pages { var, .. }
        | Step::Kmalloc { var, .. }
        | Step::Vmalloc { var, .. }
        | Step::Object { var, .. } => Some(of_kernel(var)),
        _ => None,
    }
}

impl<'k, 'm> Runner<'k, 'm> {
    fn new(kernel: &'k mut Kernel<'m>) -> Self {
        Self {
            kernel,
            pids: BTreeMap::new(),
            mappings: BTreeMap::new(),
            held: BTreeMap::new(),
            caches: BTreeMap::new(),
            marks: BTreeMap::new(),
            missed: BTreeMap::new(),
            ended: "ok".into(),
            lines: Vec::new(),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), ScriptError> {
        let Statement { line, text, step } = statement;
        let failed = |why| ScriptError { line: *line, why };
        match step {
            Step::Say(words) => self.lines.push(Line::Said(words.clone())),
            Step::Show { what, name } => {
                let (title, text) = self.show(what, name.as_deref()).map_err(failed)?;
                self.lines.push(Line::Shown { title, text });
            }
            Step::Expect(expectation) => {
                let (found, holds) = self.expect(expectation).map_err(failed)?;
                let (line, text) = (*line, text.clone());
                self.lines.push(Line::Checked { line, text, found, holds });
            }
            Step::Repeat { times, text: inner } => {
                let mut last = "ok".to_owned();
                let mut done = 0;
                for turn in 0..*times {
                    let step =
                        parse_step(&inner.replace('%', &turn.to_string())).map_err(failed)?;
                    let ended = self.step(&step).map_err(failed)?;
                    self.note(*line, text, &step, &ended);
                    last = ended.unwrap_or_else(|ended| ended);
                    if self.ended != "ok" {
                        break;
                    }
                    done += 1;
                }
                let ended = format!("{done} times, {last}");
                self.did(*line, text, ended);
            }
            _ => {
                let ended = self.step(step).map_err(failed)?;
                self.note(*line, text, step, &ended);
                let holds = ended.is_ok();
                let found = ended.unwrap_or_else(|ended| ended);
                if let Step::Load { .. } = step {
                    let (line, text) = (*line, text.clone());
                    self.lines.push(Line::Checked { line, text, found, holds });
                } else {
                    self.did(*line, text, found);
                }
            }
        }
        Ok(())
    }

    fn did(&mut self, line: usize, text: &str, ended: String) {
        let events = self.kernel.events();
        self.lines.push(Line::Did { line, text: text.to_owned(), ended, events });
    }

    /// Runs one; its outcome in words (`Ok` if it went well), an error if it makes no sense.
    fn step(&mut self, step: &Step) -> Result<Ended, String> {
        let ended = self.act(step)?;
        self.ended = match &ended {
            Ok(_) => "ok".to_owned(),
            Err(ending) => ending.clone(),
        };
        Ok(ended)
    }

    /// Remembers a statement that would have given something a name, and did not.
    fn note(&mut self, line: usize, text: &str, step: &Step, ended: &Ended) {
        let Some(named) = named(step) else { return };
        match ended {
            Ok(_) => self.missed.remove(&named),
            Err(ending) => {
                self.missed.insert(named, format!("`{text}` in line {line} ended in {ending}"))
            }
        };
    }

    /// That there is no such thing, and why.
    fn without(&self, named: &str, why: String) -> String {
        match self.missed.get(named) {
            Some(ended) => format!("{why}: {ended}"),
            None => why,
        }
    }

    fn pid(&self, name: &str) -> Result<Pid, String> {
        let none = || self.without(&of_process(name), format!("there is no process `{name}`"));
        self.pids.get(name).copied().ok_or_else(none)
    }

    fn mapping(&self, name: &str, var: &str) -> Result<(Pid, Mapping), String> {
        let pid = self.pid(name)?;
        let mapping = self.mappings.get(&(pid, var.to_owned())).copied();
        let none =
            || self.without(&of_mapping(name, var), format!("`{name}` has no mapping `{var}`"));
        Ok((pid, mapping.ok_or_else(none)?))
    }

    fn part(&self, name: &str, var: &str, part: Part) -> Result<(Pid, VirtAddr, u64), String> {
        let (pid, mapping) = self.mapping(name, var)?;
        let (offset, bytes) = part.unwrap_or((0, mapping.bytes));
        Ok((pid, VirtAddr::new(mapping.at.get().wrapping_add(offset)), bytes))
    }

    fn act(&mut self, step: &Step) -> Result<Ended, String> {
        let fine = |()| "ok".to_owned();
        Ok(match step {
            Step::Process { name, group, adjust } => match self.kernel.spawn(name) {
                Ok(pid) => {
                    self.pids.insert(name.clone(), pid);
                    if let Some(group) = group {
                        self.kernel.join_group(pid, *group);
                    }
                    if let Some(process) = self.kernel.process_mut(pid) {
                        process.oom_adjust = *adjust;
                    }
                    Ok(format!("pid {pid}"))
                }
                Err(error) => Err(errno(error.errno())),
            },
            Step::Group { group, bytes } => {
                self.kernel.set_group(*group, bytes / PAGE_SIZE);
                Ok("ok".into())
            }
            Step::Mark(name) => {
                self.marks.insert(name.clone(), self.kernel.free_frames());
                Ok("ok".into())
            }
            Step::Cpu(cpu) => {
                if *cpu >= self.kernel.cpus() {
                    return Err(format!("there is no processor {cpu}"));
                }
                self.kernel.on_cpu(*cpu);
                Ok("ok".into())
            }
            Step::Brk { name, delta } => self.brk(self.pid(name)?, *delta),
            Step::Mmap { name, var, bytes, how } => self.mmap(name, var, *bytes, *how)?,
            Step::Munmap { name, var, part } => {
                let (pid, at, bytes) = self.part(name, var, *part)?;
                self.kernel.munmap(pid, at, bytes).map(fine).map_err(errno)
            }
            Step::Mremap { name, var, bytes } => {
                let (pid, mapping) = self.mapping(name, var)?;
                let request = RemapRequest::resize(mapping.at, mapping.bytes, *bytes);
                self.kernel.mremap(pid, request).map_err(errno).map(|at| {
                    let mapping = Mapping { at, bytes: page_align(*bytes) };
                    self.mappings.insert((pid, var.clone()), mapping);
                    format!("{at:#x}")
                })
            }
            Step::Mprotect { name, var, prot, part } => {
                let (pid, at, bytes) = self.part(name, var, *part)?;
                self.kernel.mprotect(pid, at, bytes, *prot).map(fine).map_err(errno)
            }
            Step::Madvise { name, var, advice, part, every } => {
                let (pid, at, bytes) = self.part(name, var, *part)?;
                let whole = *every <= 1;
                let (step, length) =
                    if whole { (bytes.max(1), bytes) } else { (every * PAGE_SIZE, PAGE_SIZE) };
                let mut result = Ok(());
                let mut offset = 0;
                while offset < bytes && result.is_ok() {
                    result = self.kernel.madvise(pid, at.up(offset), length, *advice);
                    offset += step;
                }
                result.map(fine).map_err(errno)
            }
            Step::Touch { name, var, access, part } => {
                let (pid, at, bytes) = self.part(name, var, *part)?;
                let result = self.kernel.touch_range(pid, at, bytes, *access);
                result.map(fine).map_err(|error| signal(&error))
            }
            Step::Store { name, var, offset, word } => {
                let (pid, mapping) = self.mapping(name, var)?;
                let at = VirtAddr::new(mapping.at.get().wrapping_add(*offset)).page();
                self.kernel.store(pid, at, *word).map(fine).map_err(|error| signal(&error))
            }
            Step::Load { name, var, offset, word } => {
                let (pid, mapping) = self.mapping(name, var)?;
                let at = VirtAddr::new(mapping.at.get().wrapping_add(*offset)).page();
                match self.kernel.load(pid, at) {
                    Ok(found) if found == *word => Ok(found.to_string()),
                    Ok(found) => Err(format!("{found}, not {word}")),
                    Err(error) => Err(signal(&error)),
                }
            }
            Step::Fork { name, child } => {
                let parent = self.pid(name)?;
                self.kernel.fork(parent).map_err(errno).map(|pid| {
                    self.pids.insert(child.clone(), pid);
                    let copies: Vec<_> = self
                        .mappings
                        .iter()
                        .filter(|((of, _), _)| *of == parent)
                        .map(|((_, var), mapping)| ((pid, var.clone()), *mapping))
                        .collect();
                    self.mappings.extend(copies);
                    format!("pid {pid}")
                })
            }
            Step::Exit { name } => {
                self.kernel.exit(self.pid(name)?);
                Ok("ok".into())
            }
            Step::FailFrame { nth, count } => {
                self.kernel.plan(|plan| plan.frames_missing = Some((*nth, *count)));
                Ok("ok".into())
            }
            Step::AtCall { nth, what } => {
                self.kernel.plan(|plan| plan.at_call(*nth, *what));
                Ok("ok".into())
            }
            Step::Pages { .. }
            | Step::Kmalloc { .. }
            | Step::Vmalloc { .. }
            | Step::KernelFree { .. }
            | Step::Cache { .. }
            | Step::Object { .. }
            | Step::Shrink
            | Step::Compact { .. } => self.kernel_step(step)?,
            Step::Repeat { .. } | Step::Say(_) | Step::Show { .. } | Step::Expect(_) => {
                return Err("this cannot be repeated".into());
            }
        })
    }

    fn brk(&mut self, pid: Pid, delta: i64) -> Ended {
        let Some(process) = self.kernel.process(pid) else { return Err("killed".into()) };
        let wanted = process.mm.bounds.brk.get().wrapping_add_signed(delta);
        let now = self.kernel.brk(pid, VirtAddr::new(wanted));
        if now.get() == wanted { Ok(format!("{now:#x}")) } else { Err("ENOMEM".into()) }
    }

    fn mmap(&mut self, name: &str, var: &str, bytes: u64, how: How) -> Result<Ended, String> {
        let pid = self.pid(name)?;
        let mut request = MapRequest::anonymous(bytes, how.prot);
        if how.shared {
            request.flags = MapFlags::SHARED | MapFlags::ANONYMOUS;
        }
        for (wanted, flag) in
            [(how.populate, MapFlags::POPULATE), (how.noreserve, MapFlags::NORESERVE)]
        {
            if wanted {
                request = request.with(flag);
            }
        }
        if let Some(distance) = how.above_break
            && let Some(process) = self.kernel.process(pid)
        {
            let page = page_align(process.mm.bounds.brk.get().saturating_add(distance));
            request = request.at(VirtAddr::new(page)).with(MapFlags::FIXED_NOREPLACE);
        }
        Ok(self.kernel.mmap(pid, request).map_err(errno).map(|at| {
            let mapping = Mapping { at, bytes: page_align(bytes) };
            self.mappings.insert((pid, var.to_owned()), mapping);
            format!("{at:#x}")
        }))
    }

    fn kernel_step(&mut self, step: &Step) -> Result<Ended, String> {
        let slab = |error: SlabError| match error {
            SlabError::OutOfMemory => "ENOMEM".to_owned(),
            other => other.to_string(),
        };
        Ok(match step {
            Step::Pages { var, order } => {
                let order = Order::new(*order).ok_or("orders are 0 to 10")?;
                match self.kernel.take_block(order, Request::KERNEL) {
                    Some(pfn) => {
                        self.held.insert(var.clone(), Held::Pages(pfn, order));
                        Ok(format!("frames {} to {}", pfn.get(), pfn.get() + order.frames() - 1))
                    }
                    None => Err("ENOMEM".into()),
                }
            }
            Step::Kmalloc { var, bytes } => self.kernel.kmalloc(*bytes).map_err(slab).map(|at| {
                self.held.insert(var.clone(), Held::Kmalloc(at));
                let size = self.kernel.objects.ksize(at).unwrap_or(*bytes);
                format!("{size} bytes at physical {:#x}", self.physical(at))
            }),
            Step::Vmalloc { var, bytes } => self.vmalloc(var, *bytes),
            Step::KernelFree { var } => {
                let none = self.without(&of_kernel(var), format!("the kernel has no `{var}`"));
                let held = self.held.remove(var).ok_or(none)?;
                self.release(held).map_err(slab)
            }
            Step::Cache { cache, bytes } => {
                let bytes = u32::try_from(*bytes).map_err(|_| "an object that large?")?;
                // Names live as long as the program; scripts make a handful.
                let name: &'static str = Box::leak(cache.clone().into_boxed_str());
                let made = self.kernel.objects.create(&CacheSpec::new(name, bytes));
                made.map_err(slab).map(|id| {
                    self.caches.insert(cache.clone(), (id, 0));
                    "ok".into()
                })
            }
            Step::Object { var, cache } => {
                let (id, _) = *self
                    .caches
                    .get(cache)
                    .ok_or_else(|| format!("there is no cache `{cache}`"))?;
                self.kernel.cache_alloc(id).map_err(slab).map(|at| {
                    if let Some((_, objects)) = self.caches.get_mut(cache) {
                        *objects += 1;
                    }
                    self.held.insert(var.clone(), Held::Object(id, at));
                    format!("at physical {:#x}", self.physical(at))
                })
            }
            Step::Shrink => {
                self.kernel.objects.shrink();
                Ok("ok".into())
            }
            Step::Compact { order } => {
                let order = Order::new(*order).ok_or("orders are 0 to 10")?;
                let done = self.kernel.compact(order);
                let words = format!("{} frames moved", done.moved);
                if done.success { Ok(words) } else { Err("ENOMEM".into()) }
            }
            _ => return Err("not the kernel's".into()),
        })
    }

    fn vmalloc(&mut self, var: &str, bytes: u64) -> Ended {
        match self.kernel.vmalloc(bytes) {
            Ok(at) => {
                self.held.insert(var.to_owned(), Held::Vmalloc(at));
                Ok(format!("{at:#x}"))
            }
            Err(VmallocError::Size | VmallocError::NotAnArea | VmallocError::DoubleFree) => {
                Err("EINVAL".into())
            }
            Err(_) => Err("ENOMEM".into()),
        }
    }

    fn release(&mut self, held: Held) -> Result<String, SlabError> {
        match held {
            Held::Pages(pfn, order) => self.kernel.give_block(pfn, order),
            Held::Kmalloc(at) => self.kernel.kfree(at)?,
            Held::Vmalloc(at) => {
                self.kernel.vfree(at).map_err(|_| SlabError::DoubleFree)?;
            }
            Held::Object(cache, at) => {
                self.kernel.cache_free(cache, at)?;
                for (id, objects) in self.caches.values_mut() {
                    if *id == cache {
                        *objects -= 1;
                    }
                }
            }
        }
        Ok("ok".into())
    }

    /// A direct-map address as the machine's: host addresses stay out of the text.
    fn physical(&self, at: Virt) -> u64 {
        at.0 - self.kernel.ram.base() as u64
    }

    fn show(&self, what: &str, name: Option<&str>) -> Result<(String, String), String> {
        let pid = name.map(|name| self.pid(name)).transpose()?.unwrap_or(0);
        let text = match what {
            "maps" => self.kernel.maps(pid),
            "smaps" => self.kernel.smaps(pid),
            "status" => self.kernel.status(pid),
            "buddyinfo" => self.kernel.buddyinfo(),
            "pagetypeinfo" => self.kernel.pagetypeinfo(),
            "slabinfo" => self.kernel.slabinfo(),
            "vmallocinfo" => self.kernel.vmallocinfo(),
            "vmstat" => self.kernel.vmstat(),
            "meminfo" => self.kernel.meminfo(),
            _ => self.kernel.process_table(),
        };
        let title = match name {
            Some(name) => format!("{what} of {name}"),
            None => what.to_owned(),
        };
        Ok((title, text))
    }

    fn expect(&self, expectation: &Expectation) -> Result<(String, bool), String> {
        match expectation {
            Expectation::Ended(wanted) => Ok((self.ended.clone(), self.ended == *wanted)),
            Expectation::Figure(figure, comparison, wanted) => {
                let found = self.figure(figure)?;
                Ok((found.to_string(), Comparison::holds(*comparison, found, *wanted)))
            }
        }
    }

    fn figure(&self, figure: &Figure) -> Result<u64, String> {
        let process = |name: &str| {
            let process = self.pid(name).map(|pid| self.kernel.process(pid))?;
            process.ok_or_else(|| format!("`{name}` is not there any more"))
        };
        Ok(match figure {
            Figure::Rss(name) => process(name)?.mm.rss().total() * PAGE_SIZE,
            Figure::Anon(name) => process(name)?.mm.rss().anon * PAGE_SIZE,
            Figure::Size(name) => process(name)?.mm.usage().total * PAGE_SIZE,
            Figure::Faults(name) => process(name)?.mm.events().faults,
            Figure::Alive(name) => u64::from(self.kernel.process(self.pid(name)?).is_some()),
            Figure::Free => self.kernel.free_frames() * PAGE_SIZE,
            Figure::Committed => self.kernel.commit.committed * PAGE_SIZE,
            Figure::Kills => self.kernel.counts.oom_kills,
            Figure::Blocks(order) => u64::from(self.kernel.free_blocks()[*order as usize]),
            Figure::Used(mark) => {
                let before = self.marks.get(mark).ok_or(format!("there is no mark `{mark}`"))?;
                before.saturating_sub(self.kernel.free_frames()) * PAGE_SIZE
            }
            Figure::Contiguous(var) => {
                u64::from(self.held.get(var).is_some_and(|held| self.is_contiguous(held)))
            }
            Figure::Objects(cache) => {
                self.caches.get(cache).ok_or_else(|| format!("there is no cache `{cache}`"))?.1
            }
            Figure::Time => self.kernel.now_ns(),
        })
    }

    /// Whether its frames lie side by side in physical memory.
    fn is_contiguous(&self, held: &Held) -> bool {
        match held {
            // The direct map is linear: what is one block there is one in memory.
            Held::Pages(..) | Held::Kmalloc(..) | Held::Object(..) => true,
            Held::Vmalloc(at) => {
                let frames: Vec<u32> = self.kernel.vmalloc_frames(*at).map(Pfn::get).collect();
                frames.windows(2).all(|pair| pair[1] == pair[0] + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::parse;

    #[test]
    fn what_failed_earlier_is_told_where_it_is_missed() {
        for (text, line, told) in [
            (
                "process web\nweb mmap a 4G\nweb write a",
                4,
                "`web` has no mapping `a`: `web mmap a 4G` in line 3 ended in ENOMEM",
            ),
            ("process web\nweb write a", 3, "`web` has no mapping `a`"),
            (
                "kernel vmalloc v 4G\nkernel free v",
                3,
                "the kernel has no `v`: `kernel vmalloc v 4G` in line 2 ended in ENOMEM",
            ),
            ("repeat 99 kernel pages p% 10\nkernel free p98", 3, "the kernel has no `p98`"),
        ] {
            let script = parse(&format!("machine ram 64M overcommit 2\n{text}")).unwrap();
            let Err(RunError::Script(error)) = run(&script, false) else { panic!("{text}") };
            assert_eq!((error.line, error.why.as_str()), (line, told), "{text}");
        }
    }
}
