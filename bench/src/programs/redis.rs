//! redis-server under the load of redis-benchmark, which itself is not preloaded.
//!
//! Debian's redis links jemalloc, so for glibc the C library itself is
//! preloaded: the first library that defines malloc serves.

use crate::launch::{self, Usage};
use crate::peers::Peer;
use crate::places::target_folder;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const REQUESTS: &str = "300000";

pub fn prepare() -> Result<()> {
    for program in ["/usr/bin/redis-benchmark", "/usr/bin/redis-cli"] {
        if !Path::new(program).exists() {
            bail!("{program} is missing");
        }
    }
    Ok(())
}

pub fn run(peer: &Peer, output: &Path) -> Result<Usage> {
    let preloaded = |mut server: Command| {
        server.env("LD_PRELOAD", peer.serving());
        server
    };
    serve_checked(preloaded, peer.library.as_deref(), output)
}

/// Runs the command that `prepared` makes of the server's, under load.
pub fn serve(prepared: impl FnOnce(Command) -> Command, output: &Path) -> Result<Usage> {
    serve_checked(prepared, None, output)
}

fn serve_checked(
    prepared: impl FnOnce(Command) -> Command,
    library: Option<&Path>,
    output: &Path,
) -> Result<Usage> {
    let folder = target_folder("bench-data")?;
    let socket = folder.join(format!("redis-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let mut server = Command::new("/usr/bin/redis-server");
    server.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    server.current_dir(&folder);
    let mut server = prepared(server);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| load(&socket));
        let usage = launch::run(&mut server, library, output);
        match load.join() {
            Ok(loaded) => loaded.and(usage),
            Err(_) => bail!("the load panicked"),
        }
    })
}

fn client(program: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-s").arg(socket).env_remove("LD_PRELOAD").stderr(Stdio::null());
    command
}

/// Waits for the server, drives it, checks its answer, and ends it.
fn load(socket: &Path) -> Result<()> {
    for _ in 0..500 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let ran = client("/usr/bin/redis-benchmark", socket)
        .args(["-q", "-n", REQUESTS, "-r", "50000", "-P", "32", "-c", "8", "-d", "200"])
        .args(["-t", "set,get,lpush,lpop,hset,sadd"])
        .stdout(Stdio::null())
        .status()?;
    let echo =
        client("/usr/bin/redis-cli", socket).args(["strlen", "key:000000000001"]).output()?;
    let _ = client("/usr/bin/redis-cli", socket).args(["shutdown", "nosave"]).output()?;
    if !ran.success() || echo.stdout.trim_ascii() != b"200" {
        bail!("the server did not answer as it should");
    }
    Ok(())
}
