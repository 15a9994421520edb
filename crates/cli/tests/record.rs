//! `heapwise record`: the trace has what the program did, whatever becomes of the program.

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use common::{compile, heapwise, needs_library};
use heapwise_trace::{Cause, Event, KernelOp, Trace, What};
use tempfile::tempdir;

/// A C program of these tests.
fn program(directory: &Path, name: &str, body: &str) -> Option<PathBuf> {
    let source = format!(
        "#define _GNU_SOURCE\n#include <malloc.h>\n#include <pthread.h>\n#include <signal.h>\n\
         #include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/syscall.h>\n\
         #include <sys/wait.h>\n#include <unistd.h>\nvoid *volatile sink;\n{body}"
    );
    compile(directory, name, &source, &["-O0", "-pthread"])
}

/// Records a command; the trace and the exit code.
fn record(directory: &Path, options: &[&str], command: &[&str]) -> (Trace, Option<i32>) {
    let file = directory.join("trace.hwt");
    let output = heapwise()
        .args(["record", "-o"])
        .arg(&file)
        .args(options)
        .arg("--")
        .args(command)
        .output()
        .expect("heapwise runs");
    let trace = Trace::open(&file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(trace.damage().is_none(), "{:?}: {output:?}", trace.damage());
    (trace, output.status.code())
}

fn events(trace: &Trace) -> Vec<Event> {
    trace.events().collect::<Result<_, _>>().expect("a whole trace")
}

/// Replays the blocks of every process; fails where the trace contradicts itself.
/// The live blocks at the end, by process.
fn live(trace: &Trace) -> HashMap<u32, HashMap<u64, u64>> {
    let mut heaps: HashMap<u32, HashMap<u64, u64>> = HashMap::new();
    for event in events(trace) {
        if event.what == What::ProcessStart {
            let parent = trace.process(event.process).and_then(|p| p.forked_from);
            let inherited = parent.and_then(|p| heaps.get(&p).cloned()).unwrap_or_default();
            heaps.insert(event.process, inherited);
        }
        let heap = heaps.entry(event.process).or_default();
        if let Some(old) = event.what.frees() {
            // What was allocated before the recording began is unknown, all else is live.
            heap.remove(&old);
        }
        if let Some((address, size)) = event.what.allocates() {
            let before = heap.insert(address, size);
            assert_eq!(before, None, "{event:?} is live already");
        }
    }
    heaps
}

#[test]
fn every_call_is_there_once_with_size_address_and_order() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "calls",
        "int main(void) {\n\
           for (int i = 0; i < 30000; i++) { sink = malloc(1000003 + i % 7); free(sink);\n\
             sink = malloc(77); free(sink); }\n\
           char *p = calloc(7, 1234); p = realloc(p, 54321); p = realloc(p, 543210);\n\
           sink = aligned_alloc(4096, 5 * 4096); free(sink);\n\
           sink = realloc(NULL, 4242); free(sink); free(NULL);\n\
           printf(\"%p\\n\", p); return 7; }\n",
    ) else {
        return;
    };
    let (trace, code) = record(directory.path(), &[], &[program.to_str().expect("utf-8")]);
    assert_eq!(code, Some(7));
    let all = events(&trace);
    let count = |test: &dyn Fn(&What) -> bool| all.iter().filter(|e| test(&e.what)).count();
    let big = |w: &What| matches!(w, What::Malloc { size: 1_000_003..=1_000_009, .. });
    assert_eq!(count(&big), 30_000);
    assert_eq!(count(&|w| matches!(w, What::Malloc { size: 77, .. })), 30_000);
    assert_eq!(count(&|w| matches!(w, What::Calloc { size: 8638, .. })), 1);
    assert_eq!(count(&|w| matches!(w, What::Malloc { size: 4242, .. })), 1);
    assert_eq!(count(&|w| matches!(w, What::Aligned { size: 20480, align: 4096, .. })), 1);
    // calloc → realloc → realloc is one chain of addresses.
    let reallocs: Vec<_> = all
        .iter()
        .filter_map(|e| match e.what {
            What::Realloc { size: size @ (54321 | 543_210), old, address, .. } => {
                Some((size, old, address))
            }
            _ => None,
        })
        .collect();
    let calloc = all.iter().find_map(|e| match e.what {
        What::Calloc { size: 8638, address, .. } => Some(address),
        _ => None,
    });
    assert_eq!((reallocs.len(), Some(reallocs[0].1)), (2, calloc));
    assert_eq!(reallocs[0].2, reallocs[1].1);
    // What is left is what the program kept: the last realloc among it.
    let heaps = live(&trace);
    assert_eq!(heaps[&0].get(&reallocs[1].2), Some(&543_210));
    assert!(!heaps[&0].values().any(|&size| size == 77), "freed blocks are not live");
    // A frame around it: a process with its command, figures, an end.
    assert!(trace.processes()[0].command[0].ends_with("calls"));
    assert_eq!(count(&|w| *w == What::ProcessStart), 1);
    assert_eq!(count(&|w| *w == What::ProcessEnd), 1);
    assert!(count(&|w| matches!(w, What::Sample { rss_bytes: 1.., .. })) >= 2);
    assert!(trace.recording().note("command").is_some_and(|c| c.ends_with("calls")));
    let bytes = std::fs::metadata(directory.path().join("trace.hwt")).expect("a file").len();
    let each = bytes as f64 / all.len() as f64;
    assert!(each <= 12.0, "{each} bytes an event");
}

