//! Real programs under preload: what they print and leave must be what they
//! print and leave without us. A program that is not on this machine is left
//! out with a message; `.ci/install` installs them all.

use heapwise_tests::allocator::Allocator;
use heapwise_tests::compare::Comparison;
use heapwise_tests::program::{find, find_or_skip};
use heapwise_tests::run::{on, run};
use heapwise_tests::{library, program};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_secs(60);

/// The tests below would prove nothing if the library were not there.
#[test]
fn the_library_is_in_the_process() {
    let Some(bash) = find_or_skip("bash") else { return };
    if library::shared().is_none() {
        return;
    }
    let mut command = on(Allocator::Heapwise, bash);
    command.args(["-c", "cat /proc/self/maps; cat /proc/$$/maps"]);
    let outcome = run(command, None, SHORT);
    assert!(outcome.success() && outcome.stderr.is_empty(), "{}", outcome.describe());
    let mapped = outcome.stdout_text().matches("libheapwise.so").count();
    assert!(mapped >= 4, "not preloaded into bash and its child: {}", outcome.describe());
}

// ---------------------------------------------------------------- python3

/// The interpreter itself (pyenv's `python3` is a shell script), if it has its
/// own test suite.
fn python_with_tests() -> Option<PathBuf> {
    let python = find_or_skip("python3")?;
    let output = Command::new(python)
        .args(["-c", "import sys, test.test_json; print(sys.executable)"])
        .output()
        .expect("python3 runs");
    if !output.status.success() {
        eprintln!(
            "SKIPPED: python3 has no `test` package (Debian: apt-get install libpython3-testsuite)"
        );
        return None;
    }
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn python_tests(name: &str, arguments: &[&str]) {
    let Some(python) = python_with_tests() else { return };
    Comparison::of(name, &python)
        .arguments(&["-m", "test", "-q"])
        .arguments(arguments)
        .environment("PYTHONMALLOC", "malloc")
        .keep_lines(|line| line.starts_with("Total test") || line.starts_with("Result"))
        .check();
}

#[test]
fn python_test_suite_types_and_parsers() {
    python_tests(
        "python-types",
        &["test_json", "test_dict", "test_list", "test_re", "test_zlib", "test_weakref"],
    );
}

#[test]
fn python_test_suite_threads() {
    python_tests(
        "python-threads",
        &[
            "-m",
            "LockTests",
            "-m",
            "ConditionTests",
            "-m",
            "BarrierTests",
            "-m",
            "SemaphoreTests",
            "-m",
            "EventTests",
            "-m",
            "TimerTests",
            "test_threading",
        ],
    );
}

#[test]
fn python_test_suite_subprocesses() {
    python_tests("python-subprocess", &["-m", "POSIXProcessTestCase", "test_subprocess"]);
}

#[test]
fn python_large_heap() {
    let Some(python) = find_or_skip("python3") else { return };
    Comparison::of("python-large", &python)
        .arguments(&["script.py"])
        .environment("PYTHONMALLOC", "malloc")
        .environment("PYTHONHASHSEED", "0")
        .file("script.py", PYTHON_SCRIPT)
        .check();
}

const PYTHON_SCRIPT: &str = r#"
import collections, hashlib, threading, random
x = [bytes(i % 5000) for i in range(10**5)]
print(sum(map(len, x)))
del x[::2]
d = collections.defaultdict(list)
r = random.Random(4711)
for i in range(300000):
    d[r.randrange(5000)].append("v" * r.randrange(60))
print(len(d), hashlib.sha256("".join(sorted("".join(v) for v in d.values())).encode()).hexdigest())
def work(n, out):
    r = random.Random(n)
    s = {}
    for i in range(20000):
        s[r.randrange(1000)] = [r.randrange(i + 1)] * r.randrange(30)
    out[n] = sum(sum(v) for v in s.values())
out = {}
t = [threading.Thread(target=work, args=(n, out)) for n in range(8)]
[a.start() for a in t]; [a.join() for a in t]
print(sorted(out.items()))
"#;

// ---------------------------------------------------------------- scripts

#[test]
fn perl() {
    let Some(perl) = find_or_skip("perl") else { return };
    Comparison::of("perl", &perl)
        .arguments(&["script.pl"])
        .environment("PERL_HASH_SEED", "0")
        .file("script.pl", PERL_SCRIPT)
        .check();
}

const PERL_SCRIPT: &str = r#"
use strict; use warnings;
my (%words, @list); my $seed = 1;
sub rnd { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed % $_[0]; }
for my $i (1 .. 200000) {
    my $word = join '', map { chr(97 + rnd(26)) } 1 .. 1 + rnd(8);
    push @{ $words{$word} }, $i;
    $list[rnd(5000)] = $word x rnd(20);
}
print scalar(keys %words), "\n";
my $long = join ' ', map { defined $_ ? $_ : '' } @list;
my $n = () = $long =~ /a[a-m]+z/g;
(my $copy = $long) =~ s/(\w+)/ucfirst($1)/ge;
print "$n ", length($copy), " ", unpack('%32C*', $copy), "\n";
my $sum = 0;
$sum += @$_ for map { $words{$_} } sort keys %words;
print "$sum\n";
my $pid = fork; if (!$pid) { my @x = map { "y" x $_ } 1 .. 2000; exit(@x == 2000 ? 3 : 0); }
waitpid $pid, 0; print $? >> 8, "\n";
"#;

#[test]
fn lua() {
    let Some(lua) = find("lua").or_else(|| find("lua5.4")) else {
        find_or_skip("lua");
        return;
    };
    Comparison::of("lua", &lua).arguments(&["script.lua"]).file("script.lua", LUA_SCRIPT).check();
}

const LUA_SCRIPT: &str = r#"
math.randomseed(4711)
local t, sum = {}, 0
for i = 1, 300000 do
    local k = math.random(20000)
    t[k] = (t[k] or "") .. string.rep("x", math.random(10))
    if #t[k] > 100 then sum = sum + #t[k]; t[k] = nil end
end
print(sum)
local function tree(d) return d == 0 and {} or {tree(d - 1), tree(d - 1)} end
local function count(n) return n[1] and 1 + count(n[1]) + count(n[2]) or 1 end
for _ = 1, 5 do print(count(tree(14))) end
collectgarbage()
print(collectgarbage("count") > 0)
"#;

#[test]
fn bash() {
    let Some(bash) = find_or_skip("bash") else { return };
    Comparison::of("bash", &bash).arguments(&["script.sh"]).file("script.sh", BASH_SCRIPT).check();
}

const BASH_SCRIPT: &str = r#"
declare -A count
for i in {1..5000}; do
    key=$(( (i * 7919) % 131 ))
    count[$key]+="$i,"
    list+=("${count[$key]: -20}")
done
printf '%s\n' "${list[@]}" | sort | uniq -c | awk '{ s += length($0) * NR } END { print s }'
f() { local x=$1; [ "$x" -le 1 ] && echo 1 || echo $(( x * $(f $(( x - 1 )) ) )); }
f 12
for i in {1..60}; do (exit $(( i % 5 ))); printf '%s ' $?; done; echo
sed 's/0/zero/g' <(seq 1 20000) | grep -c zero
wait; echo "${#count[@]} ${#list[@]}"
"#;

#[test]
fn node() {
    let Some(node) = find_or_skip("node") else { return };
    Comparison::of("node", &node).arguments(&["script.js"]).file("script.js", NODE_SCRIPT).check();
}

const NODE_SCRIPT: &str = r#"
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto');
function work(n) {
    const parts = [];
    for (let i = 0; i < 300; i++) parts.push(Buffer.alloc(i * 37 % 9000, i & 255));
    const all = Buffer.concat(parts);
    const packed = zlib.gzipSync(all, { level: 6 });
    const back = zlib.gunzipSync(packed);
    const m = new Map();
    for (let i = 0; i < 100000; i++) m.set('k' + (i * n % 7777), [i, String(i)]);
    return crypto.createHash('sha256').update(back).update(JSON.stringify([...m].slice(0, 2000))).digest('hex');
}
if (isMainThread) {
    const all = [1, 3, 5, 7].map(n => new Promise((done, fail) => {
        const w = new Worker(__filename, { workerData: n });
        w.on('message', done); w.on('error', fail);
    }));
    Promise.all(all).then(r => { console.log(r.join('\n')); console.log(work(2)); });
} else {
    parentPort.postMessage(work(workerData));
}
"#;

// ---------------------------------------------------------------- tools

#[test]
fn sqlite3() {
    let Some(sqlite3) = find_or_skip("sqlite3") else { return };
    Comparison::of("sqlite3", &sqlite3)
        .arguments(&["data.db", ".read script.sql"])
        .file("script.sql", SQL_SCRIPT)
        .result("dump.sql")
        .result("data.db")
        .check();
}

const SQL_SCRIPT: &str = r#"
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight REAL, data BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
    INSERT INTO item SELECT i, printf('item %d of %x', i, i * 7919 % 65537), i * 0.37, zeroblob(i % 100) FROM n;
CREATE INDEX by_name ON item (name);
SELECT count(*), sum(weight), max(name) FROM item;
SELECT substr(name, 1, 6) AS s, count(*) FROM item GROUP BY s ORDER BY 2 DESC, 1 LIMIT 10;
SELECT a.id, b.id FROM item a JOIN item b ON b.name = a.name AND b.id > a.id LIMIT 5;
DELETE FROM item WHERE id % 3 = 0;
VACUUM;
PRAGMA integrity_check;
.output dump.sql
SELECT * FROM item WHERE id % 10 = 1 ORDER BY name;
"#;

#[test]
fn git() {
    let (Some(bash), Some(_)) = (find_or_skip("bash"), find_or_skip("git")) else { return };
    Comparison::of("git", &bash)
        .arguments(&["-e", "script.sh"])
        .file("script.sh", GIT_SCRIPT)
        .check();
}

const GIT_SCRIPT: &str = r#"
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='2020-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git init -q -b main repo && cd repo
git config gc.autoDetach false
git config pack.threads 2
for c in 1 2 3 4 5 6; do
    for i in $(seq 1 120); do
        mkdir -p d$(( i % 7 )); seq $c $(( i * c )) > d$(( i % 7 ))/f$i
    done
    git add -A && git commit -q -m "commit $c"
done
git checkout -q -b side HEAD~2 && seq 9000 > side && git add side && git commit -q -m side
git checkout -q main && git merge -q --no-edit side
git gc -q --aggressive --prune=now
git fsck --full --strict 2>&1
git log --stat --oneline | sha256sum
git diff HEAD~3 | sha256sum
git blame d1/f15 | sha256sum
git archive HEAD | sha256sum
git clone -q . ../copy && git -C ../copy rev-parse HEAD
git grep -c 77 | wc -l
"#;

#[test]
fn tar_and_compressors() {
    let Some(bash) = find_or_skip("bash") else { return };
    if ["tar", "gzip", "xz"].into_iter().any(|name| find_or_skip(name).is_none()) {
        return;
    }
    Comparison::of("tar", &bash)
        .arguments(&["-e", "script.sh"])
        .file("script.sh", TAR_SCRIPT)
        .result("all.tar.gz")
        .result("all.tar.xz")
        .check();
}

const TAR_SCRIPT: &str = r#"
mkdir files; for i in $(seq 1 300); do seq $i $(( i * 40 )) > files/$i; done
tar --sort=name --mtime=2020-01-01 --owner=0 --group=0 --numeric-owner -cf all.tar files
gzip -9nk all.tar; xz -k -T2 all.tar
mkdir back; tar -C back -xJf all.tar.xz; diff -r files back/files
zcat all.tar.gz | sha256sum; xz -dc all.tar.xz | sha256sum
"#;

#[test]
fn openssl() {
    let (Some(bash), Some(_)) = (find_or_skip("bash"), find_or_skip("openssl")) else { return };
    Comparison::of("openssl", &bash)
        .arguments(&["-e", "script.sh"])
        .file("script.sh", OPENSSL_SCRIPT)
        .check();
}

const OPENSSL_SCRIPT: &str = r#"
seq 1 300000 > data
openssl dgst -sha512 data
openssl enc -aes-256-cbc -K $(printf '%064d' 7) -iv $(printf '%032d' 9) -in data -out data.enc
openssl enc -d -aes-256-cbc -K $(printf '%064d' 7) -iv $(printf '%032d' 9) -in data.enc | openssl dgst -sha256
openssl genrsa -out key.pem 2048 2> messages
openssl req -x509 -key key.pem -subj /CN=heapwise -days 30 -out cert.pem 2>> messages
openssl verify -CAfile cert.pem cert.pem
openssl dgst -sha256 -sign key.pem -out sig data
openssl rsa -in key.pem -pubout -out pub.pem 2>> messages
openssl dgst -sha256 -verify pub.pem -signature sig data
"#;

// ---------------------------------------------------------------- compilers

fn compiler(name: &str, command: &str, source: &str, contents: String, options: &[&str]) {
    let Some(compiler) = find_or_skip(command) else { return };
    Comparison::of(name, &compiler)
        .arguments(options)
        .arguments(&["-c", source, "-o", "out.o"])
        .file(source, contents)
        .result("out.o")
        .check();
}

#[test]
fn gcc_large_file() {
    let mut source = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for i in 0..600 {
        let _ = write!(
            source,
            "struct s{i} {{ int a[{n}]; char *name; struct s{p} *next; }};\n\
             int f{i}(struct s{i} *s, int n) {{\n\
                 int sum = {i};\n\
                 for (int k = 0; k < n && k < {n}; k++) {{\n\
                     switch (s->a[k] % 5) {{\n\
                     case 0: sum += k * {i}; break;\n\
                     case 1: sum ^= strlen(s->name) + \"text {i}\"[k % 5]; break;\n\
                     case 2: sum -= s->next ? n : {i}; break;\n\
                     default: sum = sum * 31 + s->a[(k * 7) % {n}];\n\
                     }}\n\
                 }}\n\
                 return sum{call};\n\
             }}\n",
            n = i % 50 + 3,
            p = i.max(1) - 1,
            call = if i > 0 {
                format!(" + f{}((void *)s->next, n - 1)", i - 1)
            } else {
                String::new()
            },
        );
    }
    compiler("gcc", "gcc", "large.c", source, &["-O2", "-g", "-w"]);
}

#[test]
fn gxx_templates() {
    let mut source = String::from(
        "#include <algorithm>\n#include <functional>\n#include <map>\n#include <memory>\n\
         #include <regex>\n#include <string>\n#include <unordered_map>\n#include <vector>\n\
         template <int N> struct T { std::map<int, std::vector<std::string>> m; \
         int f(int x) { m[x].push_back(std::to_string(N + x)); \
         std::sort(m[x].begin(), m[x].end(), [](auto &a, auto &b) { return a.size() * N < b.size(); }); \
         return (int)m.size() + T<N - 1>().f(x / 2); } };\n\
         template <> struct T<0> { int f(int x) { return x; } };\n\
         bool match(const std::string &s) { static std::regex r(\"(a|b)*c+\"); return std::regex_match(s, r); }\n",
    );
    let _ = writeln!(source, "int all(int x) {{ return T<60>().f(x); }}");
    compiler("gxx", "g++", "templates.cpp", source, &["-O1", "-std=c++17", "-w"]);
}

#[test]
fn rust_with_many_threads() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_churn"));
    Comparison::of("churn", &program).check();
}

