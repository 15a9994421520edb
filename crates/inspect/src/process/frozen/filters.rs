//! Whether a thread's seccomp filters let the calls through that a copy takes.
//!
//! A filter is a program of the classic BPF over the words of `struct seccomp_data`. The kernel shows it to
//! root (`PTRACE_SECCOMP_GET_FILTER`); it is run here on each call, and on all that is not known
//! beforehand (addresses, process numbers) the answer is no. Docker's and systemd's filters let
//! these calls pass.

use super::super::tracing::{Instruction, Tracee};
use super::{CLONE_FLAGS, WAIT_FLAGS};

/// A word of a call that a filter may ask for; none if nobody knows it beforehand.
type Word = Option<u32>;

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// `struct seccomp_data`: number, architecture, address, six arguments; in words.
const DATA_WORDS: usize = 16;
const ARGUMENTS: usize = 4;
const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_LOG: u32 = 0x7ffc_0000;
/// More than any thread has.
const MOST_FILTERS: usize = 256;
const SCRATCH: usize = 16;

/// Whether all of them do; no, where the kernel does not show them.
pub fn let_a_copy_be(tracee: &Tracee) -> bool {
    let mut filters = Vec::new();
    for index in 0..MOST_FILTERS {
        match tracee.filter(index) {
            Ok(Some(filter)) => filters.push(filter),
            // At least one, or it is none of those.
            Ok(None) => return index > 0 && calls().iter().all(|call| all_allow(&filters, call)),
            Err(_) => return false,
        }
    }
    false
}

fn all_allow(filters: &[Vec<Instruction>], call: &[Word; DATA_WORDS]) -> bool {
    filters.iter().all(|filter| matches!(run(filter, call), Some(RETURN_ALLOW | RETURN_LOG)))
}

/// The calls of [`super`], those of the copy as well, should nobody hold it.
fn calls() -> [[Word; DATA_WORDS]; 4] {
    [
        call(libc::SYS_clone, [Some(CLONE_FLAGS), None, Some(0), Some(0)]),
        call(libc::SYS_wait4, [None, Some(0), Some(WAIT_FLAGS), Some(0)]),
        call(libc::SYS_exit_group, [Some(super::EXIT_CODE), None, None, None]),
        call(libc::SYS_rt_sigreturn, [None; 4]),
    ]
}

fn call(number: libc::c_long, arguments: [Option<u64>; 4]) -> [Word; DATA_WORDS] {
    let mut data = [None; DATA_WORDS];
    data[0] = u32::try_from(number).ok();
    data[1] = Some(ARCH);
    for (index, argument) in arguments.into_iter().enumerate() {
        let at = ARGUMENTS + 2 * index;
        data[at] = argument.map(|word| word as u32);
        data[at + 1] = argument.map(|word| (word >> 32) as u32);
    }
    data
}

