//! Counts the calls to the kernel by which a process changes its memory.
//!
//! A seccomp filter makes these calls alone stop the process, and we, its tracer,
//! count them: the others run at full speed. Threads are counted too; processes that
//! it forks are followed, since the filter is theirs as well, but not counted. A process that marks where its part of interest begins and ends
//! is counted between the marks, others from `exec` to the end.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::ptr;

use heapwise_inspect::span::Span;
use libc::{c_int, c_uint, pid_t};

use crate::script::Calls;
use crate::spans::Spans;

/// `madvise(NULL, 0, MARK_BEGIN)`: counting begins.
pub const MARK_BEGIN: usize = 0x4857_0001;
/// Counting ends.
pub const MARK_END: usize = 0x4857_0002;

const GET_SYSCALL_INFO: c_uint = 0x420e;

/// The calls that stop the process.
const COUNTED: [i64; 7] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_process_madvise,
];

/// Starts a command under the filter; [`follow`] must be called next, by the same thread.
///
/// # Errors
/// The command cannot be started, or tracing is forbidden here.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    let filter = filter();
    // SAFETY: the closure makes three system calls and touches no heap; the filter is its own.
    unsafe {
        command.pre_exec(move || {
            let program =
                libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) == -1
                || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    == -1
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

/// When a program that is followed stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When it starts, or another program in its place; and before its break first grows.
    Begins,
    /// Before a call by which its heap may lose pages: until then it only gains some.
    Shrinks,
    /// At its end, its memory still there.
    Ends,
}

/// Follows a command that [`spawn`] started to its end; its calls and its wait status.
///
/// # Errors
/// It cannot be waited for.
pub fn follow(child: &Child) -> io::Result<(Calls, c_int)> {
    follow_counter(Counter::new(child, Part::Marked, Spans::default()), |_| ())
}

/// Follows a program that knows nothing of us: counted are its calls that may be a malloc's, so no
/// mappings of files, of stacks, or at fixed places, and none that the loader or its own code asks
/// for (a collector with mappings of its own); and from the first growth of the break on, if there is one. `spans` is kept in line with the mappings that count; `observe` is called while the program stands still.
///
/// # Errors
/// It cannot be waited for.
pub fn follow_heap(
    child: &Child,
    spans: Spans,
    observe: impl FnMut(Moment),
) -> io::Result<(Calls, c_int)> {
    follow_counter(Counter::new(child, Part::Heap, spans), observe)
}

fn follow_counter(
    mut counter: Counter,
    mut observe: impl FnMut(Moment),
) -> io::Result<(Calls, c_int)> {
    const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_EXITKILL;
    let main = counter.main;
    let mut ready = false;
    loop {
        let (thread, status) = wait()?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if thread == main {
                return Ok((counter.calls, status));
            }
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let event = status >> 16;
        if !ready {
            // The stop at exec: the first there is.
            ready = true;
            let heaps = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_TRACEEXEC;
            let more = if counter.part == Part::Heap { heaps } else { 0 };
            request(libc::PTRACE_SETOPTIONS, thread, (OPTIONS | more) as usize);
            observe(Moment::Begins);
            request(libc::PTRACE_CONT, thread, 0);
            continue;
        }
        if event == libc::PTRACE_EVENT_SECCOMP {
            counter.count(thread, &mut observe);
        }
        if event == libc::PTRACE_EVENT_EXEC && thread == main {
            // Another program: its heap is what counts.
            (counter.calls, counter.begun) = (Calls::default(), false);
            counter.code = Code::default();
            counter.spans.clear();
            observe(Moment::Begins);
        }
        if event == libc::PTRACE_EVENT_EXIT && thread == main {
            observe(Moment::Ends);
        }
        // The tracer's own stops carry no signal; a new thread begins with one that is ours.
        let returned = event == 0 && signal == libc::SIGTRAP | 0x80;
        let own = event != 0 || returned || signal == libc::SIGTRAP || signal == libc::SIGSTOP;
        if returned {
            counter.returned(thread);
        }
        // Where it will be mapped stands in what the call returns.
        let wanted = event == libc::PTRACE_EVENT_SECCOMP && counter.pending.contains_key(&thread);
        let go_on = if wanted { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
        request(go_on, thread, if own { 0 } else { signal as usize });
    }
}

/// Which calls count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Those between the marks; all, if there are none.
    Marked,
    /// Those that may be a malloc's.
    Heap,
}

struct Counter {
    main: pid_t,
    part: Part,
    calls: Calls,
    /// The heap has grown.
    begun: bool,
    /// The mark of the end has been seen.
    over: bool,
    /// Whether a thread is one of the main process.
    own: HashMap<pid_t, bool>,
    /// Its code, as far as it was seen.
    code: Code,
    /// The mappings that count.
    spans: Spans,
    /// Bytes that threads have asked to be mapped, in calls that have not returned.
    pending: HashMap<pid_t, usize>,
    /// The end of the break that was asked for last.
    break_end: u64,
}

impl Counter {
    fn new(child: &Child, part: Part, spans: Spans) -> Self {
        Self {
            main: child.id() as pid_t,
            part,
            calls: Calls::default(),
            begun: false,
            over: false,
            own: HashMap::new(),
            code: Code::default(),
            spans,
            pending: HashMap::new(),
            break_end: 0,
        }
    }

    /// Whether a call may be one of a malloc's.
    fn is_heaps(&mut self, call: &Stopped, observe: &mut impl FnMut(Moment)) -> bool {
        let Stopped { number, args, .. } = *call;
        let anonymous = libc::MAP_ANONYMOUS as u64;
        let others = (libc::MAP_FIXED | libc::MAP_STACK | libc::MAP_SHARED) as u64;
        if !self.begun && number == libc::SYS_brk && args[0] != 0 {
            (self.calls, self.begun) = (Calls::default(), true);
            observe(Moment::Begins);
        }
        let kind = match number {
            libc::SYS_brk => args[0] != 0,
            libc::SYS_mmap => args[3] & (anonymous | others) == anonymous,
            _ => true,
        };
        kind && !self.code.is_programs(self.main, call)
    }

    /// What a call of the heap's does to its mappings.
    fn notice(&mut self, thread: pid_t, call: &Stopped, observe: &mut impl FnMut(Moment)) {
        let [first, second, third, ..] = call.args;
        let span = Span::new(first as usize, first.saturating_add(second) as usize);
        match call.number {
            libc::SYS_brk => {
                if first < self.break_end {
                    observe(Moment::Shrinks);
                }
                self.break_end = first;
            }
            libc::SYS_mmap => {
                self.pending.insert(thread, second as usize);
            }
            libc::SYS_munmap => {
                observe(Moment::Shrinks);
                self.spans.remove(span);
            }
            libc::SYS_mremap => {
                observe(Moment::Shrinks);
                self.spans.remove(span);
                self.pending.insert(thread, third as usize);
            }
            libc::SYS_madvise | libc::SYS_process_madvise => observe(Moment::Shrinks),
            _ => {}
        }
    }

    /// A call that maps something has returned.
    fn returned(&mut self, thread: pid_t) {
        if let Some(bytes) = self.pending.remove(&thread)
            && let Some(start) = returned_address(thread)
        {
            self.spans.add(Span::new(start, start.saturating_add(bytes)));
        }
    }

    fn count(&mut self, thread: pid_t, observe: &mut impl FnMut(Moment)) {
        let main = self.main;
        let is_own = || Path::new(&format!("/proc/{main}/task/{thread}")).exists();
        if self.over || !*self.own.entry(thread).or_insert_with(is_own) {
            return;
        }
        let Some(call) = seccomp_call(thread) else { return };
        if self.part == Part::Heap {
            if !self.is_heaps(&call, observe) {
                return;
            }
            self.notice(thread, &call, observe);
        }
        let Stopped { number, args, .. } = call;
        let calls = &mut self.calls;
        let counter = match number {
            libc::SYS_brk => &mut calls.brk,
            libc::SYS_mmap => &mut calls.mmap,
            libc::SYS_munmap => &mut calls.munmap,
            libc::SYS_mremap => &mut calls.mremap,
            libc::SYS_mprotect => &mut calls.mprotect,
            libc::SYS_madvise if args[0] == 0 && args[2] == MARK_BEGIN as u64 => {
                *calls = Calls::default();
                return;
            }
            libc::SYS_madvise if args[0] == 0 && args[2] == MARK_END as u64 => {
                self.over = true;
                return;
            }
            // The player's own, for its buffers; no malloc removes pages of files.
            libc::SYS_madvise if args[2] == libc::MADV_REMOVE as u64 => return,
            _ => &mut calls.madvise,
        };
        *counter += 1;
    }
}

/// Whose code something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Program,
    Loader,
    Library,
}

