//! What the kernel and the limits say. A file that is not there (another kernel
//! configuration, a container) is no finding against the machine.

use std::ffi::CStr;
use std::fs;

use heapwise_malloc::tunables::{Setting, TABLE};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::Finding;
use crate::units;

/// Everything that can be read without running anything.
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![architecture(), kernel(), c_library(), page_size(), cores(), arenas()];
    findings.extend([
        overcommit(),
        huge_pages(),
        memory_limit(),
        resource_limit("address space", Resource::RLIMIT_AS, "-v"),
        resource_limit("data segment", Resource::RLIMIT_DATA, "-d"),
        map_count(),
        randomisation(),
        ptrace(),
    ]);
    findings
}

fn architecture() -> Finding {
    let found = std::env::consts::ARCH;
    match found {
        "x86_64" | "aarch64" => Finding::ok("architecture", found),
        _ => Finding::fail("architecture", found, "Heapwise runs on x86_64 and aarch64"),
    }
}

/// 5.10 brought `process_madvise`, by which many ranges go back in one call.
fn kernel() -> Finding {
    match procfs::KernelVersion::current() {
        Ok(version) => {
            let found = format!("Linux {}.{}.{}", version.major, version.minor, version.patch);
            match (version.major, version.minor) {
                (..=3, _) => Finding::fail("kernel", found, "Heapwise needs Linux 4.4 or later"),
                (4, ..=3) => Finding::fail("kernel", found, "Heapwise needs Linux 4.4 or later"),
                (4, _) | (5, ..=9) => {
                    Finding::warn("kernel", found, "from 5.10 on, memory goes back in batches")
                }
                _ => Finding::ok("kernel", found),
            }
        }
        Err(error) => Finding::warn("kernel", format!("unknown ({error})"), "mount /proc"),
    }
}

fn c_library() -> Finding {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: returns a pointer to a static, NUL-terminated string of the C library.
        let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
        Finding::ok("C library", format!("glibc {}", version.to_string_lossy()))
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = CStr::from_bytes_until_nul;
        Finding::warn(
            "C library",
            "this command is not linked against glibc",
            "programs to be preloaded must be",
        )
    }
}

fn page_size() -> Finding {
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(size @ (4096 | 16384 | 65536))) => {
            Finding::ok("page size", units::bytes(size as u64))
        }
        Ok(Some(size)) => Finding::fail(
            "page size",
            units::bytes(size as u64),
            "Heapwise knows pages of 4, 16 and 64 KiB",
        ),
        _ => Finding::warn("page size", "unknown", "sysconf(_SC_PAGESIZE) should answer"),
    }
}

/// The allocator sizes its arenas by what this process may use, not by the host.
fn cores() -> Finding {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1).max(1) as usize;
    let affine = sched_getaffinity(Pid::from_raw(0)).map_or(online, |set| {
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count().max(1)
    });
    let mut found = format!("{affine} usable");
    if affine != online {
        found += &format!(" of {online}");
    }
    if let Some(quota) =
        cgroup_values("cpu.max").filter_map(|text| quota(&text)).min_by(f64::total_cmp)
    {
        found += &format!(", cgroup quota {quota:.2}");
    }
    Finding::ok("cores", found)
}

/// `max 100000` or `150000 100000`.
fn quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let limit: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (period > 0.0).then(|| limit / period)
}

/// A limit that was set for another malloc makes threads share here, too.
fn arenas() -> Finding {
    let tunable = TABLE.iter().find(|tunable| tunable.setting == Setting::ArenaMax);
    let names =
        tunable.into_iter().flat_map(|t| [Some(t.heapwise), t.malloc].into_iter().flatten());
    let set = names
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
        .find(|(_, value)| value.parse::<u64>().is_ok_and(|limit| limit > 0));
    match set {
        Some((name, value)) => Finding::warn(
            "arenas",
            format!("{name}={value}"),
            format!(
                "threads beyond that many share, and take two to four times as long in malloc: \
                 unset {name} unless memory is tighter than time"
            ),
        ),
        None => Finding::ok("arenas", "one a thread, up to the default limit"),
    }
}

fn overcommit() -> Finding {
    match read("/proc/sys/vm/overcommit_memory").as_deref() {
        Some("0") => Finding::ok("overcommit", "0 (heuristic)"),
        Some("1") => Finding::ok("overcommit", "1 (always)"),
        Some("2") => Finding::warn(
            "overcommit",
            "2 (strict)",
            "address space counts against the limit: set MALLOC_ARENA_MAX=1 if a program runs out (sysctl vm.overcommit_memory)",
        ),
        other => Finding::ok("overcommit", other.unwrap_or("not told")),
    }
}