/// What a filter returns; none if it asks for what is not known, or is no filter. It only jumps
/// forward: O(instructions).
fn run(filter: &[Instruction], data: &[Word; DATA_WORDS]) -> Option<u32> {
    let (mut a, mut x) = (Some(0), Some(0));
    let mut scratch = [Some(0); SCRATCH];
    let mut at = 0usize;
    loop {
        let Instruction { code, if_true, if_false, k } = *filter.get(at)?;
        at += 1;
        let operand = if code & 0x08 == 0 { Some(k) } else { x };
        match code {
            // ld [k], ld #k, ld M[k], ld #len
            0x20 => a = *data.get(k as usize / 4).filter(|_| k.is_multiple_of(4))?,
            0x00 => a = Some(k),
            0x60 => a = *scratch.get(k as usize)?,
            0x80 => a = Some(DATA_WORDS as u32 * 4),
            // ldx #k, ldx M[k], ldx #len
            0x01 => x = Some(k),
            0x61 => x = *scratch.get(k as usize)?,
            0x81 => x = Some(DATA_WORDS as u32 * 4),
            0x02 => *scratch.get_mut(k as usize)? = a,
            0x03 => *scratch.get_mut(k as usize)? = x,
            // tax, txa
            0x07 => x = a,
            0x87 => a = x,
            0x06 => return Some(k),
            0x16 => return a,
            0x05 => at = at.checked_add(k as usize)?,
            _ if code & 0x07 == 0x05 => {
                let (a, operand) = (a?, operand?);
                let holds = match code & 0xf0 {
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    0x40 => a & operand != 0,
                    _ => return None,
                };
                at += usize::from(if holds { if_true } else { if_false });
            }
            _ if code & 0x07 == 0x04 => {
                let known = |operation: fn(u32, u32) -> Option<u32>| operation(a?, operand?);
                a = match code & 0xf0 {
                    0x00 => known(|a, b| Some(a.wrapping_add(b))),
                    0x10 => known(|a, b| Some(a.wrapping_sub(b))),
                    0x20 => known(|a, b| Some(a.wrapping_mul(b))),
                    0x30 => known(u32::checked_div),
                    0x40 => known(|a, b| Some(a | b)),
                    0x50 => known(|a, b| Some(a & b)),
                    0x60 => known(u32::checked_shl),
                    0x70 => known(u32::checked_shr),
                    0x80 => a.map(u32::wrapping_neg),
                    0xa0 => known(|a, b| Some(a ^ b)),
                    _ => return None,
                };
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: u32 = 0x8000_0000;

    fn one(code: u16, if_true: u8, if_false: u8, k: u32) -> Instruction {
        Instruction { code, if_true, if_false, k }
    }

    fn load(word: u32) -> Instruction {
        one(0x20, 0, 0, word * 4)
    }

    fn end(action: u32) -> Instruction {
        one(0x06, 0, 0, action)
    }

    fn allows(filter: &[Instruction]) -> bool {
        calls().iter().all(|call| all_allow(&[filter.to_vec()], call))
    }

    #[test]
    fn flags_of_clone_may_be_looked_at() {
        // As Docker has it: a clone that makes no namespace.
        let like_dockers = |mask: u32| {
            vec![
                load(1),
                one(0x15, 1, 0, ARCH),
                end(KILL),
                load(0),
                one(0x35, 0, 1, 0x4000_0000),
                end(KILL),
                one(0x15, 0, 4, libc::SYS_clone as u32),
                load(4),
                one(0x54, 0, 0, mask),
                one(0x15, 1, 0, 0),
                end(0x0005_0001),
                end(RETURN_ALLOW),
            ]
        };
        assert!(allows(&like_dockers(0x7e02_0000)));
        assert!(!allows(&like_dockers(0x7e02_0400)), "CLONE_FILES is refused");
    }

    #[test]
    fn what_is_not_known_or_not_allowed_is_refused() {
        assert!(allows(&[end(RETURN_ALLOW)]) && allows(&[end(RETURN_LOG)]));
        for action in [KILL, 0, 0x0003_0000, 0x0005_0001, 0x7ff0_0000, 0x7fc0_0000] {
            assert!(!allows(&[end(action)]), "{action:#x}");
            let one_call = |number: libc::c_long| {
                [load(0), one(0x15, 0, 1, number as u32), end(action), end(RETURN_ALLOW)]
            };
            for number in [libc::SYS_clone, libc::SYS_wait4, libc::SYS_exit_group, 15] {
                assert!(!allows(&one_call(number)), "{number}");
            }
            assert!(allows(&one_call(libc::SYS_personality)));
        }
        // By the stack of a clone.
        assert!(!allows(&[load(6), one(0x15, 0, 0, 1), end(RETURN_ALLOW)]));
        assert!(allows(&[load(6), end(RETURN_ALLOW)]));
        // No end, no instruction, no such word.
        for filter in
            [vec![], vec![load(0)], vec![one(0x99, 0, 0, 0)], vec![load(16), end(RETURN_ALLOW)]]
        {
            assert!(!allows(&filter));
        }
        assert!(!allows(&[one(0x05, 0, 0, u32::MAX), end(RETURN_ALLOW)]));
    }

    #[test]
    fn arithmetic_is_that_of_32_bits() {
        let data = call(7, [None; 4]);
        let compute = |code: u16, a: u32, k: u32| {
            run(&[one(0x00, 0, 0, a), one(code, 0, 0, k), one(0x16, 0, 0, 0)], &data)
        };
        assert_eq!(compute(0x04, u32::MAX, 2), Some(1));
        assert_eq!((compute(0x34, 7, 2), compute(0x34, 7, 0)), (Some(3), None));
        assert_eq!((compute(0x64, 1, 31), compute(0x74, 1, 32)), (Some(1 << 31), None));
        let by_x = [load(0), one(0x07, 0, 0, 0), one(0x0c, 0, 0, 0), one(0x16, 0, 0, 0)];
        assert_eq!(run(&by_x, &data), Some(14));
        let by_scratch = [load(0), one(0x02, 0, 0, 3), one(0x00, 0, 0, 0), one(0x60, 0, 0, 3)];
        assert_eq!(run(&[&by_scratch[..], &[one(0x16, 0, 0, 0)]].concat(), &data), Some(7));
    }
}
