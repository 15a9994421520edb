//! What the judges say about lists of system calls.

use super::harness::Run;
use super::tracer::Call;

/// How often the break was moved.
pub fn moves(calls: &[&Call]) -> usize {
    calls.iter().filter(|call| call.moves_break()).count()
}

/// Whether the break was moved once and by `bytes`. Where it stood is known from
/// the question before, `brk(NULL)`; without one, the amount is left to the maps.
pub fn grows_once(calls: &[&Call], bytes: usize) -> bool {
    let asked = calls.iter().find(|call| call.name == "brk" && !call.moves_break());
    moves(calls) == 1
        && calls.iter().filter(|call| call.moves_break()).all(|call| {
            call.result as u64 == call.args[0]
                && asked.is_none_or(|asked| call.result - asked.result == bytes as i64)
        })
}

/// Whether this is one `mmap(NULL, bytes, …)` of private anonymous memory and nothing else.
pub fn maps_once(calls: &[&Call], bytes: usize) -> bool {
    let &[call] = calls else { return false };
    let [at, length, protection, flags, ..] = call.args;
    call.name == "mmap"
        && at == 0
        && length == bytes as u64
        && protection == (libc::PROT_READ | libc::PROT_WRITE) as u64
        && flags == (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64
        && call.result > 0
}

/// Whether this is one `munmap(…, bytes)` and nothing else.
pub fn unmaps_once(calls: &[&Call], bytes: usize) -> bool {
    let &[call] = calls else { return false };
    call.name == "munmap" && call.args[1] == bytes as u64 && call.result == 0
}

/// Whether these are the calls that the articles print for a small and a large block:
/// ```text
/// brk(NULL) = B
/// brk(B + 132 KiB) = B + 132 KiB
/// mmap(NULL, bytes, …) = M
/// munmap(M, bytes) = 0
/// ```
/// The question may be missing where somebody asked it earlier.
pub fn is_the_strace(run: &Run, calls: &[&Call], bytes: usize) -> bool {
    let heap = calls.iter().take_while(|call| call.name == "brk").count();
    let (heap, rest) = calls.split_at(heap);
    let &[mapped, unmapped] = rest else { return false };
    heap.len() <= 2
        && grows_once(heap, run.first_growth_bytes())
        && maps_once(&[mapped], bytes)
        && unmaps_once(&[unmapped], bytes)
        && mapped.result as u64 == unmapped.args[0]
}