// ---------------------------------------------------------------- redis

/// A server that is ended when the test ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts redis-server in `folder` on `allocator`, loads it, and returns what
/// a fixed series of commands answers.
fn redis_session(allocator: Allocator, folder: &Path) -> String {
    fs::create_dir_all(folder).expect("scratch folders can be made");
    let socket = folder.join("s"); // paths of sockets are short
    let server = program::find("redis-server").expect("the caller has looked");
    let log = fs::File::create(folder.join("log")).expect("scratch files can be made");
    let mut command = on(allocator, server);
    command
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--io-threads", "2"])
        .arg("--unixsocket")
        .arg(&socket)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle"))
        .stdout(log);
    let mut server = Server(command.spawn().expect("redis-server starts"));
    let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    let start = Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < SHORT, "redis-server does not come up:\n{}", log());
        thread::sleep(Duration::from_millis(20));
    }
    let client = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(name);
        command.arg("-s").arg(&socket).args(arguments).env("LC_ALL", "C");
        let outcome = run(command, None, SHORT);
        assert!(outcome.success(), "{name} {arguments:?}: {}\n{}", outcome.describe(), log());
        outcome.stdout_text()
    };
    let tests = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset";
    client(
        "redis-benchmark",
        &["-q", "-n", "30000", "-c", "30", "-P", "8", "-r", "5000", "-d", "200", "-t", tests],
    );
    client("redis-cli", &["flushall"]);

    let mut answers = String::new();
    for (script, what) in [
        (
            "for i = 1, 30000 do redis.call('set', 'k' .. (i * 7919 % 20011), string.rep('v', i % 700)) end return redis.call('dbsize')",
            "strings",
        ),
        (
            "for i = 1, 20000 do redis.call('hset', 'h' .. i % 50, 'f' .. i, i) redis.call('zadd', 'z' .. i % 20, i, 'm' .. i) end return redis.call('dbsize')",
            "tables",
        ),
        (
            "for i = 1, 20000, 3 do redis.call('del', 'k' .. i) end return redis.call('dbsize')",
            "deleted",
        ),
        (
            "local s = 0 for _, k in ipairs(redis.call('keys', 'k*')) do s = s + #redis.call('get', k) end return s",
            "sum",
        ),
    ] {
        answers += &format!("{what} {}", client("redis-cli", &["eval", script, "0"]));
    }
    answers += &client("redis-cli", &["debug", "digest"]); // refused where debug is off: the same on both
    answers += &client("redis-cli", &["save"]); // and forks: bgsave
    answers += &client("redis-cli", &["bgsave"]);
    let start = Instant::now();
    while !client("redis-cli", &["info", "persistence"]).contains("rdb_bgsave_in_progress:0") {
        assert!(start.elapsed() < SHORT, "bgsave does not end:\n{}", log());
        thread::sleep(Duration::from_millis(50));
    }
    let status = client("redis-cli", &["info", "persistence"]);
    assert!(status.contains("rdb_last_bgsave_status:ok"), "bgsave failed:\n{}", log());
    let shutdown =
        Command::new("redis-cli").arg("-s").arg(&socket).args(["shutdown", "nosave"]).output();
    shutdown.expect("redis-cli runs");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = server.0.try_wait().expect("a child can be waited for") {
            break status;
        }
        assert!(start.elapsed() < SHORT, "redis-server does not end:\n{}", log());
        thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "redis-server ended with {status}:\n{}", log());
    answers
}

#[test]
fn redis_under_benchmark() {
    if ["redis-server", "redis-benchmark", "redis-cli"]
        .into_iter()
        .any(|n| find_or_skip(n).is_none())
    {
        return;
    }
    // In /tmp: the path of a socket holds 107 bytes.
    let scratch = std::env::temp_dir().join(format!("heapwise-redis-{}", std::process::id()));
    let answers = [Allocator::Glibc, Allocator::Heapwise]
        .map(|allocator| redis_session(allocator, &scratch.join(format!("{allocator:?}"))));
    let _ = fs::remove_dir_all(&scratch);
    assert!(answers[0].contains("sum "), "{}", answers[0]);
    assert_eq!(answers[0], answers[1], "redis answers differently");
}
