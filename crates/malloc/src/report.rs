//! The report of `heapwise run --report`: this process's record in the shared file.

use crate::chunk::at;
use crate::linux::machine::{nr, syscall};
use crate::linux::{Linux, exact_ns, path, read_file};
use crate::root::Allocator;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use heapwise_layout::report::{
    ProcessRecord, REPORT_ENV, REPORT_FILE_BYTES, REPORT_MAGIC, REPORT_SLOTS, REPORT_VERSION,
    ReportHeader, STATE_EXITED, STATE_LIVE, slot_offset,
};

impl Allocator<Linux> {
    /// Takes `HEAPWISE_REPORT_FILE=…`: maps the file and claims a slot.
    pub(crate) fn take_report_variable(&self, variable: &[u8]) {
        let name =
            variable.strip_prefix(REPORT_ENV.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        let mut buffer = [0; 4096];
        let Some(name) = name.and_then(|name| path(&mut buffer, &[name])) else { return };
        if let Some(header) = map_file(name) {
            self.claim(header, 0);
        }
    }

    /// In a fork child: a record of its own.
    pub(crate) fn report_fork(&self) {
        let Some(record) = self.report_record() else { return };
        // The slot's address leads back to the file's start.
        let here = core::ptr::from_ref(record).addr();
        let header = self.report_base.load(Relaxed);
        if header != 0 && here > header {
            // SAFETY: the mapping of the whole file, inherited.
            self.claim(unsafe { &*at::<ReportHeader>(header) }, 1);
        }
    }

    fn claim(&self, header: &ReportHeader, forked: u32) {
        if header.magic.load(Relaxed) != REPORT_MAGIC
            || header.version.load(Relaxed) != REPORT_VERSION
        {
            return;
        }
        let index = header.claimed.fetch_add(1, AcqRel) as usize;
        if index >= REPORT_SLOTS {
            self.report.store(core::ptr::null_mut(), Relaxed);
            return;
        }
        let base = core::ptr::from_ref(header).expose_provenance();
        let record = at::<ProcessRecord>(base + slot_offset(index));
        self.report_base.store(base, Relaxed);
        self.report.store(record, Relaxed);
        for counter in self.kernel_calls.all() {
            counter.store(0, Relaxed);
        }
        let Some(record) = self.report_record() else { return };
        // SAFETY: no arguments.
        let (pid, ppid) = unsafe { (syscall(nr::GETPID, [0; 6]), syscall(nr::GETPPID, [0; 6])) };
        record.pid.store(pid as u32, Relaxed);
        record.ppid.store(ppid as u32, Relaxed);
        record.forked.store(forked, Relaxed);
        record.start_ns.store(exact_ns(), Relaxed);
        let mut comm = [0u8; 16];
        let _ = read_file(b"/proc/self/comm\0", &mut comm);
        if let Some(end) = comm.iter().position(|&b| b == b'\n') {
            comm[end] = 0;
        }
        let (low, high) = comm.split_at(8);
        for (to, from) in record.comm.iter().zip([low, high]) {
            to.store(from.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), Relaxed);
        }
        sample(record);
        record.state.store(STATE_LIVE, Release);
    }

    /// At the end of the process: the exact figures.
    pub(crate) fn finish_report(&self) {
        if let Some(record) = self.report_record() {
            self.publish_all(record);
            sample(record);
            record.state.store(STATE_EXITED, Release);
        }
    }
}

/// A line of `/proc/self/status` in KiB, 0 if it is not there.
pub(crate) fn status_kib(status: &[u8], name: &[u8]) -> u64 {
    let line = status.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|line| line.trim_ascii().strip_suffix(b" kB"));
    digits.and_then(crate::tunables::parse).unwrap_or(0) as u64
}

/// Brings the kernel's figures of this process into `record`.
pub fn sample(record: &ProcessRecord) {
    record.end_ns.store(exact_ns(), Relaxed);
    let mut text = [0; 2048];
    if let Some(status) = read_file(b"/proc/self/status\0", &mut text) {
        record.rss_peak_kib.fetch_max(status_kib(status, b"VmHWM:"), Relaxed);
        record.rss_last_kib.store(status_kib(status, b"VmRSS:"), Relaxed);
    }
    if let Some(stat) = read_file(b"/proc/self/stat\0", &mut text) {
        // pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt …
        let after = stat.iter().rposition(|&b| b == b')').map_or(&stat[..0], |at| &stat[at + 1..]);
        let mut fields = after.split(|&b| b == b' ').filter(|f| !f.is_empty()).skip(7);
        let mut number = || fields.next().and_then(crate::tunables::parse).unwrap_or(0) as u64;
        record.minor_faults.store(number(), Relaxed);
        number();
        record.major_faults.store(number(), Relaxed);
    }
}

/// Maps the report file; `None` if it is not one.
fn map_file(name: &[u8]) -> Option<&'static ReportHeader> {
    const AT_FDCWD: usize = (-100isize) as usize;
    const O_RDWR_CLOEXEC: usize = 2 | 0x8_0000;
    const PROT_READ_WRITE: usize = 3;
    const MAP_SHARED_NORESERVE: usize = 1 | 0x4000;
    // SAFETY: a NUL-terminated path; a new mapping of the file's fixed size, kept for good.
    unsafe {
        let file = syscall(nr::OPENAT, [AT_FDCWD, name.as_ptr().addr(), O_RDWR_CLOEXEC, 0, 0, 0]);
        if file < 0 {
            return None;
        }
        let args = [0, REPORT_FILE_BYTES, PROT_READ_WRITE, MAP_SHARED_NORESERVE, file as usize, 0];
        let base = syscall(nr::MMAP, args);
        syscall(nr::CLOSE, [file as usize, 0, 0, 0, 0, 0]);
        (base > 0).then(|| &*at::<ReportHeader>(base as usize))
    }
}
