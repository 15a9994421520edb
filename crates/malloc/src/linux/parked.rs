//! Is a thread asleep outside the allocator? Asked of the kernel and of its stack.
//!
//! `/proc/self/task/TID/syscall` says whether the thread is blocked in a system
//! call, and where its stack is. A signal handler may block too, having
//! interrupted anything: then the interrupted address stands in the signal frame
//! on the stack. So the stack is searched for an address in the section that
//! holds the fast paths. (The slow ones are told by the cache's `busy`.)

use super::machine::{nr, syscall};
use super::{decimal, path, read_file};
use crate::tunables::parse;

/// Bytes of stack that are searched. A signal frame lies below the handler's own
/// frames, and handlers that block use little stack.
const SEARCHED_BYTES: usize = 256 << 10;
const PAGE: usize = 4096;

// Weak: a program that calls no fast path has no such section.
core::arch::global_asm!(
    ".weak __start_heapwise_fast",
    ".weak __stop_heapwise_fast",
    ".hidden __start_heapwise_fast",
    ".hidden __stop_heapwise_fast"
);

unsafe extern "C" {
    // The linker's names for the ends of the section `heapwise_fast`.
    #[link_name = "__start_heapwise_fast"]
    static FAST_START: u8;
    #[link_name = "__stop_heapwise_fast"]
    static FAST_STOP: u8;
}

/// Whether the thread is blocked in a system call and was in no fast path before.
pub fn parked(thread_id: u32) -> bool {
    let (mut name, mut text, mut digits) = ([0; 64], [0; 256], [0; 20]);
    let number = decimal(u64::from(thread_id), &mut digits);
    let Some(name) = path(&mut name, &[b"/proc/self/task/", number, b"/syscall"]) else {
        return false;
    };
    // "running", "-1 sp pc" (blocked, but not in a call), or "nr args… sp pc".
    let Some(text) = read_file(name, &mut text) else { return false };
    let mut fields = text.trim_ascii().rsplit(|&b| b == b' ');
    let stack = fields.nth(1).and_then(parse);
    let call = fields.next_back().and_then(parse);
    let (Some(stack), Some(call)) = (stack, call) else { return false };
    // A parent in vfork has lent its stack and its slot to the child.
    ![nr::VFORK, nr::CLONE, nr::CLONE3].contains(&call) && !fast_path_on(stack)
}

/// Whether an address in the fast paths stands on the stack from `start` upwards.
fn fast_path_on(start: usize) -> bool {
    let fast = (&raw const FAST_START).addr()..(&raw const FAST_STOP).addr();
    let mut page = [0usize; PAGE / size_of::<usize>()];
    let mut at = start & !7;
    while at < start.saturating_add(SEARCHED_BYTES) {
        let bytes = PAGE - at % PAGE;
        let words = &mut page[..bytes / size_of::<usize>()];
        let to = [words.as_mut_ptr().addr(), bytes];
        let from = [at, bytes];
        // The kernel copies, so that a stack that ends here is an error, not a fault.
        // SAFETY: writes `bytes` to our buffer, reads this process's own memory.
        let copied = unsafe {
            let own = syscall(nr::GETPID, [0; 6]) as usize;
            syscall(nr::PROCESS_VM_READV, [own, to.as_ptr().addr(), 1, from.as_ptr().addr(), 1, 0])
        };
        if copied != bytes as isize {
            // Not readable at all: in doubt, no. The end of the stack: nothing found.
            return at == start & !7;
        }
        if words.iter().any(|word| fast.contains(word)) {
            return true;
        }
        at += bytes;
    }
    false
}