#[test]
fn large_blocks_tell_how_much_of_them_was_touched() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "touches",
        "int main(void) {\n\
           mallopt(M_MMAP_THRESHOLD, 1 << 20); /* each has a mapping of its own */\n\
           char *all = malloc(3000000); memset(all, 1, 3000000); sink = all; free(all);\n\
           char *few = malloc(3100000); few[0] = few[2000000] = 1; sink = few; free(few);\n\
           char *cut = malloc(3200000); memset(cut, 1, 1000000);\n\
           sink = cut = realloc(cut, 200000); free(cut);\n\
           char *kept = calloc(1, 3300000); kept[7] = 1; sink = kept;\n\
           return 0; }\n",
    ) else {
        return;
    };
    let command = [program.to_str().expect("utf-8")];
    let (trace, code) = record(directory.path(), &[], &command);
    assert_eq!(code, Some(0));
    let mut sizes = HashMap::new();
    let mut told = HashMap::new();
    for event in events(&trace) {
        if let Some((address, size)) = event.what.allocates() {
            sizes.insert(address, size);
        }
        if let What::Touched { address, bytes } = event.what {
            told.insert(sizes[&address], bytes);
        }
    }
    // A page more or less: where the block begins in its first one, and what the allocator writes.
    for (size, touched) in
        [(3_000_000, 3_000_000), (3_100_000, 8192), (3_200_000, 1_000_000), (3_300_000, 4096)]
    {
        let bytes = told.get(&size).copied().unwrap_or(u64::MAX);
        assert!(bytes.abs_diff(touched) <= 3 * 4096, "{size}: {bytes}, expected {touched}");
    }
    let (trace, _) = record(directory.path(), &["--touched", "0"], &command);
    assert!(!events(&trace).iter().any(|e| matches!(e.what, What::Touched { .. })));
}

#[test]
fn a_wait_stands_between_the_calls_before_and_behind_it() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "bursts",
        "int main(void) {\n\
           for (int burst = 0; burst < 20; burst++) {\n\
             free(sink = malloc(777));\n\
             for (int i = 0; i < 1000 + burst; i++) free(sink = malloc(24 + i % 200));\n\
             usleep(10000);\n\
           }\n\
           return 0; }",
    ) else {
        return;
    };
    let (trace, code) = record(directory.path(), &[], &[program.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0));
    // Calls of a burst share readings of the clock, but none of the burst before.
    let calls = events(&trace);
    let is_call = |e: &&Event| matches!(e.what, What::Malloc { .. } | What::Free { .. });
    let calls: Vec<&Event> = calls.iter().filter(is_call).collect();
    let mut bursts = 0;
    for pair in calls.windows(2) {
        if let What::Malloc { size: 777, .. } = pair[1].what
            && bursts > 0
        {
            let waited = pair[1].time_ns - pair[0].time_ns;
            assert!(waited >= 9_900_000, "burst {bursts}: {waited} ns");
        }
        bursts += i32::from(matches!(pair[1].what, What::Malloc { size: 777, .. }));
    }
    assert!(bursts >= 19, "{bursts}");
    let mut times: Vec<u64> = calls.iter().map(|call| call.time_ns).collect();
    assert!(times.is_sorted() && calls.len() >= 40_000, "{}", calls.len());
    times.dedup();
    assert!(times.len() > 1500, "{} times for {} calls", times.len(), calls.len());
}

