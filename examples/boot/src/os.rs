//! The allocator's platform on this kernel: each method is a verb of the address space.

use crate::cpu::{self, println};
use crate::kernel;
use core::sync::atomic::AtomicU32;
use heapwise_layout::report::ProcessRecord;
use heapwise_malloc::os::{Os, Span};
use heapwise_pages::PAGE_SIZE;
use heapwise_vm::{Advice, MapFlags, MapRequest, Prot, RemapRequest, VirtAddr};

/// The kernel below, for its one program with one thread.
pub struct KernelOs;

fn address(at: usize) -> VirtAddr {
    VirtAddr::new(at as u64)
}

fn mmap(request: MapRequest) -> Option<usize> {
    kernel::with(|kernel| {
        let (mm, mut env) = kernel.verbs();
        mm.mmap(&mut env, request).ok().map(|at| at.get() as usize)
    })
}

// SAFETY: fresh mappings and the break read as zeros, and are the only program's alone.
unsafe impl Os for KernelOs {
    fn page_bytes(&self) -> usize {
        PAGE_SIZE as usize
    }

    fn sbrk(&self, delta: isize) -> Option<usize> {
        kernel::with(|kernel| {
            let (mm, mut env) = kernel.verbs();
            let old = mm.bounds.brk;
            let new = old.get().checked_add_signed(delta as i64)?;
            (mm.brk(&mut env, VirtAddr::new(new)).get() == new).then_some(old.get() as usize)
        })
    }

    fn map(&self, bytes: usize) -> Option<usize> {
        mmap(MapRequest::anonymous(bytes as u64, Prot::READ | Prot::WRITE))
    }

    fn reserve(&self, bytes: usize) -> Option<usize> {
        mmap(MapRequest::anonymous(bytes as u64, Prot::NONE).with(MapFlags::NORESERVE))
    }

    unsafe fn commit(&self, range: Span) -> bool {
        kernel::with(|kernel| {
            let (mm, mut env) = kernel.verbs();
            let rights = Prot::READ | Prot::WRITE;
            mm.mprotect(&mut env, address(range.start), range.bytes() as u64, rights).is_ok()
        })
    }

    unsafe fn unmap(&self, range: Span) -> bool {
        kernel::with(|kernel| {
            let (mm, mut env) = kernel.verbs();
            mm.munmap(&mut env, address(range.start), range.bytes() as u64).is_ok()
        })
    }

    unsafe fn remap(&self, old: Span, new_bytes: usize) -> Option<usize> {
        kernel::with(|kernel| {
            let (mm, mut env) = kernel.verbs();
            let bytes = old.bytes() as u64;
            let request = RemapRequest::resize(address(old.start), bytes, new_bytes as u64);
            mm.mremap(&mut env, request).ok().map(|at| at.get() as usize)
        })
    }

    unsafe fn purge(&self, ranges: &[Span]) -> bool {
        kernel::with(|kernel| {
            let (mm, mut env) = kernel.verbs();
            ranges.iter().all(|range| {
                let (at, bytes) = (address(range.start), range.bytes() as u64);
                mm.madvise(&mut env, at, bytes, Advice::DontNeed).is_ok()
            })
        })
    }

    fn advise_huge(&self, _: Span) {}

    fn now_ns(&self) -> u64 {
        // The emulated counter runs at about a GHz.
        cpu::cycles()
    }

    fn usable_cores(&self) -> usize {
        1
    }

    fn random(&self) -> u64 {
        cpu::cycles().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn thread_id(&self) -> u32 {
        1
    }

    fn thread_attached(&self) {}

    fn parked(&self, _: u32) -> bool {
        false
    }

    fn wait(&self, _: &AtomicU32, _: u32) {
        self.fatal("the only thread waits");
    }

    fn wake(&self, _: &AtomicU32) {}

    fn start_helper(&self) -> bool {
        false
    }

    fn sample(&self, _: &ProcessRecord) {}

    fn fatal(&self, line: &str) -> ! {
        println!("{line}");
        cpu::exit(false)
    }
}
