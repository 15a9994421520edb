//! Memory that is really there: under a hypervisor, what this machine has not
//! used for some seconds may be the host's again, and whoever touches it next
//! waits for the host (here 7–8 µs a page instead of 1.6; a huge page 4 ms
//! instead of 0.2). That is no allocator's doing, so it is paid before a
//! measured run: as small pages and as huge ones, since the kernel hands them
//! out of different blocks.

/// No more than this, however large a job is.
const MOST_BYTES: u64 = 4 << 30;
const STEP_BYTES: usize = 4096;

/// A mapping, each of its pages written.
struct Touched {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Touched {
    fn new(bytes: usize, advice: i32) -> Option<Self> {
        // SAFETY: a fresh mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping; advice changes no contents, and a kernel may refuse it.
        unsafe { libc::madvise(start, bytes, advice) };
        for at in (0..bytes).step_by(STEP_BYTES) {
            // SAFETY: inside the mapping, which is ours alone.
            unsafe { start.cast::<u8>().add(at).write_volatile(1) };
        }
        Some(Self { start, bytes })
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Has the machine hold `bytes` of free memory in small pages and as much in huge ones.
pub fn warm(bytes: u64) {
    let bytes = bytes.min(MOST_BYTES).min(available_bytes() / 4) as usize;
    if bytes > 0 {
        // Both at once, so that they are different pages.
        let _small = Touched::new(bytes, libc::MADV_NOHUGEPAGE);
        let _huge = Touched::new(bytes, libc::MADV_HUGEPAGE);
    }
    forget_peak();
}

/// A child's peak begins with what its parent had at most; that is to be what it has.
fn forget_peak() {
    // A kernel that does not know this leaves the peaks of small programs too high.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// What the kernel could give without pushing anything out.
fn available_bytes() -> u64 {
    crate::process::field("/proc/meminfo", "MemAvailable:") << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_is_resident() {
        let before = crate::process::resident_bytes();
        let touched = Touched::new(32 << 20, libc::MADV_NOHUGEPAGE).expect("32 MiB");
        assert!(crate::process::resident_bytes() >= before + (31 << 20));
        drop(touched);
        assert!(crate::process::resident_bytes() < before + (16 << 20));
        forget_peak();
        assert!(crate::process::peak_bytes() < before + (16 << 20));
    }

    #[test]
    fn the_machine_says_what_it_has() {
        assert!(available_bytes() > 1 << 20);
    }
}
