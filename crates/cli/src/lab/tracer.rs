//! A small tracer: which system calls for memory did the child make, step by step.
//!
//! What `strace -e brk,mmap,…` would show, without needing strace. It attaches
//! with `PTRACE_SEIZE`, stops at each entry to and exit from the kernel, follows
//! the child's threads (not the processes it forks), and asks
//! `PTRACE_GET_SYSCALL_INFO` (Linux 5.3), which hides the registers of the
//! architecture. Only calls between the first step and the end of the last are
//! kept.
//!
//! Where tracing is forbidden (a seccomp filter, a ptrace scope), [`attach`]
//! says why, and the experiments judge by the maps alone.

use std::collections::HashMap;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::ptr;

use libc::{c_int, c_uint, c_void, pid_t};

use super::probe::{BREAK_QUESTION, STEP_END, STEP_MAGIC};

/// One finished system call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The step during which it was made, counted from 1.
    pub step: usize,
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its arguments, as the kernel got them.
    pub args: [u64; 6],
    /// Its result; negative errno on failure.
    pub result: i64,
}

impl Call {
    /// `brk` with an address: it moves the break rather than asks for it.
    pub fn moves_break(&self) -> bool {
        self.name == "brk" && self.args[0] != 0
    }

    /// The call as strace prints it.
    pub fn text(&self) -> String {
        let [a, b, c, d, e, f] = self.args;
        let args = match self.name {
            "brk" => pointer(a),
            "mmap" => format!(
                "{}, {b}, {}, {}, {}, {}",
                pointer(a),
                flags(c, PROT),
                flags(d, MAP),
                e as i32,
                if f == 0 { "0".to_owned() } else { format!("{f:#x}") }
            ),
            "munmap" => format!("{}, {b}", pointer(a)),
            "mremap" => format!("{}, {b}, {c}, {}", pointer(a), flags(d, MREMAP)),
            "mprotect" => format!("{}, {b}, {}", pointer(a), flags(c, PROT)),
            "madvise" => format!("{}, {b}, {}", pointer(a), advice(c)),
            "process_madvise" => format!("{}, [{c} ranges], {}", a as i32, advice(d)),
            _ => format!("{a:#x}, {b:#x}, {c:#x}"),
        };
        format!("{}({args}) = {}", self.name, self.result_text())
    }

    fn result_text(&self) -> String {
        match self.result {
            error @ -4095..=-1 => format!("-1 ({})", io::Error::from_raw_os_error(-error as i32)),
            result if matches!(self.name, "brk" | "mmap" | "mremap") => format!("{result:#x}"),
            result => result.to_string(),
        }
    }
}

/// How the child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
}

/// A traced child, stopped.
pub struct Tracer {
    pid: pid_t,
}

/// Attaches to the child and stops it. The error says why this machine does not allow it.
pub fn attach(pid: u32) -> Result<Tracer, String> {
    let pid = pid as pid_t;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    let request = |request, data: usize| {
        // SAFETY: neither request reads or writes memory of this process.
        match unsafe { libc::ptrace(request, pid, ptr::null_mut::<c_void>(), data as *mut c_void) }
        {
            -1 => Err(format!("ptrace is refused here: {}", io::Error::last_os_error())),
            _ => Ok(()),
        }
    };
    request(libc::PTRACE_SEIZE, options as usize)?;
    request(libc::PTRACE_INTERRUPT, 0)?;
    wait(pid).map_err(|error| format!("the child cannot be waited for: {error}"))?;
    let tracer = Tracer { pid };
    if tracer.syscall_info(pid).is_none() {
        let why = "PTRACE_GET_SYSCALL_INFO is not known here (Linux before 5.3)".to_owned();
        // SAFETY: detaching reads no memory; the child goes on untraced.
        unsafe {
            libc::ptrace(
                libc::PTRACE_DETACH,
                pid,
                ptr::null_mut::<c_void>(),
                ptr::null_mut::<c_void>(),
            )
        };
        return Err(why);
    }
    tracer.resume(pid, 0);
    Ok(tracer)
}

/// Waits for the end of an untraced child.
pub fn wait_untraced(pid: u32) -> io::Result<End> {
    loop {
        let (_, status) = wait(pid as pid_t)?;
        if let Some(end) = end_of(status) {
            return Ok(end);
        }
    }
}

impl Tracer {
    /// Lets the child run to its end and notes its calls.
    pub fn follow(self) -> io::Result<(Vec<Call>, End)> {
        let mut calls = Vec::new();
        let mut entered: HashMap<pid_t, (u64, [u64; 6])> = HashMap::new();
        let mut step = 0;
        loop {
            let (tid, status) = wait(-1)?;
            if let Some(end) = end_of(status) {
                if tid == self.pid {
                    return Ok((calls, end));
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            let is_event = status >> 16 != 0;
            if signal == libc::SIGTRAP | 0x80 {
                match self.syscall_info(tid) {
                    Some(Info::Entry(number, args)) => {
                        entered.insert(tid, (number, args));
                        if number == libc::SYS_getppid as u64 && args[0] == STEP_MAGIC {
                            step = if args[1] == STEP_END { 0 } else { args[1] as usize };
                        }
                    }
                    Some(Info::Exit(result)) => {
                        if let Some((number, args)) = entered.remove(&tid)
                            && let Some(name) = memory_call(number)
                            && step > 0
                            && !(name == "brk" && args[0] == BREAK_QUESTION)
                        {
                            calls.push(Call { step, name, args, result });
                        }
                    }
                    None => {}
                }
                self.resume(tid, 0);
            } else {
                // A real signal goes on to the child; the tracer's own stops do not.
                self.resume(tid, if is_event { 0 } else { signal });
            }
        }
    }

    fn resume(&self, tid: pid_t, signal: c_int) {
        // SAFETY: no memory of this process is read. A thread that died meanwhile answers ESRCH, and its end is waited for.
        unsafe {
            libc::ptrace(
                libc::PTRACE_SYSCALL,
                tid,
                ptr::null_mut::<c_void>(),
                signal as usize as *mut c_void,
            );
        }
    }

    fn syscall_info(&self, tid: pid_t) -> Option<Info> {
        let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
        let size = size_of::<libc::ptrace_syscall_info>();
        // SAFETY: the kernel writes at most `size` bytes to `info`.
        let got =
            unsafe { libc::ptrace(GET_SYSCALL_INFO, tid, size as *mut c_void, info.as_mut_ptr()) };
        if got <= 0 {
            return None;
        }
        // SAFETY: zeroed plain integers, then written by the kernel.
        let info = unsafe { info.assume_init() };
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: `op` says that the union holds an entry.
                let entry = unsafe { info.u.entry };
                Some(Info::Entry(entry.nr, entry.args))
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                // SAFETY: `op` says that the union holds an exit.
                Some(Info::Exit(unsafe { info.u.exit.sval }))
            }
            _ => Some(Info::Exit(0)),
        }
    }
}

