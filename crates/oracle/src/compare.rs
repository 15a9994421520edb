//! What must be equal, and how both sides are brought to one form.
//!
//! ```text
//!   maps     byte for byte; of shared memory device and inode are the host's business:
//!            they become the order of first appearance
//!   status   VmSize VmData VmStk VmExe VmLib as printed; RssAnon RssFile RssShmem as the
//!            change since the start, since the program itself is not in the model
//! ```

use crate::generate::{AREA, AREA_BYTES};
use crate::host::{Answer, Look, Run};
use crate::op::Step;
use crate::ours;
use std::collections::HashMap;
use std::path::Path;

/// The first difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// At which step.
    pub step: usize,
    /// What differs, both sides.
    pub text: String,
}

/// The orders of appearance of inodes.
#[derive(Default)]
struct Inodes(HashMap<String, usize>);

impl Inodes {
    fn normal(&mut self, maps: &str) -> Vec<String> {
        let lines = maps.lines().filter(|line| !line.ends_with("[vsyscall]"));
        lines.map(|line| self.normal_line(line)).collect()
    }

    fn normal_line(&mut self, line: &str) -> String {
        let shared = line.ends_with(" /dev/zero (deleted)")
            || line.contains(" /memfd:m")
            || line.contains(" /tmp/#");
        let words: Vec<_> = line.split_whitespace().collect();
        if !shared || words.len() < 6 {
            return line.to_owned();
        }
        let known = self.0.len();
        let nth = *self.0.entry(words[4].to_owned()).or_insert(known);
        // A nameless file is shown by its inode.
        let nameless = words[5].starts_with("/tmp/#");
        let name = if nameless { "/tmp/#".to_owned() } else { words[5..].join(" ") };
        format!("{} {} {} object {nth} {name}", words[0], words[1], words[2])
    }
}

/// Of `smaps`, what scripts map at fixed places: the program itself has pages that are
/// not in the model. Without [`HugePageEligible`] and [`LazyFreeLater`].
///
/// [`HugePageEligible`]: crate::exception::Exception::HugePageEligible
/// [`LazyFreeLater`]: crate::exception::Exception::LazyFreeLater
fn script_part(smaps: &str) -> String {
    let mut inside = false;
    let mut part = String::new();
    for line in smaps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        if let Some(start) = range.and_then(|range| u64::from_str_radix(range.0, 16).ok()) {
            inside = (AREA..AREA + AREA_BYTES).contains(&start);
        }
        let excepted = line.starts_with("THPeligible:") || line.starts_with("LazyFree:");
        if inside && !excepted {
            part.push_str(line);
            part.push('\n');
        }
    }
    part
}

const EXACT: [&str; 5] = ["VmSize:", "VmData:", "VmStk:", "VmExe:", "VmLib:"];
const SINCE_START: [&str; 3] = ["RssAnon:", "RssFile:", "RssShmem:"];

fn line<'t>(status: &'t str, name: &str) -> &'t str {
    status.lines().find(|line| line.starts_with(name)).unwrap_or("")
}

fn kib(status: &str, name: &str) -> i64 {
    line(status, name).split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(-1)
}

fn status_difference(start: &str, host: &str, ours: &str) -> Option<String> {
    for name in EXACT {
        let (host, ours) = (line(host, name), line(ours, name));
        if host != ours {
            return Some(format!("host {host:?}, ours {ours:?}"));
        }
    }
    for name in SINCE_START {
        let (host, ours) = (kib(host, name) - kib(start, name), kib(ours, name));
        if host != ours {
            return Some(format!("{name} host {host:+} kB, ours {ours:+} kB"));
        }
    }
    None
}

/// Compares answers step by step.
pub struct Comparison<'r> {
    start: &'r Look,
    host: Inodes,
    ours: Inodes,
}

impl<'r> Comparison<'r> {
    /// Against what the host's child looked like at the start.
    pub fn new(run: &'r Run) -> Self {
        let (host, ours) = (Inodes::default(), Inodes::default());
        Self { start: &run.initial.look, host, ours }
    }

    /// What differs after one step.
    pub fn difference(&mut self, host: &Answer, ours: &Answer) -> Option<String> {
        if host.result != ours.result {
            return Some(format!("host returns {:#x}, ours {:#x}", host.result, ours.result));
        }
        let (Some(host), Some(ours)) = (&host.look, &ours.look) else { return None };
        let (host_maps, ours_maps) = if ours.maps.contains("VmFlags:") {
            (self.host.normal(&script_part(&host.maps)), self.ours.normal(&script_part(&ours.maps)))
        } else {
            (self.host.normal(&host.maps), self.ours.normal(&ours.maps))
        };
        if host_maps != ours_maps {
            let only = |these: &[String], those: &[String]| {
                let lines = these.iter().filter(|line| !those.contains(line));
                lines.map(|line| format!("\n    {line}")).collect::<String>()
            };
            return Some(format!(
                "maps\n  only on the host:{}\n  only in ours:{}",
                only(&host_maps, &ours_maps),
                only(&ours_maps, &host_maps),
            ));
        }
        status_difference(&self.start.status, &host.status, &ours.status)
    }
}

/// Runs a script on both sides.
///
/// # Errors
/// If the host's child cannot be run at all.
pub fn check(child: &Path, stack: u64, steps: &[Step]) -> std::io::Result<Option<Difference>> {
    let run = crate::host::run(child, stack, steps)?;
    // A step may cut a VMA in three.
    let nodes = ours::NODES + 2 * steps.len();
    let found = ours::with_process(&run.initial, stack, nodes, |ours| {
        let mut comparison = Comparison::new(&run);
        for (nth, step) in steps.iter().enumerate() {
            let answer = ours.step(step);
            let text = match run.answers.get(nth) {
                Some(host) => comparison.difference(host, &answer),
                None => Some("the host's child died".into()),
            };
            if let Some(text) = text {
                return Some(Difference { step: nth, text });
            }
        }
        None
    });
    Ok(found)
}
