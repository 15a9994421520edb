//! `heapwise replay` against the original: the same program, run for real and from its trace.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{compile, heapwise, needs_library};
use heapwise_replay::calls;
use heapwise_trace::{Builder, Event, ProcessStart, What, sample};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Tides: allocates and resizes at random up to `SLOTS` blocks, frees the newest first, again and
/// again, under some large ones that stay to the end; tells its own peak. (Large blocks that come
/// and go, or frees at random, leave glibc's break to chance: a few bytes more at the beginning
/// move the number of its calls by a tenth.)
const ORIGINAL: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { SLOTS = 3000, TIDES = 20, LARGE = 60 };
static uint64_t state = 42;
static uint64_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}
static size_t size_of(uint64_t kind, uint64_t size) {
    if (kind < 20) return 1000 + size % 30000;
    return 1 + size % 500;
}
static void *blocks[SLOTS], *large[LARGE];
int main(void) {
    for (int i = 0; i < LARGE; i++) large[i] = memset(malloc(200000 + i * 1000), 1, 200000 + i * 1000);
    for (int tide = 0; tide < TIDES; tide++) {
        for (int i = 0; i < SLOTS; i++) {
            uint64_t kind = next() % 100;
            size_t size = size_of(kind, next());
            blocks[i] = memset(malloc(size), 1, size);
            if (kind % 5 == 0) {
                size_t more = size + next() % 100;
                blocks[i] = realloc(blocks[i], more);
                memset((char *)blocks[i] + size, 1, more - size);
            }
        }
        for (int i = SLOTS - 1; i >= 0; i--)
            if (i % 100 || tide == TIDES - 1) free(blocks[i]);
            else blocks[i] = NULL;
    }
    for (int i = 0; i < LARGE; i++) free(large[i]);
    char line[256];
    long peak = 0, file = 0, n;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmHWM: %ld", &n) == 1) peak = n;
        if (sscanf(line, "RssFile: %ld", &n) == 1) file = n;
    }
    printf("%ld\n", peak - file);
    return 0;
}
"#;

/// The same steps as a trace, one in `step_ns`.
fn trace_of_original(tides: u32, step_ns: u64) -> Vec<u8> {
    const SLOTS: usize = 3000;
    let mut state = 42u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut builder = Builder::new(Vec::new()).unwrap();
    let start = ProcessStart { pid: 100, ..ProcessStart::default() };
    let process = builder.process(start, &["original"]).unwrap();
    let mut time_ns = 0;
    let mut push = |what| {
        time_ns += step_ns;
        builder.push(&Event { time_ns, process, thread: 100, what }).unwrap();
    };
    // Addresses only have to differ.
    let mut fresh = 0x10_0000_0000u64;
    let mut address = || {
        fresh += 1 << 20;
        fresh
    };
    let large_size = |index: u64| 200_000 + index * 1000;
    let large: Vec<u64> = (0..60)
        .map(|index| {
            let address = address();
            push(What::Malloc { size: large_size(index), address, stack: 0 });
            address
        })
        .collect();
    for tide in 0..tides {
        let mut blocks = Vec::new();
        for _ in 0..SLOTS {
            let (kind, size) = (next() % 100, next());
            let size = match kind {
                0..20 => 1000 + size % 30_000,
                _ => 1 + size % 500,
            };
            let mut block = address();
            push(What::Malloc { size, address: block, stack: 0 });
            if kind % 5 == 0 {
                let old = std::mem::replace(&mut block, address());
                push(What::Realloc {
                    size: size + next() % 100,
                    old,
                    address: block,
                    stack: 0,
                    kept: false,
                });
            }
            blocks.push(block);
        }
        for (index, &address) in blocks.iter().enumerate().rev() {
            if index % 100 != 0 || tide == tides - 1 {
                push(What::Free { address });
            }
        }
    }
    large.into_iter().for_each(|address| push(What::Free { address }));
    builder.finish().unwrap()
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn replay(trace: &Path, arguments: &[&str]) -> Value {
    let output =
        heapwise().arg("replay").arg(trace).arg("--json").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64, absolute: f64) {
    let allowed = (expected * tolerance).max(absolute);
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found}, expected {expected} ± {allowed}"
    );
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_replay_on_glibc_is_like_the_original() {
    let directory = tempdir().unwrap();
    let Some(program) = compile(directory.path(), "original", ORIGINAL, &["-O1"]) else { return };
    let idle = "int main(void) { return 0; }";
    let Some(idle) = compile(directory.path(), "idle", idle, &[]) else { return };
    let run = |program: &Path| {
        let mut command = Command::new(program);
        command.stdout(Stdio::piped());
        let mut child = calls::spawn(command).ok()?;
        let (calls, status) = calls::follow(&child).unwrap();
        assert_eq!(status, 0);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
        Some((calls, said))
    };
    let (Some((original, peak)), Some((start_up, _))) = (run(&program), run(&idle)) else {
        eprintln!("skipped: ptrace is refused here");
        return;
    };
    let peak_bytes = peak.trim().parse::<f64>().unwrap() * 1024.0;

    let trace = file(directory.path(), "original.trace", &trace_of_original(20, 1000));
    let object = replay(&trace, &["--glibc", "--runs", "1"]);
    let result = &object["results"][0];
    // The original's stack and data are in its figure, and two pages of them are not in ours.
    near("peak RSS", number(&result["rss_peak_bytes"]["median"]), peak_bytes, 0.05, 0.0);
    let calls = &result["kernel_calls"];
    let beyond = |total: u64, start: u64| (total - start) as f64;
    near("brk", number(&calls["brk"]), beyond(original.brk, start_up.brk), 0.05, 3.0);
    near("mmap", number(&calls["mmap"]), beyond(original.mmap, start_up.mmap), 0.05, 3.0);
    near("munmap", number(&calls["munmap"]), beyond(original.munmap, start_up.munmap), 0.05, 3.0);
    assert!(beyond(original.mmap, start_up.mmap) > 50.0, "{original:?}");
}