fn huge_pages() -> Finding {
    let text = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let mode = text.as_deref().and_then(|text| text.split('[').nth(1)?.split(']').next());
    match mode {
        Some("always") => Finding::warn(
            "huge pages",
            "always",
            "RSS figures come in steps of 2 MiB: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled to see small ones",
        ),
        Some(mode) => Finding::ok("huge pages", mode),
        None => Finding::ok("huge pages", "not in this kernel"),
    }
}

fn memory_limit() -> Finding {
    let limit = |file: &str| cgroup_values(file).filter_map(|text| text.parse::<u64>().ok()).min();
    match (limit("memory.max"), limit("memory.high")) {
        (None, None) => Finding::ok("memory limit", "none"),
        (max, high) => {
            let parts: Vec<String> = [("max", max), ("high", high)]
                .into_iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", units::bytes(value?))))
                .collect();
            let found = format!("cgroup {}", parts.join(", "));
            if max.is_some_and(|max| max < 64 << 20) {
                Finding::warn(
                    "memory limit",
                    found,
                    "little for a program with threads: MALLOC_ARENA_MAX=1 may help",
                )
            } else {
                Finding::ok("memory limit", found)
            }
        }
    }
}

/// The file of this name in our control group and in all above it: each binds.
fn cgroup_values(file: &str) -> impl Iterator<Item = String> {
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let mut directories = Vec::new();
    let mut directory = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    while directory.starts_with("/sys/fs/cgroup") {
        directories.push(directory.join(file));
        directory.pop();
    }
    directories.into_iter().filter_map(|path| read(path.to_str()?))
}

fn resource_limit(check: &'static str, resource: Resource, flag: &str) -> Finding {
    match getrlimit(resource) {
        Ok((RLIM_INFINITY, _)) => Finding::ok(check, "unlimited"),
        Ok((soft, _)) => Finding::warn(
            check,
            units::bytes(soft),
            format!(
                "reserved address space counts too: `ulimit {flag} unlimited`, or MALLOC_ARENA_MAX=1"
            ),
        ),
        Err(errno) => Finding::ok(check, errno.desc()),
    }
}

fn map_count() -> Finding {
    /// The kernel's default; a heap with holes given back does not split mappings, `mprotect`ed tails do.
    const USUAL: u64 = 65530;
    match read("/proc/sys/vm/max_map_count").and_then(|text| text.parse().ok()) {
        Some(limit) if limit < USUAL => Finding::warn(
            "map count",
            format!("{limit} mappings a process"),
            format!("large chunks may fail: sysctl vm.max_map_count={USUAL}"),
        ),
        Some(limit) => {
            Finding::ok("map count", format!("{} mappings a process", units::count(limit)))
        }
        None => Finding::ok("map count", "not told"),
    }
}

fn randomisation() -> Finding {
    let personality =
        nix::sys::personality::get().unwrap_or(nix::sys::personality::Persona::empty());
    if personality.contains(nix::sys::personality::Persona::ADDR_NO_RANDOMIZE) {
        return Finding::warn(
            "randomisation",
            "off for this process",
            "addresses can be guessed: not under setarch -R",
        );
    }
    match read("/proc/sys/kernel/randomize_va_space").as_deref() {
        Some("2") => Finding::ok("randomisation", "2 (full)"),
        Some(level @ ("0" | "1")) => Finding::warn(
            "randomisation",
            format!("{level} ({})", if level == "0" { "off" } else { "the break is not random" }),
            "addresses can be guessed: sysctl kernel.randomize_va_space=2",
        ),
        _ => Finding::ok("randomisation", "not told"),
    }
}

/// Matters to the tracer of `heapwise lab` and to looking at other processes.
fn ptrace() -> Finding {
    match read("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
        None => Finding::ok("ptrace", "unrestricted (no Yama)"),
        Some("0") => Finding::ok("ptrace", "0 (unrestricted)"),
        Some("1") => Finding::ok("ptrace", "1 (own children)"),
        Some(scope) => Finding::warn(
            "ptrace",
            format!("{scope} ({})", if scope == "2" { "administrators only" } else { "nobody" }),
            "`heapwise lab` cannot show system calls: sysctl kernel.yama.ptrace_scope=1",
        ),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_of_cores() {
        assert_eq!(
            [quota("max 100000"), quota("150000 100000"), quota("")],
            [None, Some(1.5), None]
        );
    }
}
