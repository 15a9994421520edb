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
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::ptr;

use libc::{c_int, c_uint, pid_t};

use crate::script::Calls;

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
    /// At its end, its memory still there.
    Ends,
}

/// Follows a command that [`spawn`] started to its end; its calls and its wait status.
///
/// # Errors
/// It cannot be waited for.
pub fn follow(child: &Child) -> io::Result<(Calls, c_int)> {
    follow_counter(Counter::new(child, Part::Marked), |_| ())
}

/// Follows a program that knows nothing of us: counted are its calls that may be a malloc's, so no
/// mappings of files, of stacks, or at fixed places; and from the first growth of the break on, if
/// there is one. `observe` is called while it stands still.
///
/// # Errors
/// It cannot be waited for.
pub fn follow_heap(child: &Child, observe: impl FnMut(Moment)) -> io::Result<(Calls, c_int)> {
    follow_counter(Counter::new(child, Part::Heap), observe)
}

fn follow_counter(
    mut counter: Counter,
    mut observe: impl FnMut(Moment),
) -> io::Result<(Calls, c_int)> {
    const OPTIONS: c_int = libc::PTRACE_O_TRACESECCOMP
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
            observe(Moment::Begins);
        }
        if event == libc::PTRACE_EVENT_EXIT && thread == main {
            observe(Moment::Ends);
        }
        // The tracer's own stops carry no signal; a new thread begins with one that is ours.
        let own = event != 0 || signal == libc::SIGTRAP || signal == libc::SIGSTOP;
        request(libc::PTRACE_CONT, thread, if own { 0 } else { signal as usize });
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
}

impl Counter {
    fn new(child: &Child, part: Part) -> Self {
        Self {
            main: child.id() as pid_t,
            part,
            calls: Calls::default(),
            begun: false,
            over: false,
            own: HashMap::new(),
        }
    }

    /// Whether a call may be one of a malloc's.
    fn is_heaps(&mut self, number: i64, args: &[u64; 6], observe: &mut impl FnMut(Moment)) -> bool {
        let anonymous = libc::MAP_ANONYMOUS as u64;
        let others = (libc::MAP_FIXED | libc::MAP_STACK | libc::MAP_SHARED) as u64;
        if !self.begun && number == libc::SYS_brk && args[0] != 0 {
            (self.calls, self.begun) = (Calls::default(), true);
            observe(Moment::Begins);
        }
        match number {
            libc::SYS_brk => args[0] != 0,
            libc::SYS_mmap => args[3] & (anonymous | others) == anonymous,
            _ => true,
        }
    }

    fn count(&mut self, thread: pid_t, observe: &mut impl FnMut(Moment)) {
        let main = self.main;
        let is_own = || Path::new(&format!("/proc/{main}/task/{thread}")).exists();
        if self.over || !*self.own.entry(thread).or_insert_with(is_own) {
            return;
        }
        let Some((number, args)) = seccomp_call(thread) else { return };
        if self.part == Part::Heap && !self.is_heaps(number, &args, observe) {
            return;
        }
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

/// Number and arguments of the call before which a thread stands.
fn seccomp_call(thread: pid_t) -> Option<(i64, [u64; 6])> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let got =
        unsafe { libc::ptrace(GET_SYSCALL_INFO, thread, size as *mut c_void, info.as_mut_ptr()) };
    // SAFETY: zeroed plain integers, then written by the kernel.
    let info = unsafe { info.assume_init() };
    if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_SECCOMP {
        return None;
    }
    // SAFETY: `op` says which member is there.
    let call = unsafe { info.u.seccomp };
    Some((call.nr as i64, call.args))
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