enum Info {
    Entry(u64, [u64; 6]),
    Exit(i64),
}

const GET_SYSCALL_INFO: c_uint = 0x420e;

/// Waits for one child or, with −1, for any child or tracee of this thread.
fn wait(pid: pid_t) -> io::Result<(pid_t, c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live, writable int.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::__WNOTHREAD) } {
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

fn end_of(status: c_int) -> Option<End> {
    if libc::WIFEXITED(status) {
        Some(End::Exit(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Some(End::Signal(libc::WTERMSIG(status)))
    } else {
        None
    }
}

/// The calls by which a process changes its memory.
fn memory_call(number: u64) -> Option<&'static str> {
    Some(match number as i64 {
        libc::SYS_brk => "brk",
        libc::SYS_mmap => "mmap",
        libc::SYS_munmap => "munmap",
        libc::SYS_mremap => "mremap",
        libc::SYS_mprotect => "mprotect",
        libc::SYS_madvise => "madvise",
        libc::SYS_process_madvise => "process_madvise",
        _ => return None,
    })
}

fn pointer(value: u64) -> String {
    if value == 0 { "NULL".to_owned() } else { format!("{value:#x}") }
}

type Names = &'static [(c_int, &'static str)];

const PROT: (&str, Names) = (
    "PROT_NONE",
    &[
        (libc::PROT_READ, "PROT_READ"),
        (libc::PROT_WRITE, "PROT_WRITE"),
        (libc::PROT_EXEC, "PROT_EXEC"),
    ],
);
const MAP: (&str, Names) = (
    "0",
    &[
        (libc::MAP_SHARED, "MAP_SHARED"),
        (libc::MAP_PRIVATE, "MAP_PRIVATE"),
        (libc::MAP_FIXED, "MAP_FIXED"),
        (libc::MAP_ANONYMOUS, "MAP_ANONYMOUS"),
        (libc::MAP_NORESERVE, "MAP_NORESERVE"),
        (libc::MAP_POPULATE, "MAP_POPULATE"),
        (libc::MAP_STACK, "MAP_STACK"),
        (libc::MAP_HUGETLB, "MAP_HUGETLB"),
        (libc::MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"),
    ],
);
const MREMAP: (&str, Names) =
    ("0", &[(libc::MREMAP_MAYMOVE, "MREMAP_MAYMOVE"), (libc::MREMAP_FIXED, "MREMAP_FIXED")]);

fn flags(value: u64, (none, names): (&str, Names)) -> String {
    let mut rest = value;
    let mut parts = Vec::new();
    for &(bit, name) in names {
        let bit = bit as u64;
        if rest & bit == bit {
            rest &= !bit;
            parts.push(name.to_owned());
        }
    }
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    if parts.is_empty() { none.to_owned() } else { parts.join("|") }
}

fn advice(value: u64) -> String {
    match value as c_int {
        libc::MADV_DONTNEED => "MADV_DONTNEED".to_owned(),
        libc::MADV_FREE => "MADV_FREE".to_owned(),
        libc::MADV_HUGEPAGE => "MADV_HUGEPAGE".to_owned(),
        libc::MADV_NOHUGEPAGE => "MADV_NOHUGEPAGE".to_owned(),
        libc::MADV_DONTDUMP => "MADV_DONTDUMP".to_owned(),
        libc::MADV_POPULATE_WRITE => "MADV_POPULATE_WRITE".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_calls_as_strace_does() {
        let call = |name, args, result| Call { step: 1, name, args, result }.text();
        assert_eq!(call("brk", [0; 6], 0x1000), "brk(NULL) = 0x1000");
        assert_eq!(
            call("mmap", [0, 266_240, 3, 0x22, u64::from(u32::MAX), 0], 0x7000),
            "mmap(NULL, 266240, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7000"
        );
        assert_eq!(call("munmap", [0x7000, 4096, 0, 0, 0, 0], 0), "munmap(0x7000, 4096) = 0");
        assert_eq!(
            call("mprotect", [0x7000, 4096, 0, 0, 0, 0], 0),
            "mprotect(0x7000, 4096, PROT_NONE) = 0"
        );
        assert_eq!(
            call("mmap", [0, 4096, 3, 0x4022, u64::MAX, 0], -12),
            "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0) \
             = -1 (Cannot allocate memory (os error 12))"
        );
    }
}