/// Mapped code of a program.
#[derive(Default)]
struct Code {
    /// First address, end, whose.
    mapped: Vec<(u64, u64, Whose)>,
}

impl Code {
    /// Whether the program's own code asks for a call, through the C library's function for it, or
    /// the loader does. A program that makes the call itself may have its malloc inside.
    fn is_programs(&mut self, pid: pid_t, call: &Stopped) -> bool {
        if self.find(call.instruction).is_none() {
            self.read(pid);
        }
        match self.find(call.instruction) {
            Some(Whose::Loader) => true,
            // The function may have saved a register or two above where it returns to.
            Some(Whose::Library) => {
                let words = stack_words(pid, call.stack);
                words.iter().find_map(|&word| self.find(word)) == Some(Whose::Program)
            }
            Some(Whose::Program) | None => false,
        }
    }

    fn find(&self, address: u64) -> Option<Whose> {
        let place = self.mapped.iter().find(|(start, end, _)| (*start..*end).contains(&address));
        place.map(|&(.., whose)| whose)
    }

    fn read(&mut self, pid: pid_t) {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let code = |line: &str| -> Option<(u64, u64, Whose)> {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let is_code = fields.next()?.as_bytes().get(2) == Some(&b'x');
            let number = |text| u64::from_str_radix(text, 16).ok();
            let path = Path::new(fields.nth(3).unwrap_or_default());
            let is_loader =
                path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"ld-"));
            let whose = match path {
                path if path == program => Whose::Program,
                _ if is_loader => Whose::Loader,
                _ => Whose::Library,
            };
            is_code.then_some((number(start)?, number(end)?, whose))
        };
        self.mapped = maps.lines().filter_map(code).collect();
    }
}