/// Records a program, then runs it once more on the C library's malloc and replays the record there;
/// its heap is of at least so many bytes.
fn like_its_original(command: &[&str]) {
    like_its_original_of(10e6, command);
}

fn like_its_original_of(least_bytes: f64, command: &[&str]) {
    if Command::new(command[0]).arg("--version").output().is_err() {
        eprintln!("skipped: no {}", command[0]);
        return;
    }
    let directory = tempdir().unwrap();
    let trace = directory.path().join("program.hwt");
    // Python's own arenas are beside malloc, and the order of names is chance, in Perl as well.
    let steady = [("PYTHONMALLOC", "malloc"), ("PYTHONHASHSEED", "0"), ("PERL_HASH_SEED", "0")];
    heapwise()
        .args(["record", "-o"])
        .arg(&trace)
        .arg("--")
        .args(command)
        .envs(steady)
        .assert()
        .code(0);
    let output = heapwise()
        .arg("replay")
        .arg(&trace)
        .args(["--json", "--glibc", "--runs", "1", "--"])
        .args(command)
        .envs(steady)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("not permitted") {
        eprintln!("skipped: ptrace is refused here");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [original, replayed] = [0, 1].map(|index| &object["results"][index]);
    assert_eq!((&original["malloc"], &replayed["malloc"]), (&"original".into(), &"glibc".into()));
    let peak = |of: &Value| number(&of["rss_peak_bytes"]["median"]);
    assert!(peak(original) > least_bytes, "{original}");
    near("peak RSS", peak(replayed), peak(original), 0.05, 0.0);
    for name in ["brk", "mmap"] {
        let calls = |of: &Value| number(&of["kernel_calls"][name]);
        near(name, calls(replayed), calls(original), 0.05, 3.0);
    }
}

/// Has mappings of its own besides its blocks, as a garbage collector does.
const COLLECTOR: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
int main(void) {
    for (int i = 0; i < 200; i++) {
        if (mmap(0, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return 1;
        for (int n = 0; n < 100; n++) memset(malloc(1000), 1, 1000);
    }
    return 0;
}
"#;

#[test]
fn a_programs_own_mappings_are_not_its_mallocs() {
    needs_library!();
    let directory = tempdir().unwrap();
    if let Some(program) = compile(directory.path(), "collector", COLLECTOR, &["-O1"]) {
        like_its_original(&[program.to_str().unwrap()]);
    }
}

/// A repository whose history git has something to say about.
fn repository(directory: &Path) -> Option<PathBuf> {
    let mut draw = 5u64;
    let mut line = || {
        let mut word = || {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("word{}", draw >> 50)
        };
        (0..8).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = (0..3000).map(|_| line()).collect();
    let mut stream = String::new();
    for commit in 0..40 {
        for index in 0..20 {
            lines[(commit * 997 + index * 149) % 3000] = line();
        }
        let text = lines.join("\n");
        stream += &format!(
            "commit refs/heads/main\ncommitter A <a@b> {} +0000\ndata 1\nc\n\
             M 100644 inline file\ndata {}\n{text}\n",
            1_700_000_000 + commit,
            text.len(),
        );
    }
    let path = directory.join("repository");
    let git = || Command::new("git");
    git().args(["init", "-q", "--bare"]).arg(&path).status().ok()?.success().then_some(())?;
    let mut import = git();
    import.arg("--git-dir").arg(&path).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut import = import.spawn().ok()?;
    std::io::Write::write_all(&mut import.stdin.take()?, stream.as_bytes()).ok()?;
    import.wait().ok()?.success().then_some(path)
}

/// git keeps tables that it hardly uses.
#[test]
fn pages_never_touched_are_not_touched_by_a_replay() {
    needs_library!();
    let directory = tempdir().unwrap();
    match repository(directory.path()) {
        Some(path) => {
            let path = format!("--git-dir={}", path.display());
            let log = ["git", &path, "--no-pager", "log", "-p", "--stat", "main"];
            like_its_original_of(1.5e6, &log);
        }
        None => eprintln!("skipped: no git"),
    }
}

#[test]
fn replays_of_real_programs_on_glibc_are_like_their_originals() {
    needs_library!();
    like_its_original(&[
        "sqlite3",
        ":memory:",
        "create table t(a integer primary key, b text); \
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) \
         insert into t select i, hex(zeroblob(20 + i % 60)) from n; \
         create index tb on t(b); select count(*) from t group by b limit 1;",
    ]);
    like_its_original(&[
        "perl",
        "-e",
        "my %h; for my $i (1..150000) { $h{\"k\" . ($i % 40000)} .= 'x' x ($i % 37); } \
         my @a = map { [$_, $h{$_}] } sort keys %h; print scalar(@a);",
    ]);
    // With 20,000 records it is chance, from one run of the original to the next, whether a block of
    // a megabyte finds room below the break or gets a mapping: eight calls of brk in 170. Here it is not.
    like_its_original(&[
        "python3",
        "-c",
        "import json; d = [{'id': i, 'name': 'n%d' % i, 'tags': ['a', str(i)]} for i in range(30000)]; \
         print(len(json.loads(json.dumps(d))))",
    ]);
}

#[test]
fn the_simulation_predicts_the_real_replay_and_repeats_itself() {
    needs_library!();
    let directory = tempdir().unwrap();
    let trace = file(directory.path(), "original.trace", &trace_of_original(4, 1000));
    let figure = |of: &Value, name: &str| number(&of[name]["median"]);
    let object = replay(&trace, &["--heapwise", "--sim", "--runs", "1"]);
    for name in ["rss_peak_bytes", "rss_mean_bytes"] {
        let [real, simulated] = [0, 1].map(|index| figure(&object["results"][index], name));
        near(name, simulated, real, 0.05, 0.0);
    }
    for name in ["brk", "mmap", "munmap"] {
        let calls = [0, 1].map(|index| object["results"][index]["kernel_calls"][name].as_f64());
        if let [Some(real), Some(simulated)] = calls {
            near(name, simulated, real, 0.05, 4.0);
        }
    }
    // What the machine alone can tell; and where memory was at the peak adds up.
    let machine = &object["results"][1]["machine"];
    let part = |name: &str| number(&machine["peak"][name]);
    let parts = part("chunk_bytes") + part("cached_bytes") + part("free_bytes");
    near("parts of the peak", parts, part("rss_bytes"), 0.1, 0.0);
    assert!(part("held_bytes") < part("chunk_bytes"), "{machine}");
    assert!(number(&machine["steps"]) > figure(&object["results"][1], "faults"), "{machine}");
    // How much is given back depends on the time that passes, which the simulation knows only
    // by its prices: so once without giving back, where all must agree.
    // And without huge pages: where the first begins is the chance of the break's place.
    let small_pages = format!("HEAPWISE_HUGE_GROWTH={}", usize::MAX);
    let settings = ["--env", "HEAPWISE_PURGE=0", "--env", &small_pages];
    let keeping = [&["--heapwise", "--sim", "--runs", "1"], &settings[..]].concat();
    let object = replay(&trace, &keeping);
    let (real, simulated) = (&object["results"][0], &object["results"][1]);
    for name in ["rss_peak_bytes", "rss_mean_bytes", "faults"] {
        near(name, figure(simulated, name), figure(real, name), 0.05, 0.0);
    }
    let sum = |of: &Value| -> Option<f64> {
        Some(of["kernel_calls"].as_object()?.values().map(number).sum())
    };
    match sum(real) {
        Some(real) => near("kernel calls", sum(simulated).unwrap(), real, 0.05, 8.0),
        None => eprintln!("skipped: ptrace is refused here"),
    }
    let again = replay(&trace, &keeping[1..]);
    assert_eq!(again["results"][0], object["results"][1]);
}

/// Threads that hand blocks to each other, as an invented program does.
fn threads() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let trace = file(directory.path(), "threads.trace", &sample::trace(7, 5, 40_000).unwrap());
    (directory, trace)
}

#[test]
fn threads_keep_their_order_on_every_malloc() {
    needs_library!();
    let (_directory, trace) = threads();
    let object = replay(&trace, &["--heapwise", "--glibc", "--sim", "--runs", "2"]);
    assert_eq!(object["script"]["threads"], 5);
    for result in object["results"].as_array().unwrap() {
        assert_eq!(result["failed"], 0, "{result}");
        let held = number(&object["script"]["live_peak_bytes"]);
        let peak = number(&result["rss_peak_bytes"]["min"]);
        // Each of five threads may have an arena of its own, with its pad and its cache: 3 to 3.5 MiB
        // each, by how the threads happen to run.
        assert!(peak > held && peak < held + 24e6, "{peak}, held {held}");
    }
}

/// Other mallocs, where they are installed: each plays all threads, and its calls are counted.
#[test]
fn peers_are_played_for_real() {
    let (_directory, trace) = threads();
    let held = |object: &Value| number(&object["script"]["live_peak_bytes"]);
    for (library, name) in [
        ("libjemalloc.so.2", "jemalloc"),
        ("libmimalloc.so.2", "mimalloc"),
        ("libtcmalloc_minimal.so.4", "tcmalloc_minimal"),
    ] {
        let output = heapwise()
            .arg("replay")
            .arg(&trace)
            .args(["--json", "--runs", "1", "--preload", library])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("there is no library") {
            eprintln!("skipped: no {library}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{said}");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        let result = &object["results"][0];
        assert_eq!((&result["malloc"], &result["failed"]), (&name.into(), &0.into()));
        assert_eq!(object["script"]["threads"], 5);
        let peak = number(&result["rss_peak_bytes"]["median"]);
        // It was that malloc: it held what the program did, and took memory in its own way.
        assert!(peak > held(&object) && peak < held(&object) + 32e6, "{name}: {peak}");
        assert!(said.contains("not counted") || result["kernel_calls"].is_object(), "{said}");
    }
}

#[test]
fn a_setting_reaches_the_malloc_and_the_table_names_all() {
    let (_directory, trace) = threads();
    let object =
        replay(&trace, &["--glibc", "--runs", "1", "--env", "MALLOC_MMAP_THRESHOLD_=4096"]);
    let mmap = number(&object["results"][0]["kernel_calls"]["mmap"]);
    assert!(mmap > 500.0, "{mmap}");
    heapwise()
        .arg("replay")
        .arg(&trace)
        .args(["--glibc", "--sim", "--runs", "1", "--touch", "pages", "--no-calls"])
        .assert()
        .code(0)
        .stdout(contains("glibc").and(contains("simulated")).and(contains("MEAN RSS")));
}

#[test]
fn hostile_files_are_one_sentence() {
    let (directory, trace) = threads();
    let good = fs::read(&trace).unwrap();
    let fails = |name: &str, bytes: &[u8]| {
        let path = file(directory.path(), name, bytes);
        let output = heapwise().args(["replay", "--sim"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for (name, bytes) in [("empty", &[][..]), ("text", b"hello, world\n"), ("cut", &good[..20])] {
        let (code, said) = fails(name, bytes);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{name}: {said}");
    }
    // Cut in the middle: what is there is played.
    let (code, said) = fails("half", &good[..good.len() / 2]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ends early"), "{said}");
    // A bent byte somewhere: one sentence, or it did not matter. Never a panic.
    for at in (0..good.len()).step_by(good.len() / 40 + 1) {
        let mut bent = good.clone();
        bent[at] ^= 0x55;
        let (code, said) = fails("bent", &bent);
        assert!(matches!(code, Some(0 | 2)), "byte {at}: {code:?} {said}");
        assert!(said.lines().count() <= 1, "byte {at}: {said}");
    }
    heapwise().args(["replay", "/no/such/file"]).assert().code(2).stderr(contains("/no/such/file"));
    heapwise()
        .arg("replay")
        .arg(&trace)
        .args(["--preload", "libnosuch.so.1"])
        .assert()
        .code(2)
        .stderr(contains("libnosuch.so.1"));
}
