//! The host's side: the child is started, its answers are read.

use crate::op::{Step, WORDS};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What a process looks like from `/proc`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// `maps`.
    pub maps: String,
    /// `status`.
    pub status: String,
}

/// The answer to a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What the system call returned.
    pub result: i64,
    /// What was seen afterwards.
    pub look: Option<Look>,
}

/// The process before its script.
#[derive(Clone, Debug)]
pub struct Initial {
    /// From `/proc`.
    pub look: Look,
    /// `smaps`.
    pub smaps: String,
    /// `stat`.
    pub stat: String,
}

/// A run on the host.
#[derive(Clone, Debug)]
pub struct Run {
    /// Before the first step.
    pub initial: Initial,
    /// Each step's answer; fewer if the child died.
    pub answers: Vec<Answer>,
}

/// The host's version of Linux, as far as it was checked: 6.17 and 6.18 are what the
/// crate models (merging rules since 6.16, moves of several VMAs since 6.17).
pub fn version() -> Option<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The child's exit code where it may not switch ASLR off.
pub const NO_PERSONALITY: i32 = 9;

/// Why the host is no oracle, if it is none.
pub fn unsuitable() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the oracle is for x86-64".into());
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if processor.split_whitespace().any(|flag| flag == "la57") {
        return Some("programs may use more than 47 bits here, in the model they may not".into());
    }
    match version() {
        Some((6, 17 | 18)) => None,
        other => Some(format!(
            "the model is that of Linux 6.17 and 6.18, this is {other:?}: merging and mremap differ"
        )),
    }
}

fn script_file(steps: &[Step]) -> io::Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("oracle-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let mut bytes = Vec::with_capacity(8 + steps.len() * WORDS * 8);
    bytes.extend((steps.len() as u64).to_le_bytes());
    bytes.extend(steps.iter().flat_map(|step| step.encode()).flat_map(u64::to_le_bytes));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file)
}

fn word(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn text(input: &mut impl Read) -> io::Result<String> {
    let mut all = Vec::new();
    loop {
        let length = word(input)? as usize;
        if length == 0 {
            break;
        }
        let before = all.len();
        all.resize(before + length, 0);
        input.read_exact(&mut all[before..])?;
    }
    String::from_utf8(all).map_err(io::Error::other)
}

fn look(input: &mut impl Read) -> io::Result<Look> {
    Ok(Look { maps: text(input)?, status: text(input)? })
}

/// Runs a script in the child program `child`, whose stack may grow to `stack` bytes.
pub fn run(child: &Path, stack: u64, steps: &[Step]) -> io::Result<Run> {
    let mut process = Command::new(child)
        .arg(stack.to_string())
        .env_clear()
        .stdin(Stdio::from(script_file(steps)?))
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let mut input = io::BufReader::with_capacity(1 << 16, stdout);
    let initial = (|| {
        let look = look(&mut input)?;
        Ok(Initial { look, smaps: text(&mut input)?, stat: text(&mut input)? })
    })();
    let mut answers = Vec::with_capacity(steps.len());
    for step in steps {
        let Ok(result) = word(&mut input) else { break };
        let seen = if step.blind { None } else { look(&mut input).ok() };
        if !step.blind && seen.is_none() {
            break;
        }
        answers.push(Answer { result: result as i64, look: seen });
    }
    drop(input);
    let status = process.wait()?;
    match initial {
        Ok(initial) => Ok(Run { initial, answers }),
        Err(_) if status.code() == Some(NO_PERSONALITY) => {
            let text = "the child may not switch ASLR off here (a container's seccomp filter?)";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        Err::<_, io::Error>(error) => Err(io::Error::other(format!("{error}; child: {status}"))),
    }
}
