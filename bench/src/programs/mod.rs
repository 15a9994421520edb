//! Real programs: what each does, its input (made here, the same every time),
//! and the check of its output against a run without any preload.

mod inputs;
mod redis;
pub use redis::serve;

use crate::launch::{self, Usage};
use crate::peers::Peer;
use crate::places::target_folder;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A program of the machine at a fixed task.
#[derive(Clone, Copy)]
pub struct Program {
    /// As on the command line.
    pub name: &'static str,
    /// What it does here.
    pub about: &'static str,
    /// Part of the guard's subset.
    pub guard: bool,
    /// The executable, searched in PATH (so that no wrapper of a version manager gets in, absolute where it is known).
    executable: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Runs and prints.
    Command,
    /// Is put under load by another program.
    Redis,
}

#[rustfmt::skip]
const TABLE: &[Program] = &[
    Program { name: "python", about: "dicts, strings and objects, PYTHONMALLOC=malloc", guard: true, executable: "/usr/bin/python3", arguments: &["work.py"], environment: &[("PYTHONMALLOC", "malloc"), ("PYTHONHASHSEED", "1")], kind: Kind::Command },
    Program { name: "perl", about: "hashes, split, join, sort", guard: true, executable: "/usr/bin/perl", arguments: &["work.pl"], environment: &[("PERL_HASH_SEED", "1")], kind: Kind::Command },
    Program { name: "lua", about: "tables and string building", guard: true, executable: "/usr/bin/lua5.4", arguments: &["work.lua"], environment: &[], kind: Kind::Command },
    Program { name: "sqlite3", about: "inserts, an index, joins in memory", guard: true, executable: "/usr/bin/sqlite3", arguments: &[":memory:", ".read work.sql"], environment: &[], kind: Kind::Command },
    Program { name: "redis", about: "a server under redis-benchmark", guard: false, executable: "/usr/bin/redis-server", arguments: &[], environment: &[], kind: Kind::Redis },
    Program { name: "gcc", about: "a large C file at -O1", guard: false, executable: "/usr/bin/gcc", arguments: &["-O1", "-S", "-o", "-", "work.c"], environment: &[], kind: Kind::Command },
    Program { name: "g++", about: "standard containers at -O0", guard: false, executable: "/usr/bin/g++", arguments: &["-std=c++17", "-O0", "-S", "-o", "-", "work.cc"], environment: &[], kind: Kind::Command },
    Program { name: "clang", about: "the same C file at -O1", guard: false, executable: "/usr/bin/clang", arguments: &["-O1", "-S", "-o", "-", "work.c"], environment: &[], kind: Kind::Command },
    Program { name: "z3", about: "a pigeon-hole and a bit-vector problem", guard: false, executable: "/usr/bin/z3", arguments: &["work.smt2"], environment: &[], kind: Kind::Command },
    Program { name: "git", about: "log with patches over many commits", guard: false, executable: "/usr/bin/git", arguments: &["--git-dir=work.git", "--no-pager", "log", "-p", "--stat", "--format=%s"], environment: &[("GIT_CONFIG_GLOBAL", "/dev/null")], kind: Kind::Command },
];

/// All programs, in the order of the tables.
pub fn all() -> &'static [Program] {
    TABLE
}

impl Program {
    /// Whether another program puts it under load: see [`serve`].
    pub fn is_server(&self) -> bool {
        self.kind == Kind::Redis
    }
}

/// Makes the inputs and the expected output. An error says why the program cannot run.
pub fn prepare(program: &Program) -> Result<()> {
    if !Path::new(program.executable).exists() {
        bail!("{} is missing", program.executable);
    }
    let folder = target_folder("bench-data")?;
    if program.kind == Kind::Redis {
        return redis::prepare();
    }
    inputs::write(program.name, &folder)?;
    let mut command = command(program)?.context("not a server")?;
    command.env_remove("LD_PRELOAD");
    launch::run(&mut command, None, &folder.join(format!("expected-{}.txt", program.name)))?;
    Ok(())
}

/// The command line; none for a server.
pub fn command(program: &Program) -> Result<Option<Command>> {
    if program.kind == Kind::Redis {
        return Ok(None);
    }
    let mut command = Command::new(program.executable);
    command.args(program.arguments).envs(program.environment.iter().copied());
    command.current_dir(target_folder("bench-data")?);
    Ok(Some(command))
}

/// Runs it under `peer` and compares what it printed.
pub fn run(program: &Program, peer: &Peer, output: &Path) -> Result<Usage> {
    let Some(mut command) = command(program)? else { return redis::run(peer, output) };
    crate::job::preload(&mut command, peer);
    let usage = launch::run(&mut command, peer.library.as_deref(), output)?;
    let expected = target_folder("bench-data")?.join(format!("expected-{}.txt", program.name));
    if fs::read(output)? != fs::read(expected)? {
        bail!("printed something else than without preload");
    }
    Ok(usage)
}
