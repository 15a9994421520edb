//! Core files as the kernel and gdb write them, explained as the process was.

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::ready::Ready;
use common::{has_library, heapwise};
use nix::sys::resource::{Resource, setrlimit};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::Value;
use tempfile::tempdir;

/// Leaves 15 MB free under one live chunk, has a second thread with an arena, and ends by itself
/// on a line of input.
const DIES: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *work(void *unused) {
    static char *blocks[100];
    for (int i = 0; i < 100; i++) blocks[i] = memset(malloc(3000), 't', 3000);
    for (int i = 0; i < 99; i++) free(blocks[i]);
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
int main(void) {
    static char *blocks[4000];
    static char *large[2];
    for (int i = 0; i < 2; i++) large[i] = memset(malloc(300000), 'm', 300000);
    for (int i = 0; i < 4000; i++) blocks[i] = memset(malloc(4000), 'x', 4000);
    for (int i = 0; i < 3999; i++) free(blocks[i]);
    pthread_t thread;
    pthread_create(&thread, 0, work, 0);
    getchar();
    abort();
}
"#;

struct Running(Ready);

impl Running {
    fn start(environment: &[(&str, &str)]) -> Option<Self> {
        let ready = Ready::start("dies", DIES, &["-pthread"], |command, directory| {
            command.envs(environment.iter().copied()).current_dir(directory).stdin(Stdio::piped());
            // SAFETY: one system call between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    let all = nix::sys::resource::RLIM_INFINITY;
                    // Where it is not allowed there will be no core, and the test says so.
                    let _ = setrlimit(Resource::RLIMIT_CORE, all, all);
                    Ok(())
                });
            }
        });
        ready.map(Self)
    }

    fn pid(&self) -> String {
        self.0.pid()
    }

    /// Lets it die; the core that the kernel leaves, if it does so in the working directory.
    fn die(&mut self) -> Option<PathBuf> {
        drop(self.0.child.stdin.take());
        let _ = self.0.child.wait();
        let found = fs::read_dir(self.0.directory.path()).unwrap();
        let core = found
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("core"));
        if core.is_none() {
            eprintln!("skipped: the kernel leaves no core in the working directory (core_pattern)");
        }
        core
    }

    /// A core by gdb, the process goes on.
    fn gcore(&self) -> Option<PathBuf> {
        let prefix = self.0.directory.path().join("gdb");
        let made = Command::new("gcore")
            .arg("-o")
            .arg(&prefix)
            .arg(self.pid())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let path = self.0.directory.path().join(format!("gdb.{}", self.pid()));
        match made {
            Ok(status) if status.success() && path.exists() => Some(path),
            Ok(status) => {
                eprintln!("skipped: gcore: {status}");
                None
            }
            Err(error) => {
                eprintln!("skipped: gcore: {error}");
                None
            }
        }
    }
}

fn explain(target: impl AsRef<Path>) -> Value {
    let output = heapwise().args(["explain", "--json"]).arg(target.as_ref()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn row(object: &Value, name: &str) -> u64 {
    let rows = object["rows"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()["bytes"].as_u64().unwrap()
}

fn assert_same(live: &Value, dead: &Value) {
    assert_eq!((&dead["basis"], &live["basis"]), (&"core".into(), &"resident".into()));
    for name in ["pid", "name", "allocator", "trim_gain_bytes", "mmapped"] {
        assert_eq!(dead[name], live[name], "{name}");
    }
    assert_eq!(dead["verdict"]["situation"], live["verdict"]["situation"]);
    assert_eq!(dead["inconsistencies"], 0);
    for name in ["live_user", "headers", "free_whole_pages", "free_pinned", "mmapped_chunks", "top"]
    {
        assert_eq!(row(dead, name), row(live, name), "{name}");
    }
    let (rows, arenas) = (dead["rows"].as_array().unwrap(), dead["arenas"].as_array().unwrap());
    let sum: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), dead["rss_bytes"].as_u64());
    for (live, dead) in live["arenas"].as_array().unwrap().iter().zip(arenas) {
        assert_eq!(live["chunks"], dead["chunks"]);
        assert_eq!(live["threads"], dead["threads"]);
    }
}

#[test]
fn the_kernels_core_has_the_heap_that_the_process_had() {
    let Some(mut running) = Running::start(&[]) else { return };
    let live = explain(running.pid());
    assert_eq!(live["arenas"].as_array().unwrap().len(), 2);
    let Some(core) = running.die() else { return };
    assert_same(&live, &explain(&core));
    heapwise().arg("explain").arg(&core).assert().code(0).stderr(is_empty()).stdout(
        contains("a core file of").and(contains("pins the heap")).and(contains("in the core file")),
    );
    heapwise()
        .arg("maps")
        .arg(&core)
        .assert()
        .code(0)
        .stdout(contains("IN CORE").and(contains("main heap (arena 0)")).and(contains("stack of")));
    heapwise().arg("bins").arg(&core).assert().code(0).stdout(contains("unsorted"));

    // A snapshot of it is as good, and it can be compared.
    let kept = running.0.directory.path().join("kept.hws");
    heapwise().arg("snapshot").arg(&core).arg("-o").arg(&kept).assert().code(0);
    assert_eq!(explain(&kept)["rows"], explain(&core)["rows"]);
    heapwise().arg("diff").args([&kept, &core]).assert().code(0).stdout(contains("Nothing grows"));
    heapwise()
        .args(["explain", "--sysroot", "/no/such/root"])
        .arg(&core)
        .assert()
        .code(5)
        .stderr(contains("--sysroot").and(contains("build id")));
}

#[test]
fn gdbs_core_has_the_heap_that_the_process_has() {
    let Some(running) = Running::start(&[]) else { return };
    let live = explain(running.pid());
    let Some(core) = running.gcore() else { return };
    assert_same(&live, &explain(core));
}

#[test]
fn a_core_of_a_process_on_our_heap_is_read_too() {
    if !has_library() {
        return;
    }
    let environment = [("LD_PRELOAD", env!("HEAPWISE_SO")), ("HEAPWISE_PURGE", "0")];
    let Some(mut running) = Running::start(&environment) else { return };
    let live = explain(running.pid());
    assert_eq!(live["allocator"], "heapwise");
    let Some(core) = running.die() else { return };
    let dead = explain(core);
    assert_eq!(dead["allocator"], "heapwise");
    assert_eq!(dead["mmapped"], live["mmapped"]);
    // Ending takes and frees a little of its own.
    let near = |name: &str| row(&dead, name).abs_diff(row(&live, name)) < 64 << 10;
    assert!(near("live_user") && near("free_whole_pages"), "{dead:#}");
}

#[test]
fn bad_cores_give_2() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("core");
    for (content, words) in [
        (&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0"[..], "damaged core file"),
        (b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x03\0", "32-bit"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0", "neither a core file"),
    ] {
        fs::write(&path, content).unwrap();
        for command in ["explain", "maps", "bins"] {
            heapwise().arg(command).arg(&path).assert().code(2).stderr(contains(words));
        }
    }
}