#[test]
fn kernel_calls_say_what_caused_them() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "causes",
        "int main(void) {\n\
           mallopt(M_MMAP_THRESHOLD, 65536);\n\
           char *p = malloc(100000); p = realloc(p, 9000000); free(p);\n\
           for (int i = 0; i < 2000; i++) sink = malloc(5000);\n\
           return 0; }\n",
    ) else {
        return;
    };
    let (trace, _) = record(directory.path(), &[], &[program.to_str().expect("utf-8")]);
    let all = events(&trace);
    let call = |op, cause, least: i64| {
        all.iter().position(|e| match e.what {
            What::Kernel(k) => (k.op, k.cause) == (op, cause) && k.bytes >= least && !k.failed,
            _ => false,
        })
    };
    let mmap = call(KernelOp::Mmap, Cause::Malloc, 100_000).expect("malloc's mmap");
    // The allocation that caused it is the thread's next event that is no kernel call.
    let next = all[mmap..].iter().find(|e| !matches!(e.what, What::Kernel(_)));
    assert!(matches!(next.expect("an event").what, What::Malloc { size: 100_000, .. }));
    let moved = all.iter().find_map(|e| match e.what {
        What::Kernel(k) if k.op == KernelOp::Mremap => Some(k),
        _ => None,
    });
    let moved = moved.expect("realloc's mremap");
    assert_eq!(moved.cause, Cause::Realloc);
    assert!(moved.new_bytes >= 9_000_000 && moved.new_address != 0);
    assert!(call(KernelOp::Munmap, Cause::Free, 9_000_000).is_some(), "free's munmap");
    assert!(call(KernelOp::Brk, Cause::Malloc, 4096).is_some(), "malloc's brk");
}

#[test]
fn threads_forks_execs_and_a_crash() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "lives",
        "static void *work(void *kept) {\n\
           for (int i = 0; i < 20000; i++) free(malloc(16 + i % 900));\n\
           *(void **)kept = malloc(31337); return NULL; }\n\
         int main(int argc, char **argv) {\n\
           if (argc > 1) { sink = malloc(4711); free(malloc(4712)); raise(SIGKILL); }\n\
           pthread_t t[4]; void *kept[4];\n\
           for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, work, &kept[i]);\n\
           for (int i = 0; i < 4; i++) { pthread_join(t[i], NULL); free(kept[i]); }\n\
           char *mine = malloc(1111);\n\
           if (fork() == 0) { free(mine); sink = malloc(2222);\n\
             execl(argv[0], argv[0], \"child\", NULL); }\n\
           wait(NULL);\n\
           if (syscall(SYS_fork) == 0) { sink = malloc(3333); syscall(SYS_exit_group, 0); }\n\
           wait(NULL); free(mine); return 0; }\n",
    ) else {
        return;
    };
    let (trace, code) = record(directory.path(), &[], &[program.to_str().expect("utf-8")]);
    assert_eq!(code, Some(0));
    let heaps = live(&trace);
    // The program, its fork, what that became by exec, and a fork that ran no handlers.
    assert_eq!(heaps.len(), 4, "{:#?}", trace.processes());
    let holds = |process: u32, size: u64| heaps[&process].values().any(|&s| s == size);
    let processes = trace.processes();
    let (main, fork) = (&processes[0], &processes[1]);
    assert_eq!(fork.forked_from, Some(main.index));
    assert_eq!(processes[2].pid, fork.pid, "exec keeps the pid");
    assert!(!holds(main.index, 1111) && !holds(main.index, 31337));
    assert!(holds(fork.index, 2222) && !holds(fork.index, 1111), "a fork has its parent's blocks");
    assert!(holds(processes[2].index, 4711) && !holds(processes[2].index, 4712), "killed");
    assert!(holds(processes[3].index, 3333), "a bare fork");
    assert_eq!(processes[3].forked_from, Some(main.index));
    let all = events(&trace);
    let threads = all.iter().filter(|e| e.process == 0 && e.what == What::ThreadStart);
    assert_eq!(threads.count(), 5);
    let ends = all.iter().filter(|e| e.process == 0 && e.what == What::ThreadEnd);
    assert_eq!(ends.count(), 4);
    let lost = all.iter().find(|e| matches!(e.what, What::Lost { .. }));
    assert_eq!(lost, None);
    // A fork that runs no handlers is not told of; its child is there all the same.
    let forks = all.iter().filter(|e| matches!(e.what, What::Fork { .. })).map(|e| e.what);
    assert_eq!(forks.collect::<Vec<_>>(), [What::Fork { child_pid: fork.pid }]);
    let gone = |process: u32| {
        all.iter().filter(|e| e.process == process && e.what == What::ProcessGone).count()
    };
    assert_eq!([1, 2, 3].map(gone), [1, 1, 1], "replaced by exec, killed, ended without handlers");
}

