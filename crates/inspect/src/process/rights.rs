//! Which right is missing: told from the user ids, Yama and the capabilities.

use std::fs;

use super::figures::field;

/// Bit of CAP_SYS_PTRACE in a capability set.
const CAP_SYS_PTRACE: u32 = 19;

/// Words that name what would let us read process `pid`.
#[must_use]
pub fn remedy(pid: u32) -> String {
    // SAFETY: takes nothing, always succeeds.
    let own = unsafe { libc::geteuid() };
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let owner = owner(&status(&pid.to_string()));
    let capable = field(&status("self"), "CapEff")
        .and_then(|set| u64::from_str_radix(set, 16).ok())
        .is_some_and(|set| set >> CAP_SYS_PTRACE & 1 == 1);
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|value| value.trim().parse().ok());
    advice(own, owner, capable, yama)
}

fn owner(status: &str) -> Option<u32> {
    field(status, "Uid")?.split_whitespace().next()?.parse().ok()
}

fn advice(own: u32, owner: Option<u32>, capable: bool, yama: Option<u32>) -> String {
    match (capable, yama) {
        (_, Some(3)) => "kernel.yama.ptrace_scope is 3, nobody may until the next boot".into(),
        (true, _) => {
            "CAP_SYS_PTRACE is there but does not reach it: another user namespace, or a security \
             module forbids it"
                .into()
        }
        (false, _) if owner.is_some_and(|owner| owner != own) => format!(
            "it belongs to user {}; run as that user or with CAP_SYS_PTRACE (sudo)",
            owner.unwrap_or(0)
        ),
        (false, Some(scope @ 1..)) => format!(
            "kernel.yama.ptrace_scope is {scope}; run with CAP_SYS_PTRACE (sudo), start the program \
             as `heapwise explain -- CMD`, or set sysctl kernel.yama.ptrace_scope=0"
        ),
        _ => "it is not dumpable (set-user-ID, or prctl PR_SET_DUMPABLE); run with CAP_SYS_PTRACE \
              (sudo)"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn the_right_that_is_missing_is_named() {
        for (own, owner, capable, yama, word) in [
            (1000, Some(0), false, None, "CAP_SYS_PTRACE"),
            (1000, Some(1000), false, Some(1), "kernel.yama.ptrace_scope is 1"),
            (1000, Some(1000), false, Some(0), "not dumpable"),
            (0, Some(0), true, Some(3), "ptrace_scope is 3"),
            (0, Some(0), true, None, "namespace"),
        ] {
            let text = advice(own, owner, capable, yama);
            assert!(text.contains(word), "{text}");
        }
    }
}
