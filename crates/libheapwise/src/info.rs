//! mallopt and the reports of glibc's malloc: mallinfo, malloc_info, malloc_stats; malloc_trim.

use core::ffi::{c_char, c_int, c_void};
use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;
use heapwise_layout::bins::FASTBINS;
use heapwise_malloc::global::{self, ALLOCATOR};
use heapwise_malloc::linux::set_errno;
use heapwise_malloc::stats::{Figures, Tally};
use heapwise_malloc::tunables::{MMAP_THRESHOLD_MAX, Setting};

const EINVAL: c_int = 22;

/// Opaque: the C library's FILE.
#[repr(C)]
pub struct File {
    _private: [u8; 0],
}

unsafe extern "C" {
    static stderr: *mut File;
    fn fwrite(from: *const c_void, size: usize, count: usize, to: *mut File) -> usize;
}

/// Text on its way to a FILE. Written outside every lock, as the FILE may allocate.
struct Text(*mut File);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: an open FILE by contract of the function that made this.
        unsafe { fwrite(text.as_ptr().cast(), 1, text.len(), self.0) };
        Ok(())
    }
}

/// glibc: mallopt. 1 if the value is taken (or the parameter unknown), else 0.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    let size = value as isize as usize;
    let (setting, size) = match parameter {
        1 => (Setting::MxFast, size),
        -1 => (Setting::TrimThreshold, size),
        -2 => (Setting::TopPad, size),
        -3 if size > MMAP_THRESHOLD_MAX => return 0,
        -3 => (Setting::MmapThreshold, size),
        -4 => (Setting::MmapMax, value.max(0) as usize),
        -6 => (Setting::Perturb, size & 0xff),
        -7 if value > 0 => (Setting::ArenaTest, size),
        -8 if value > 0 => (Setting::ArenaMax, size),
        _ => return 1,
    };
    c_int::from(global::set(setting, size))
}

/// glibc: malloc_trim. 1 if memory went back, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(pad: usize) -> c_int {
    c_int::from(global::trim(pad))
}

/// glibc: struct mallinfo2, all in bytes or counts.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "mallinfo(3)")]
pub struct MallInfo<T> {
    pub arena: T,
    pub ordblks: T,
    pub smblks: T,
    pub hblks: T,
    pub hblkhd: T,
    pub usmblks: T,
    pub fsmblks: T,
    pub uordblks: T,
    pub fordblks: T,
    pub keepcost: T,
}

fn free_tally(f: &Figures) -> Tally {
    Tally {
        count: f.binned.count + f.top.count + f.waiting.count,
        bytes: f.binned.bytes + f.top.bytes + f.fast.bytes + f.waiting.bytes,
    }
}

/// glibc: mallinfo2.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> MallInfo<usize> {
    let f = ALLOCATOR.figures();
    let free = free_tally(&f);
    MallInfo {
        arena: f.system_bytes,
        ordblks: free.count,
        smblks: f.fast.count,
        hblks: f.mapped.count,
        hblkhd: f.mapped.bytes,
        usmblks: 0,
        fsmblks: f.fast.bytes,
        uordblks: f.system_bytes - free.bytes.min(f.system_bytes),
        fordblks: free.bytes,
        keepcost: ALLOCATOR.arena_figures(0).map_or(0, |(f, _)| f.top.bytes),
    }
}

/// SVID: mallinfo. Figures over 2 GiB wrap, as in glibc.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> MallInfo<c_int> {
    let wide = mallinfo2();
    MallInfo {
        arena: wide.arena as c_int,
        ordblks: wide.ordblks as c_int,
        smblks: wide.smblks as c_int,
        hblks: wide.hblks as c_int,
        hblkhd: wide.hblkhd as c_int,
        usmblks: wide.usmblks as c_int,
        fsmblks: wide.fsmblks as c_int,
        uordblks: wide.uordblks as c_int,
        fordblks: wide.fordblks as c_int,
        keepcost: wide.keepcost as c_int,
    }
}

/// glibc: malloc_stats, on stderr.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    // SAFETY: the C library's standard error.
    let mut out = Text(unsafe { stderr });
    let mut sum = Figures::default();
    let mut index = 0;
    while let Some((f, _)) = ALLOCATOR.arena_figures(index) {
        let in_use = f.system_bytes.saturating_sub(free_tally(&f).bytes);
        let _ = write!(
            out,
            "Arena {index}:\nsystem bytes     = {:10}\nin use bytes     = {in_use:10}\n",
            f.system_bytes
        );
        sum = sum.sum(f);
        index += 1;
    }
    let mapped = &ALLOCATOR.state.mapped;
    let bytes = mapped.bytes.load(Relaxed);
    let in_use = sum.system_bytes.saturating_sub(free_tally(&sum).bytes);
    let _ = write!(
        out,
        "Total (incl. mmap):\nsystem bytes     = {:10}\nin use bytes     = {:10}\n\
         max mmap regions = {:10}\nmax mmap bytes   = {:10}\n",
        sum.system_bytes + bytes,
        in_use + bytes,
        mapped.peak_count.load(Relaxed),
        mapped.peak_bytes.load(Relaxed),
    );
}

/// glibc: malloc_info, XML to `file`. EINVAL if `options` is not 0.
///
/// # Safety
/// `file` is an open FILE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, file: *mut File) -> c_int {
    if options != 0 {
        set_errno(EINVAL);
        return -1;
    }
    let mut out = Text(file);
    let mut sum = Figures::default();
    let _ = out.write_str("<malloc version=\"1\">\n");
    let mut index = 0;
    while let Some((f, rows)) = ALLOCATOR.arena_figures(index) {
        let _ = write!(out, "<heap nr=\"{index}\">\n<sizes>\n");
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.tally.count > 0) {
            let name = if at == FASTBINS { "unsorted" } else { "size" };
            let _ = writeln!(
                out,
                "  <{name} from=\"{}\" to=\"{}\" total=\"{}\" count=\"{}\"/>",
                row.from, row.to, row.tally.bytes, row.tally.count
            );
        }
        let _ = out.write_str("</sizes>\n");
        write_totals(&mut out, &f);
        write_system(&mut out, &f);
        let _ = out.write_str("</heap>\n");
        sum = sum.sum(f);
        index += 1;
    }
    write_totals(&mut out, &sum);
    let mapped = &ALLOCATOR.state.mapped;
    let _ = writeln!(
        out,
        "<total type=\"mmap\" count=\"{}\" size=\"{}\"/>",
        mapped.count.load(Relaxed),
        mapped.bytes.load(Relaxed)
    );
    write_system(&mut out, &sum);
    let _ = out.write_str("</malloc>\n");
    0
}

fn write_totals(out: &mut Text, f: &Figures) {
    let rest = Tally { count: f.binned.count + f.top.count, bytes: f.binned.bytes + f.top.bytes };
    for (name, tally) in [("fast", f.fast), ("rest", rest)] {
        let _ = writeln!(
            out,
            "<total type=\"{name}\" count=\"{}\" size=\"{}\"/>",
            tally.count, tally.bytes
        );
    }
}

fn write_system(out: &mut Text, f: &Figures) {
    let _ = write!(
        out,
        "<system type=\"current\" size=\"{0}\"/>\n<system type=\"max\" size=\"{1}\"/>\n\
         <aspace type=\"total\" size=\"{0}\"/>\n<aspace type=\"mprotect\" size=\"{0}\"/>\n",
        f.system_bytes, f.system_peak_bytes
    );
}

/// The version, for programs that want to know what serves them.
#[unsafe(no_mangle)]
pub extern "C" fn heapwise_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