#[test]
fn what_a_child_had_is_gone_when_it_ends_without_handlers() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "child",
        "int main(void) {\n\
           if (fork() == 0) { sink = malloc(64 << 20); memset(sink, 1, 64 << 20); usleep(500000);\n\
             _exit(0); }\n\
           wait(NULL); usleep(1200000); free(malloc(24)); return 0; }\n",
    ) else {
        return;
    };
    record(directory.path(), &[], &[program.to_str().expect("utf-8")]);
    let file = directory.path().join("trace.hwt");
    let output = heapwise().arg("timeline").arg("--json").arg(&file).output().expect("runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let moments = json["moments"].as_array().expect("moments");
    for figure in ["rss_bytes", "live_bytes"] {
        let of = |moment: &serde_json::Value| moment[figure].as_u64().expect("a number");
        assert!(moments.iter().map(of).max().expect("moments") > 60 << 20, "{figure}");
        let last = of(moments.last().expect("moments"));
        assert!(last < 32 << 20, "{figure}: {last}");
    }
    let turns = json["turns"].as_array().expect("turns");
    let turn = |what: &str, number: usize| {
        turns.iter().filter(|turn| turn["what"] == what).nth(number).expect("a turn")
    };
    let child = &turn("forks", 0)["child_pid"];
    assert!(child.is_u64() && *child == turn("begins", 1)["pid"], "{turns:#?}");
    assert_eq!(turn("gone", 0)["pid"], *child);
}

#[test]
fn a_bounded_recording_keeps_the_last_while() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "last",
        "int main(void) {\n\
           for (int i = 0; i < 20000; i++) free(malloc(1234));\n\
           sleep(3);\n\
           for (int i = 0; i < 20000; i++) free(malloc(4321));\n\
           return 0; }\n",
    ) else {
        return;
    };
    let command = [program.to_str().expect("utf-8")];
    let (trace, _) = record(directory.path(), &["--last", "1s"], &command);
    let all = events(&trace);
    let of = |wanted: u64| {
        all.iter().filter(|e| matches!(e.what, What::Malloc { size, .. } if size == wanted)).count()
    };
    assert_eq!((of(1234), of(4321)), (0, 20_000));
    assert_eq!(trace.processes()[0].command.len(), 1, "definitions stay");
}

#[test]
fn a_full_disk_is_one_error_and_the_rest_is_whole() {
    needs_library!();
    let output = heapwise()
        .args(["record", "-o", "/dev/full", "--", "sh", "-c", "echo fine; exit 4"])
        .output()
        .expect("heapwise runs");
    // The file's header does not even go in: said before the start.
    assert_eq!(output.status.code(), Some(125));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("/dev/full: No space left on device"), "{error}");
    // A small file system that fills up meanwhile; only root may mount one.
    let directory = tempdir().expect("a directory");
    let (small, kept) = (directory.path().join("small"), directory.path().join("t.hwt"));
    std::fs::create_dir(&small).expect("a directory");
    let job = format!(
        "mount -t tmpfs -o size=200k none {small} || exit 77\n\
         {heapwise} record -o {small}/t.hwt -- sh -c 'i=0; while [ $i -lt 300 ]; do \
         i=$((i+1)); echo $i | cat > /dev/null; done; echo done'; code=$?\n\
         cp {small}/t.hwt {kept}; exit $code",
        small = small.display(),
        heapwise = common::program().display(),
        kept = kept.display(),
    );
    let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", &job]).output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && output.status.code() != Some(1) => output,
        _ => return eprintln!("skipped: no small file system to be had"),
    };
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "the program goes on: {error}");
    assert_eq!((output.status.code(), error.lines().count()), (Some(0), 1), "{error}");
    assert!(error.contains("No space left on device; the trace so far,"), "{error}");
    let trace = Trace::open(&kept).expect("a trace");
    assert!(trace.damage().is_some_and(heapwise_trace::Error::is_cut), "{:?}", trace.damage());
    let whole = trace.events().filter_map(Result::ok).count();
    assert!(whole > 5_000, "{whole} events");
}