/// The first words at an address of a process that stands still; fewer where it cannot be read.
fn stack_words(pid: pid_t, address: u64) -> Vec<u64> {
    let mut bytes = [0; 8 * 4];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"));
    let got = memory.and_then(|memory| memory.read_at(&mut bytes, address)).unwrap_or(0);
    bytes[..got].chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect()
}

/// A call before which a thread stands.
struct Stopped {
    number: i64,
    args: [u64; 6],
    instruction: u64,
    stack: u64,
}

/// The call at which a thread stands.
fn call_of(thread: pid_t) -> Option<libc::ptrace_syscall_info> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let got =
        unsafe { libc::ptrace(GET_SYSCALL_INFO, thread, size as *mut c_void, info.as_mut_ptr()) };
    // SAFETY: zeroed plain integers, then written by the kernel.
    let info = unsafe { info.assume_init() };
    (got > 0).then_some(info)
}

/// What the call that a thread comes from has returned, if it is an address.
fn returned_address(thread: pid_t) -> Option<usize> {
    let info = call_of(thread).filter(|info| info.op == libc::PTRACE_SYSCALL_INFO_EXIT)?;
    // SAFETY: `op` says which member is there.
    let exit = unsafe { info.u.exit };
    (exit.is_error == 0).then_some(exit.sval as usize)
}

/// The call before which a thread stands.
fn seccomp_call(thread: pid_t) -> Option<Stopped> {
    let info = call_of(thread).filter(|info| info.op == libc::PTRACE_SYSCALL_INFO_SECCOMP)?;
    // SAFETY: `op` says which member is there.
    let call = unsafe { info.u.seccomp };
    Some(Stopped {
        number: call.nr as i64,
        args: call.args,
        instruction: info.instruction_pointer,
        stack: info.stack_pointer,
    })
}

fn request(request: c_uint, thread: pid_t, data: usize) {
    // SAFETY: none of these requests reads or writes memory of this process. A thread that died
    // meanwhile answers ESRCH, and its end is waited for.
    unsafe { libc::ptrace(request, thread, ptr::null_mut::<c_void>(), data as *mut c_void) };
}

fn wait() -> io::Result<(pid_t, c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live, writable int. Children of other threads of ours are not
        // waited for: only this thread's tracees and children.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            who => return Ok((who, status)),
        }
    }
}

/// `if the architecture is ours and the call is one of COUNTED: stop; else: allow`.
fn filter() -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    let code = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let calls = COUNTED.len() as u8;
    let mut program = vec![
        code(LOAD, 0, 0, 4), // the architecture
        code(IF_EQUAL, 0, calls + 1, AUDIT_ARCH_X86_64),
        code(LOAD, 0, 0, 0), // the number
    ];
    for (index, number) in (0..).zip(COUNTED) {
        program.push(code(IF_EQUAL, calls - index, 0, number as u32));
    }
    program.push(code(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(code(RETURN, 0, 0, libc::SECCOMP_RET_TRACE));
    program
}
