//! System calls: counted, perhaps failed by the plan, priced, written down.

use crate::event::{Outcome, Pid, What};
use crate::inject::Injection;
use crate::kernel::Kernel;
use crate::process::Process;
use crate::table::SimTable;
use heapwise_pages::PAGE_SIZE;
use heapwise_vm::{
    Advice, Env, Errno, Error, Events, MapFlags, MapRequest, Mm, Prot, RemapRequest, Span, VirtAddr,
};

impl<'m> Kernel<'m> {
    /// What the plan has for this call; true if it fails.
    fn begin(&mut self, pid: Pid) -> bool {
        self.enter(pid);
        self.counts.calls += 1;
        let Some(what) = self.plan(crate::inject::Plan::call) else { return false };
        self.emit(pid, 0, What::Injected { what });
        match what {
            Injection::CallFails => return true,
            Injection::FrameMissing => {
                self.plan(|plan| plan.frames_missing = Some((plan.frames_seen + 1, 1)));
            }
            Injection::ForeignSbrk(bytes) => {
                if let Some((process, mut env)) = self.parts(pid) {
                    let to = process.mm.bounds.brk.get().wrapping_add_signed(bytes);
                    process.mm.brk(&mut env, VirtAddr::new(to));
                }
            }
            Injection::MappingInTheWay => {
                if let Some((process, mut env)) = self.parts(pid) {
                    let page = process.mm.bounds.brk.up(PAGE_SIZE - 1).page();
                    let request = MapRequest::anonymous(PAGE_SIZE, Prot::NONE).at(page);
                    // Where something is in the way already, nothing needs to be done.
                    let _ = process.mm.mmap(&mut env, request.with(MapFlags::FIXED_NOREPLACE));
                }
            }
            Injection::OutOfMemory => {
                self.kill_someone(None);
            }
        }
        false
    }