#[test]
fn a_limit_on_files_is_one_error_and_the_rest_is_whole() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let file = directory.path().join("t.hwt");
    let run = |limit: &str| {
        let job = format!(
            "ulimit {limit}; exec {} record -o {} -- sh -c 'i=0; while [ $i -lt 60 ]; do \
             i=$((i+1)); echo $i | cat > /dev/null; done; exit 5'",
            common::program().display(),
            file.display(),
        );
        let output = std::process::Command::new("bash").args(["-c", &job]).output();
        let output = output.expect("bash runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = run("-S -f 40");
    assert_eq!((code, error.lines().count()), (Some(5), 1), "{error}");
    assert!(error.contains("File too large; the trace so far, "), "{error}");
    let trace = Trace::open(&file).expect("a trace");
    assert!(events_before_damage(&trace) > 0);
    let (code, error) = run("-f 40");
    assert_eq!((code, error.lines().count()), (Some(125), 1), "{error}");
    assert!(error.contains("`ulimit -f` for 1 GiB"), "{error}");
}

/// Events of a trace that ends early.
fn events_before_damage(trace: &Trace) -> usize {
    trace.events().take_while(Result::is_ok).count()
}

#[test]
fn a_timeline_joins_calls_and_kernel() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let Some(program) = program(
        directory.path(),
        "joined",
        "int main(void) {\n\
           mallopt(M_MMAP_THRESHOLD, 65536);\n\
           for (int i = 0; i < 100; i++) free(malloc(40));\n\
           sink = malloc(777777); memset(sink, 1, 777777); free(sink); return 0; }\n",
    ) else {
        return;
    };
    record(directory.path(), &[], &[program.to_str().expect("utf-8")]);
    let file = directory.path().join("trace.hwt");
    let output = heapwise().arg("timeline").arg(&file).output().expect("heapwise runs");
    let text = String::from_utf8(output.stdout).expect("utf-8");
    let lines: Vec<&str> = text.lines().collect();
    let malloc = lines.iter().position(|l| l.contains(" malloc(777777) = 0x")).expect("malloc");
    assert!(lines[malloc + 1].contains("└ mmap(7"), "{}", lines[malloc + 1]);
    let free = lines[malloc..].iter().position(|l| l.contains(" free(0x")).expect("free") + malloc;
    assert!(lines[free + 1].contains("└ munmap(0x"), "{}", lines[free + 1]);
    assert!(lines.iter().any(|l| l.contains(" frees without the kernel")), "{text}");

    let output = heapwise().arg("timeline").arg("--json").arg(&file).output().expect("runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["schema"], &json["complete"]), (&"heapwise.timeline/1".into(), &true.into()));
    assert!(json["live_peak_bytes"].as_u64().expect("a number") >= 777_777);
    let calls = json["calls"].as_array().expect("calls");
    let call = calls.iter().find(|c| c["size"] == 777_777).expect("the call");
    let kernel = &call["kernel"][0];
    assert_eq!((&kernel["call"], &kernel["cause"]), (&"mmap".into(), &"malloc".into()));

    let page = directory.path().join("t.html");
    heapwise().arg("timeline").arg(&file).arg("--html").arg(&page).assert().success();
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<polyline"));
}

#[test]
fn what_was_recorded_is_told_as_json() {
    needs_library!();
    let directory = tempdir().expect("a directory");
    let file = directory.path().join("trace.hwt");
    let output = heapwise()
        .args(["record", "--json", "-o"])
        .arg(&file)
        .args(["--", "sh", "-c", "echo out; exit 3"])
        .output()
        .expect("heapwise runs");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"out\n"[..]), "{output:?}");
    let object: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert_eq!(object["schema"], "heapwise.recording/1");
    let trace = Trace::open(&file).expect("a trace");
    // An event is one record or two, and there are those of the recorder itself.
    let told = object["events"].as_u64().expect("a number");
    assert!(told >= events(&trace).len() as u64 && told <= trace.records(), "{told}");
    let bytes = std::fs::metadata(&file).expect("a file").len();
    assert_eq!(object["file_bytes"].as_u64(), Some(bytes));
    assert_eq!((&object["exit_code"], &object["error"]), (&3.into(), &serde_json::Value::Null));
}
