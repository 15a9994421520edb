//! The inputs of the real programs, generated: the same bytes on every machine.

use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const PYTHON: &str = r#"
import json, re
class Node:
    def __init__(self, key, left=None, right=None):
        self.key, self.left, self.right = key, left, right
def tree(depth):
    return Node(depth, tree(depth - 1), tree(depth - 1)) if depth else Node(0)
def count(node):
    return 1 + (count(node.left) + count(node.right) if node.left else 0)
total = sum(count(tree(13)) for _ in range(6))
table = {}
for i in range(150000):
    table["key%d" % (i * 7919 % 50021)] = [str(i), i * 3, (i, i + 1)]
text = json.dumps(table, sort_keys=True)
again = json.loads(text)
words = re.findall(r"[0-9]+", text)
words.sort()
print(total, len(table), len(text), len(words), words[1000], sum(len(v) for v in again.values()))
"#;

const PERL: &str = r#"
my %table;
for my $i (0 .. 250000) {
    my $key = "key" . ($i * 7919 % 60013);
    push @{$table{$key}}, join(",", $i, $i * 3, "x" x ($i % 50));
}
my $sum = 0;
for my $key (sort keys %table) {
    for my $line (@{$table{$key}}) {
        my @parts = split /,/, $line;
        $sum += $parts[1] + length($parts[2] // "");
    }
}
print scalar(keys %table), " $sum\n";
"#;

const LUA: &str = r#"
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end
local function count(node) return node[1] and 1 + count(node[1]) + count(node[2]) or 1 end
local total = 0
for _ = 1, 12 do total = total + count(tree(14)) end
local lines = {}
for i = 1, 300000 do lines[#lines + 1] = "line " .. i .. " of " .. (i * 7919 % 1000) end
table.sort(lines)
local text = table.concat(lines, "\n")
local digits = 0
for word in text:gmatch("%d+") do digits = digits + #word end
print(total, #text, digits)
"#;

const SQL: &str = r#"
create table item(id integer primary key, name text, amount integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000)
insert into item select i, 'name' || (i * 7919 % 100003), i % 977 from n;
create index item_name on item(name);
select count(*), sum(amount), min(name), max(name) from item;
select count(*) from item a join item b on a.name = b.name where a.id < b.id;
select sum(length(t)) from (select group_concat(name) t from item group by amount);
update item set name = name || '-' || amount where id % 3 = 0;
select count(distinct name) from item;
"#;

const CXX: &str = r#"
#include <algorithm>
#include <deque>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Record { std::map<std::string, std::vector<std::variant<int, std::string>>> fields; int at(int i) { return i + N; } };
template <int N> int use() {
    std::unordered_map<std::string, std::unique_ptr<Record<N>>> all;
    std::list<std::function<int(int)>> calls;
    auto record = std::make_unique<Record<N>>();
    record->fields["a"].push_back(N);
    calls.push_back([&](int i) { return record->at(i); });
    all.emplace("k", std::move(record));
    return calls.front()(N) + use<N - 1>();
}
template <> int use<0>() { return 0; }
int main() { std::regex r("a+b"); std::ostringstream out; out << use<12>() << std::regex_match("aab", r); std::cout << out.str(); }
"#;

/// Writes what the program of that name needs into `folder`.
pub fn write(program: &str, folder: &Path) -> Result<()> {
    match program {
        "python" => fs::write(folder.join("work.py"), PYTHON)?,
        "perl" => fs::write(folder.join("work.pl"), PERL)?,
        "lua" => fs::write(folder.join("work.lua"), LUA)?,
        "sqlite3" => fs::write(folder.join("work.sql"), SQL)?,
        "gcc" | "clang" => fs::write(folder.join("work.c"), large_c())?,
        "g++" => fs::write(folder.join("work.cc"), CXX)?,
        "z3" => fs::write(folder.join("work.smt2"), smt())?,
        "git" => repository(folder)?,
        _ => {}
    }
    Ok(())
}

/// Some hundred functions that call each other.
fn large_c() -> String {
    let mut text = String::from("struct node { struct node *next; int key; double weight; };\n");
    for i in 0..250 {
        let callee = if i > 0 { format!("f{}(n, x - 1)", i * 7 % i) } else { "x".into() };
        let _ = writeln!(
            text,
            "int f{i}(struct node *n, int x) {{\n  int a[{}], s = {i};\n  for (int k = 0; k < {}; k++) a[k] = x * k + s;\n  \
             while (n) {{ if (n->key > x) s += n->key * a[x & 3]; else s -= (int)(n->weight * {i}); n = n->next; }}\n  \
             switch (x % 5) {{ case 0: return s; case 1: s ^= a[1]; break; case 2: s += {callee}; break; default: s--; }}\n  return s;\n}}",
            4 + i % 13,
            4 + i % 13,
        );
    }
    text
}

/// Nine pigeons in eight holes, then a multiplication to be undone.
fn smt() -> String {
    let mut text = String::new();
    let (pigeons, holes) = (9, 8);
    for p in 0..pigeons {
        for h in 0..holes {
            let _ = writeln!(text, "(declare-const p{p}h{h} Bool)");
        }
        let any: Vec<String> = (0..holes).map(|h| format!("p{p}h{h}")).collect();
        let _ = writeln!(text, "(assert (or {}))", any.join(" "));
    }
    for h in 0..holes {
        for p in 0..pigeons {
            for q in p + 1..pigeons {
                let _ = writeln!(text, "(assert (not (and p{p}h{h} p{q}h{h})))");
            }
        }
    }
    text.push_str("(check-sat)\n(reset)\n");
    text.push_str("(declare-const a (_ BitVec 24))(declare-const b (_ BitVec 24))\n");
    text.push_str("(assert (= (bvmul a b) #x5a3f17))(assert (bvugt a #x000fff))(assert (bvugt b #x000fff))\n(check-sat)\n");
    text.push_str("(reset)\n");
    for i in 0..300 {
        let _ = writeln!(
            text,
            "(declare-const x{i} Int)(assert (and (> x{i} {i}) (< x{i} {})))",
            i * 3 + 5
        );
    }
    for i in 1..300 {
        let _ = writeln!(
            text,
            "(assert (or (= (+ x{i} x{}) {}) (> x{i} (* 2 x{}))))",
            i - 1,
            i * 4,
            i - 1
        );
    }
    text.push_str("(check-sat)\n");
    text
}

/// A bare repository with four hundred commits, by fast-import.
fn repository(folder: &Path) -> Result<()> {
    let git = folder.join("work.git");
    if git.join("made").exists() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&git);
    let init = Command::new("/usr/bin/git").args(["init", "--bare", "-q"]).arg(&git).status()?;
    if !init.success() {
        bail!("git init failed");
    }
    let mut stream = String::new();
    for commit in 0..400 {
        let message = format!("commit {commit}");
        let _ = writeln!(
            stream,
            "commit refs/heads/master\ncommitter A <a@b> {} +0000",
            1_000_000_000 + commit * 60
        );
        let _ = writeln!(stream, "data {}\n{message}", message.len());
        for file in 0..4 {
            let lines: String = (0..1_500)
                .map(|line| {
                    format!(
                        "line {line} {}\n",
                        if line % 97 == commit % 97 { commit * file } else { line }
                    )
                })
                .collect();
            let _ = writeln!(
                stream,
                "M 100644 inline dir/file{}\ndata {}\n{lines}",
                (commit + file) % 20,
                lines.len()
            );
        }
    }
    let mut import = Command::new("/usr/bin/git")
        .arg(format!("--git-dir={}", git.display()))
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut import.stdin.take().context("a pipe")?, stream.as_bytes())?;
    if !import.wait()?.success() {
        bail!("git fast-import failed");
    }
    fs::write(git.join("HEAD"), "ref: refs/heads/master\n")?;
    fs::write(git.join("made"), "")?;
    Ok(())
}