    /// One verb on one process.
    fn verb<T>(
        &mut self,
        pid: Pid,
        verb: impl FnOnce(&mut Mm<SimTable<'m>>, &mut Env<'_, 'm>) -> Result<T, Error>,
        value: impl FnOnce(&T) -> u64,
        what: impl FnOnce(Outcome) -> What,
    ) -> Result<T, Errno> {
        let fails = self.begin(pid);
        // Injected OOM may have ended it.
        let Some((process, mut env)) = self.parts(pid) else { return Err(Errno::Enomem) };
        let before = process.mm.events();
        let result = if fails {
            Err(Errno::Enomem)
        } else {
            verb(&mut process.mm, &mut env).map_err(Error::errno)
        };
        let outcome = result.as_ref().map(value).map_err(|errno| *errno);
        self.account(pid, before, self.prices.system_call + self.prices.mapping, what(outcome));
        result
    }

    /// `brk`: the break afterwards. O(log VMAs), plus O(pages) that go.
    pub fn brk(&mut self, pid: Pid, wanted: VirtAddr) -> VirtAddr {
        self.move_break(pid, |_| wanted).map_or(VirtAddr::NULL, |(_, now)| now)
    }

    /// `sbrk`, as a C library does it: the break before, or `None` if it did not move.
    /// As [`brk`](Self::brk).
    pub fn sbrk(&mut self, pid: Pid, delta: i64) -> Option<VirtAddr> {
        let to = |was: VirtAddr| VirtAddr::new(was.get().wrapping_add_signed(delta));
        self.move_break(pid, to).filter(|(was, now)| *now == to(*was)).map(|(was, _)| was)
    }

    fn move_break(
        &mut self,
        pid: Pid,
        wanted: impl FnOnce(VirtAddr) -> VirtAddr,
    ) -> Option<(VirtAddr, VirtAddr)> {
        let fails = self.begin(pid);
        let (process, mut env) = self.parts(pid)?;
        let before = process.mm.events();
        let was = process.mm.bounds.brk;
        let wanted = wanted(was);
        let now = if fails { was } else { process.mm.brk(&mut env, wanted) };
        let price = self.prices.system_call + self.prices.mapping;
        self.account(pid, before, price, What::Brk { wanted, was, now });
        Some((was, now))
    }

    /// `mmap`. O(log VMAs), plus O(pages) that are populated or replaced.
    ///
    /// # Errors
    /// Linux's number.
    pub fn mmap(&mut self, pid: Pid, request: MapRequest) -> Result<VirtAddr, Errno> {
        let MapRequest { at, length, prot, flags, .. } = request;
        self.verb(
            pid,
            |mm, env| mm.mmap(env, request),
            |at| at.get(),
            |outcome| What::Mmap { at, length, prot, flags, outcome },
        )
    }

    /// `munmap`. O(log VMAs + pages).
    ///
    /// # Errors
    /// Linux's number.
    pub fn munmap(&mut self, pid: Pid, at: VirtAddr, length: u64) -> Result<(), Errno> {
        self.verb(
            pid,
            |mm, env| mm.munmap(env, at, length),
            |()| 0,
            |outcome| What::Munmap { at, length, outcome },
        )
    }

    /// `mremap`. O(log VMAs + pages moved).
    ///
    /// # Errors
    /// Linux's number.
    pub fn mremap(&mut self, pid: Pid, request: RemapRequest) -> Result<VirtAddr, Errno> {
        let RemapRequest { at, old_length: old, new_length: new, .. } = request;
        self.verb(
            pid,
            |mm, env| mm.mremap(env, request),
            |at| at.get(),
            |outcome| What::Mremap { at, old, new, outcome },
        )
    }

    /// `mprotect`. O(VMAs and pages in the range).
    ///
    /// # Errors
    /// Linux's number.
    pub fn mprotect(
        &mut self,
        pid: Pid,
        at: VirtAddr,
        length: u64,
        prot: Prot,
    ) -> Result<(), Errno> {
        self.verb(
            pid,
            |mm, env| mm.mprotect(env, at, length, prot),
            |()| 0,
            |outcome| What::Mprotect { at, length, prot, outcome },
        )
    }

    /// `madvise`. O(VMAs and pages in the range).
    ///
    /// # Errors
    /// Linux's number.
    pub fn madvise(
        &mut self,
        pid: Pid,
        at: VirtAddr,
        length: u64,
        advice: Advice,
    ) -> Result<(), Errno> {
        self.verb(
            pid,
            |mm, env| mm.madvise(env, at, length, advice),
            |()| 0,
            |outcome| What::Madvise { at, length, advice, outcome },
        )
    }

    /// `process_madvise` of a process on itself: one advice for several ranges, in one call. The
    /// bytes that were advised: it ends at the first range that is refused.
    /// O(ranges × log VMAs + pages).
    ///
    /// # Errors
    /// Linux's number, if that is the first range.
    pub fn process_madvise(
        &mut self,
        pid: Pid,
        spans: &[Span],
        advice: Advice,
    ) -> Result<u64, Errno> {
        let length = spans.iter().map(|span| span.bytes()).sum();
        self.verb(
            pid,
            |mm, env| {
                let mut done = 0;
                for span in spans {
                    match mm.madvise(env, span.start, span.bytes(), advice) {
                        Ok(()) => done += span.bytes(),
                        Err(error) if done == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(done)
            },
            |done| *done,
            |outcome| What::ProcessMadvise { ranges: spans.len(), length, advice, outcome },
        )
    }

    /// `fork`: the child, which does not show in the window. O(VMAs + pages).
    ///
    /// # Errors
    /// Linux's number.
    pub fn fork(&mut self, pid: Pid) -> Result<Pid, Errno> {
        if self.begin(pid) {
            return Err(Errno::Enomem);
        }
        let objects = self.objects.admit().map_err(|_| Errno::Enomem)?;
        let table = SimTable::new(self.arena, None);
        let Some((process, mut env)) = self.parts(pid) else {
            self.objects.dismiss(objects);
            return Err(Errno::Enomem);
        };
        let before = process.mm.events();
        let forked = process.mm.fork(&mut env, table).map_err(Error::errno);
        let (name, group) = (process.name.clone(), process.group);
        let (oom_adjust, pages) = (process.oom_adjust, process.mm.rss().total());
        let mm = match forked {
            Ok(mm) => mm,
            Err(errno) => {
                self.objects.dismiss(objects);
                return Err(errno);
            }
        };
        let child = self.next_pid;
        self.next_pid += 1;
        self.processes.insert(
            child,
            Process {
                pid: child,
                parent: pid,
                name,
                mm,
                group,
                oom_adjust,
                cpus: 0,
                in_window: false,
                charged: 0,
                objects,
            },
        );
        let price = self.prices.system_call + self.prices.mapping * 4 + pages * 20;
        self.account(pid, before, price, What::Fork { child });
        // The child's pages and objects count from its first moment.
        self.account(child, Events::default(), 0, What::Born { parent: pid });
        Ok(child)
    }

    /// `exit`: everything goes back. O(VMAs + pages).
    pub fn exit(&mut self, pid: Pid) {
        if !self.processes.contains_key(&pid) {
            return;
        }
        self.enter(pid);
        self.end(pid, What::Exit);
    }

    pub(crate) fn end(&mut self, pid: Pid, what: What) {
        let Some((process, mut env)) = self.parts(pid) else { return };
        let before = process.mm.events();
        process.mm.exit(&mut env);
        self.account(pid, before, self.prices.system_call + self.prices.mapping, what);
        if let Some(process) = self.processes.remove(&pid) {
            self.bury(process);
        }
    }
}
