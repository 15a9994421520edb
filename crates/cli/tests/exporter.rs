//! `heapwise exporter` as Prometheus meets it.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{compile, heapwise, program};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Allocates 16 MiB, frees most of it, renames itself, and waits.
const TARGET: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void) {
    static char *blocks[4000];
    for (int i = 0; i < 4000; i++) blocks[i] = memset(malloc(4000), 'x', 4000);
    for (int i = 0; i < 3999; i++) free(blocks[i]);
    prctl(PR_SET_NAME, "od\"d\\name", 0, 0, 0);
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
}
"#;

/// A child that does not outlive the test.
struct Running(Child);

impl Running {
    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Target {
    process: Running,
    path: PathBuf,
    directory: TempDir,
}

impl Target {
    fn start() -> Option<Self> {
        let directory = tempdir().unwrap();
        let path = compile(directory.path(), "watched-by-test", TARGET, &[])?;
        let process = Self::launch(&path);
        Some(Self { process, path, directory })
    }

    fn launch(path: &Path) -> Running {
        let mut child = Command::new(path).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Running(child)
    }

    fn pid(&self) -> String {
        self.process.0.id().to_string()
    }
}

/// An exporter on a port of its own; the port.
fn exporter(arguments: &[&str]) -> (Running, u16) {
    let mut child = Command::new(program())
        .args(["exporter", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim_end().strip_suffix("/metrics").and_then(|url| url.rsplit(':').next());
    let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    (Running(child), port)
}

/// Status line with headers, and body.
fn request(port: u16, head: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}

fn get(port: u16, path: &str, accept: &str) -> (String, String) {
    request(port, &format!("GET {path} HTTP/1.1\r\nAccept: {accept}")).unwrap()
}

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";

/// The value of the only sample whose line begins so.
fn value(page: &str, beginning: &str) -> f64 {
    let lines: Vec<_> = page.lines().filter(|line| line.starts_with(beginning)).collect();
    assert_eq!(lines.len(), 1, "{beginning}: {lines:?}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_page_accounts_for_the_process_in_either_format() {
    let Some(mut target) = Target::start() else { return };
    let (_exporter, port) = exporter(&["--pid", &target.pid(), "--interval", "1"]);
    let (head, page) = get(port, "/metrics", OPEN_METRICS);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics-text"), "{head}");
    assert!(page.ends_with("# EOF\n"));
    let own = format!("{{pid=\"{}\",name=\"od\\\"d\\\\name\"", target.pid());
    assert_eq!(value(&page, &format!("heapwise_up{own}}}")), 1.0);
    let rows: f64 = page
        .lines()
        .filter(|line| line.starts_with(&format!("heapwise_account_bytes{own}")))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(rows, value(&page, &format!("heapwise_rss_bytes{own}}}")));
    assert!(value(&page, &format!("heapwise_trim_gain_bytes{own}}}")) > 15e6);
    assert!(page.contains(&format!("heapwise_verdict{own},situation=\"pinned_break\"}} 1\n")));

    let (head, page) = get(port, "/metrics", "*/*");
    assert!(head.contains("text/plain; version=0.0.4") && !page.contains("# EOF"), "{head}");
    assert!(get(port, "/", "*/*").1.contains("href=\"/metrics\""));
    assert!(get(port, "/nothing", "*/*").0.starts_with("HTTP/1.1 404"));
    let post = request(port, "POST /metrics HTTP/1.1\r\nContent-Length: 0").unwrap();
    assert!(post.0.starts_with("HTTP/1.1 405"), "{}", post.0);

    // It has ended: not one line is left.
    target.process.stop();
    let page = get(port, "/metrics", OPEN_METRICS).1;
    assert!(!page.contains(&target.pid()), "{page}");
    assert_eq!(value(&page, "heapwise_exporter_processes "), 0.0);
}

#[test]
fn scrapes_do_not_multiply_looks() {
    let Some(target) = Target::start() else { return };
    let (_exporter, port) = exporter(&["--pid", &target.pid(), "--interval", "3600"]);
    for _ in 0..5 {
        let page = get(port, "/metrics", OPEN_METRICS).1;
        assert_eq!(value(&page, "heapwise_exporter_looks_total "), 1.0);
    }
}

#[test]
fn processes_are_chosen_in_four_ways_up_to_a_limit() {
    let Some(target) = Target::start() else { return };
    let second = Target::launch(&target.path);
    let once = |arguments: &[&str]| {
        let output = heapwise().args(["exporter", "--once"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let page = String::from_utf8(output.stdout).unwrap();
        let has = |pid: &str| page.contains(&format!("heapwise_up{{pid=\"{pid}\""));
        (has(&target.pid()), has(&second.0.id().to_string()), page)
    };
    let (first, other, _) = once(&["--pid", &target.pid()]);
    assert!(first && !other);
    let pattern = format!("^{}$", target.path.display());
    let (first, other, page) = once(&["--match", &pattern]);
    assert!(first && other, "{page}");
    let (first, other, page) = once(&["--match", &pattern, "--max-processes", "1"]);
    assert!(first != other);
    assert_eq!(value(&page, "heapwise_exporter_processes_left_out "), 1.0);
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", target.pid())).unwrap();
    let group = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find(|g| *g != "/");
    match group {
        Some(group) => assert!(once(&["--cgroup", group, "--max-processes", "100000"]).0),
        None => eprintln!("skipped: choice by control group: the tests run in the root group"),
    }
    heapwise().args(["exporter", "--once"]).assert().code(2).stderr(contains("--pid"));
    heapwise().args(["exporter", "--once", "--match", "("]).assert().code(2);
    heapwise().args(["exporter", "--once", "--cgroup", "/"]).assert().code(2);
}

#[test]
fn a_taken_address_and_a_missing_directory_are_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    heapwise()
        .args(["exporter", "--pid", "1", "--listen", &address])
        .assert()
        .code(1)
        .stderr(contains("cannot listen").and(contains("panicked").not()));
    heapwise()
        .args(["exporter", "--pid", "1", "--textfile", "/no/such/directory"])
        .assert()
        .code(2)
        .stderr(contains("no directory"));
}

#[test]
fn the_file_is_whole_and_goes_with_the_exporter() {
    let Some(target) = Target::start() else { return };
    let directory = target.directory.path().join("textfile");
    fs::create_dir(&directory).unwrap();
    let child = Command::new(program())
        .args(["exporter", "--pid", &target.pid(), "--interval", "1", "--textfile"])
        .arg(&directory)
        .spawn()
        .unwrap();
    let mut exporter = Running(child);
    let file = directory.join("heapwise.prom");
    let page = within(Duration::from_secs(60), || fs::read_to_string(&file).ok());
    assert!(page.contains("heapwise_rss_bytes{pid=") && page.ends_with('\n'));
    if let Some(verdict) = promtool(&["check", "metrics"], &page) {
        assert_eq!(verdict, "");
    }
    exporter.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(exporter.0.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

/// What `promtool` says of `input`: nothing if all is well; `None` where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: promtool is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || !said.is_empty());
    Some(said)
}

/// Asks until there is an answer.
fn within<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < time, "no answer within {time:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

#[test]
fn prometheus_scrapes_it_and_answers_the_dashboard() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("skipped: prometheus is not installed");
        return;
    }
    let Some(mut target) = Target::start() else { return };
    // Its path is its own, its name is that of other tests' targets too.
    let pattern = target.path.display().to_string();
    let (_exporter, port) = exporter(&["--match", &pattern, "--interval", "1"]);
    let directory = tempdir().unwrap();
    let configuration = directory.path().join("prometheus.yml");
    let text = format!(
        "scrape_configs: [{{job_name: heapwise, scrape_interval: 1s, \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    );
    fs::write(&configuration, text).unwrap();
    let its_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{its_port}"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Running(prometheus);

    let query = |expression: &str| -> Option<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let head = format!("GET /api/v1/query?query={encoded} HTTP/1.0");
        serde_json::from_str(&request(its_port, &head).ok()?.1).ok()
    };
    let minute = Duration::from_secs(60);
    let sum = |expression: &str| -> Option<f64> {
        query(expression)?["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let rss = within(minute, || sum("heapwise_rss_bytes"));
    assert!(rss > 16e6, "{rss}");
    assert_eq!(sum("sum(heapwise_account_bytes) - sum(heapwise_rss_bytes)"), Some(0.0));
    let name = query("heapwise_up").unwrap()["data"]["result"][0]["metric"]["name"].clone();
    assert_eq!(name, "od\"d\\name");

    // Everything that the dashboard and the alerts ask is understood, and the panels show something.
    if let Ok(dashboard) = fs::read_to_string(repository("examples/grafana/heapwise.json")) {
        let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
        let mut empty = Vec::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let filled = expression.replace("$process", ".*").replace("$__rate_interval", "1m");
                let answer = query(&filled).expect("an answer");
                assert_eq!(answer["status"], "success", "{filled}: {answer}");
                if answer["data"]["result"].as_array().unwrap().is_empty() {
                    empty.push(filled);
                }
            }
        }
        // A rate needs two scrapes, a group may have no limit or no memory controller.
        empty.retain(|expression| !expression.contains("rate(") && !expression.contains("cgroup"));
        assert!(empty.is_empty(), "{empty:?}");
        let rules = repository("examples/prometheus/alerts.yml").display().to_string();
        assert_eq!(promtool(&["check", "rules", &rules], ""), Some(String::new()));
    }

    // What has ended is stale with the next scrape, not after five minutes.
    target.process.stop();
    within(minute, || {
        let answer = query("heapwise_rss_bytes")?;
        answer["data"]["result"].as_array()?.is_empty().then_some(())
    });
}

#[test]
fn once_as_json_has_the_same_figures() {
    let Some(target) = Target::start() else { return };
    let once = |more: &[&str]| {
        let pid = target.pid();
        let output =
            heapwise().args(["exporter", "--once", "--pid", &pid]).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let object: Value = serde_json::from_str(&once(&["--json"])).expect("one object");
    assert_eq!(object["schema"], "heapwise.exporter/1");
    let families = object["families"].as_array().unwrap();
    let text = once(&[]);
    let heads: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    assert_eq!(families.len(), heads.len());
    let family = |name: &str| families.iter().find(|family| family["name"] == name).unwrap();
    let rss = family("heapwise_rss_bytes");
    assert_eq!((&rss["type"], &rss["unit"]), (&"gauge".into(), &"bytes".into()));
    let sample = &rss["samples"][0];
    assert_eq!(sample["labels"]["name"], "od\"d\\name");
    assert!(sample["value"].as_u64().is_some_and(|bytes| bytes > 0));
    // Two looks: a page may have come between them, but not each time.
    let in_object = || {
        let object: Value = serde_json::from_str(&once(&["--json"])).expect("one object");
        let families = object["families"].as_array().unwrap().clone();
        let rss = families.iter().find(|family| family["name"] == "heapwise_rss_bytes").unwrap();
        rss["samples"][0]["value"].as_u64().expect("a whole number")
    };
    let in_text = || {
        let text = once(&[]);
        let line = text.lines().find(|line| line.starts_with("heapwise_rss_bytes{")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().expect("a whole number")
    };
    assert!((0..10).any(|_| in_object() == in_text()));
    drop(target);
    heapwise().args(["exporter", "--json", "--pid", "1"]).assert().code(2);
}
