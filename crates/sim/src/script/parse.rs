//! From text to statements; one clear sentence where it makes no sense.

use super::expect::parse_expectation;
use super::{How, Part, Script, Statement, Step};
use crate::config::Config;
use crate::inject::Injection;
use heapwise_vm::{Access, Advice, Aslr, Overcommit, Prot};
use std::fmt;

/// Longest script, in lines.
const MOST_LINES: usize = 100_000;
/// Most memory that a machine may have: its books cost the host a hundredth of it.
const MOST_RAM: u64 = 64 << 30;

/// A line that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// Which, from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ScriptError {}

type Words<'w> = std::str::SplitWhitespace<'w>;

/// Reads a script.
///
/// # Errors
/// The first line that makes no sense.
pub fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut config = Config::default();
    let mut statements = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let at = nth + 1;
        let failed = |why: String| ScriptError { line: at, why };
        if at > MOST_LINES {
            return Err(failed(format!("a script has {MOST_LINES} lines at most")));
        }
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        match words.next() {
            None => {}
            Some(first @ ("machine" | "limit")) => {
                if statements.iter().any(|one: &Statement| !matches!(one.step, Step::Say(_))) {
                    return Err(failed(format!("`{first}` comes before all that happens")));
                }
                let read = if first == "machine" { machine } else { limit };
                read(&mut config, &mut words).map_err(failed)?;
                end(&mut words).map_err(failed)?;
            }
            Some(_) => {
                let step = parse_step(line).map_err(failed)?;
                statements.push(Statement { line: at, text: line.to_owned(), step });
            }
        }
    }
    Ok(Script { config, statements })
}

/// Reads one statement.
pub(super) fn parse_step(line: &str) -> Result<Step, String> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let step = match first {
        "say" => return Ok(Step::Say(line.strip_prefix("say").unwrap_or(line).trim().to_owned())),
        "repeat" => {
            let times = number(&mut words, "how often")?;
            let text: Vec<&str> = words.collect();
            let text = text.join(" ");
            // Read once now, so that what makes no sense is told before anything runs.
            if let Step::Repeat { .. } = parse_step(&text.replace('%', "0"))? {
                return Err("`repeat` inside of `repeat`".into());
            }
            return Ok(Step::Repeat { times, text });
        }
        "process" => {
            let name = word(&mut words, "a name")?;
            let (mut group, mut adjust) = (None, 0);
            while let Some(key) = words.next() {
                match key {
                    "group" => group = Some(number(&mut words, "a group's number")? as u32),
                    "adjust" => adjust = signed(&mut words, "oom_score_adj")?,
                    _ => return Err(format!("`{key}` is neither group nor adjust")),
                }
            }
            if !(-1000..=1000).contains(&adjust) {
                return Err("oom_score_adj is from -1000 to 1000".into());
            }
            Step::Process { name, group, adjust }
        }
        "group" => Step::Group {
            group: number(&mut words, "a group's number")? as u32,
            bytes: size(&mut words, "its limit")?,
        },
        "mark" => Step::Mark(word(&mut words, "a name")?),
        "cpu" => Step::Cpu(number(&mut words, "a processor's number")? as usize),
        "kernel" => kernel(&mut words)?,
        "fail" => match word(&mut words, "call or frame")?.as_str() {
            "call" => {
                Step::AtCall { nth: number(&mut words, "which call")?, what: Injection::CallFails }
            }
            "frame" => Step::FailFrame {
                nth: number(&mut words, "which frame")?,
                count: words.next().map_or(Ok(1), |w| parse_size(w, "how many frames"))?,
            },
            other => return Err(format!("`{other}` is neither call nor frame")),
        },
        "at" => {
            expect_word(&mut words, "call")?;
            let nth = number(&mut words, "which call")?;
            let what = match word(&mut words, "sbrk, map or oom")?.as_str() {
                "sbrk" => Injection::ForeignSbrk(delta(&mut words)?),
                "map" => Injection::MappingInTheWay,
                "oom" => Injection::OutOfMemory,
                other => return Err(format!("`{other}` is none of sbrk, map, oom")),
            };
            Step::AtCall { nth, what }
        }
        "show" => {
            let what = word(&mut words, "what to show")?;
            let of_process = matches!(what.as_str(), "maps" | "smaps" | "status");
            let of_machine = matches!(
                what.as_str(),
                "buddyinfo"
                    | "pagetypeinfo"
                    | "slabinfo"
                    | "vmallocinfo"
                    | "vmstat"
                    | "meminfo"
                    | "processes"
            );
            if !of_process && !of_machine {
                return Err(format!("`{what}` cannot be shown"));
            }
            let name = of_process.then(|| word(&mut words, "whose")).transpose()?;
            Step::Show { what, name }
        }
        "expect" => Step::Expect(parse_expectation(&mut words)?),
        name => of_process(name, &mut words)?,
    };
    end(&mut words)?;
    Ok(step)
}

fn of_process(name: &str, words: &mut Words<'_>) -> Result<Step, String> {
    let name = name.to_owned();
    let verb = words.next().ok_or_else(|| format!("`{name}` does what?"))?;
    let mut var = || word(words, "a variable");
    Ok(match verb {
        "brk" => Step::Brk { name, delta: delta(words)? },
        "mmap" => {
            let var = var()?;
            let bytes = size(words, "how many bytes")?;
            Step::Mmap { name, var, bytes, how: how(words)? }
        }
        "munmap" => Step::Munmap { name, var: var()?, part: part(words)? },
        "mremap" => Step::Mremap { name, var: var()?, bytes: size(words, "how many bytes")? },
        "mprotect" => {
            let var = var()?;
            let allowed = word(words, "none, r, rw or rx")?;
            let prot = prot(&allowed).ok_or_else(|| format!("`{allowed}` is no protection"))?;
            Step::Mprotect { name, var, prot, part: part(words)? }
        }
        "madvise" => {
            let var = var()?;
            let advice = match word(words, "dontneed, free or populate")?.as_str() {
                "dontneed" => Advice::DontNeed,
                "free" => Advice::Free,
                "populate" => Advice::PopulateWrite,
                other => return Err(format!("`{other}` is none of dontneed, free, populate")),
            };
            let mut rest = words.clone().peekable();
            let part = if rest.peek().is_some_and(|w| *w != "every") { part(words)? } else { None };
            let every = match words.next() {
                None => 1,
                Some("every") => number(words, "every how many pages")?.max(1),
                Some(other) => return Err(format!("`{other}` is too much")),
            };
            Step::Madvise { name, var, advice, part, every }
        }
        "read" => Step::Touch { name, var: var()?, access: Access::Read, part: part(words)? },
        "write" => Step::Touch { name, var: var()?, access: Access::Write, part: part(words)? },
        "store" | "load" => {
            let var = var()?;
            let offset = size(words, "an offset")?;
            let word = number(words, "a number")?;
            if verb == "store" {
                Step::Store { name, var, offset, word }
            } else {
                Step::Load { name, var, offset, word }
            }
        }
        "fork" => Step::Fork { name, child: word(words, "the child's name")? },
        "exit" => Step::Exit { name },
        other => return Err(format!("no statement begins with `{name} {other}`")),
    })
}

fn kernel(words: &mut Words<'_>) -> Result<Step, String> {
    let order = |words: &mut Words<'_>| {
        let order = number(words, "an order")?;
        if order > 10 { Err("orders are 0 to 10".to_owned()) } else { Ok(order as u8) }
    };
    let verb = word(words, "what the kernel does")?;
    let mut var = || word(words, "a variable");
    Ok(match verb.as_str() {
        "pages" => Step::Pages { var: var()?, order: order(words)? },
        "kmalloc" => Step::Kmalloc { var: var()?, bytes: size(words, "how many bytes")? },
        "vmalloc" => Step::Vmalloc { var: var()?, bytes: size(words, "how many bytes")? },
        "free" => Step::KernelFree { var: var()? },
        "cache" => Step::Cache { cache: var()?, bytes: size(words, "an object's bytes")? },
        "object" => Step::Object { var: var()?, cache: word(words, "a cache")? },
        "shrink" => Step::Shrink,
        "compact" => Step::Compact { order: order(words)? },
        other => return Err(format!("the kernel does not `{other}` here")),
    })
}

fn machine(config: &mut Config, words: &mut Words<'_>) -> Result<(), String> {
    while let Some(key) = words.next() {
        match key {
            "ram" => {
                config.ram_bytes = size(words, "how much memory")?;
                if config.ram_bytes > MOST_RAM {
                    return Err("a machine has 64G of memory at most".into());
                }
            }
            "swap" => config.swap_bytes = size(words, "how much swap")?,
            "cpus" => {
                let cpus = number(words, "how many processors")?;
                if !(1..=64).contains(&cpus) {
                    return Err("a machine has 1 to 64 processors".into());
                }
                config.cpus = cpus as usize;
            }
            "seed" => config.seed = number(words, "a seed")?,
            "ratio" => config.overcommit_ratio = number(words, "a percentage")?,
            "overcommit" => {
                config.overcommit = match number(words, "0, 1 or 2")? {
                    0 => Overcommit::Heuristic,
                    1 => Overcommit::Always,
                    2 => Overcommit::Never,
                    _ => return Err("overcommit is 0, 1 or 2".into()),
                }
            }
            "aslr" => {
                config.aslr = match number(words, "0, 1 or 2")? {
                    0 => Aslr::Off,
                    1 => Aslr::Conservative,
                    2 => Aslr::Full,
                    _ => return Err("aslr is 0, 1 or 2".into()),
                }
            }
            _ => return Err(format!("a machine has no `{key}`")),
        }
    }
    Ok(())
}

fn limit(config: &mut Config, words: &mut Words<'_>) -> Result<(), String> {
    let which = word(words, "as, data or stack")?;
    let bytes = size(words, "how many bytes")?;
    *match which.as_str() {
        "as" => &mut config.limits.address_space,
        "data" => &mut config.limits.data,
        "stack" => &mut config.limits.stack,
        _ => return Err(format!("`{which}` is none of as, data, stack")),
    } = bytes;
    Ok(())
}

fn how(words: &mut Words<'_>) -> Result<How, String> {
    let mut how =
        How { shared: false, populate: false, noreserve: false, prot: Prot::RW, above_break: None };
    while let Some(key) = words.next() {
        match key {
            "shared" => how.shared = true,
            "populate" => how.populate = true,
            "noreserve" => how.noreserve = true,
            "above-break" => how.above_break = Some(size(words, "how far above the break")?),
            _ => how.prot = prot(key).ok_or_else(|| format!("mmap does not know `{key}`"))?,
        }
    }
    Ok(how)
}

fn prot(word: &str) -> Option<Prot> {
    Some(match word {
        "none" => Prot::NONE,
        "r" => Prot::READ,
        "rw" => Prot::RW,
        "rx" => Prot::RX,
        _ => return None,
    })
}

fn part(words: &mut Words<'_>) -> Result<Part, String> {
    let mut rest = words.clone();
    match rest.next() {
        None | Some("every") => Ok(None),
        Some(_) => Ok(Some((size(words, "an offset")?, size(words, "how many bytes")?))),
    }
}

pub(super) fn word(words: &mut Words<'_>, what: &str) -> Result<String, String> {
    words.next().map(str::to_owned).ok_or_else(|| format!("{what} is missing"))
}

fn expect_word(words: &mut Words<'_>, wanted: &str) -> Result<(), String> {
    match words.next() {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("`{wanted}` belongs where `{found}` stands")),
        None => Err(format!("`{wanted}` is missing")),
    }
}

pub(super) fn number(words: &mut Words<'_>, what: &str) -> Result<u64, String> {
    parse_size(&word(words, what)?, what)
}

fn size(words: &mut Words<'_>, what: &str) -> Result<u64, String> {
    number(words, what)
}

fn signed(words: &mut Words<'_>, what: &str) -> Result<i64, String> {
    let text = word(words, what)?;
    text.parse().map_err(|_| format!("{what}: `{text}` is no number"))
}

fn delta(words: &mut Words<'_>) -> Result<i64, String> {
    let text = word(words, "+SIZE or -SIZE")?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(&text)),
    };
    let bytes = parse_size(digits, "+SIZE or -SIZE")?;
    i64::try_from(bytes).map(|bytes| sign * bytes).map_err(|_| format!("`{text}` is too much"))
}

/// `4096`, `64K`, `10M`, `1G`, `0x1000`.
pub(crate) fn parse_size(text: &str, what: &str) -> Result<u64, String> {
    let failed = || format!("{what}: `{text}` is no number");
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).map_err(|_| failed());
    }
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| failed())?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{what}: `{text}` is too much"))
}

fn end(words: &mut Words<'_>) -> Result<(), String> {
    words.next().map_or(Ok(()), |word| Err(format!("`{word}` is too much")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_told_with_its_line() {
        for (text, line) in [
            ("machine ram 1Q", 1),
            ("machine cpus 65", 1),
            ("\nprocess", 2),
            ("process a\nmachine ram 1M", 2),
            ("a b", 1),
            ("a mmap x", 1),
            ("a mmap x 1 rwx", 1),
            ("kernel pages p 11", 1),
            ("repeat 2 repeat 2 kernel shrink", 1),
            ("show nothing", 1),
            ("expect", 1),
            ("expect rss a", 1),
            ("expect ok now", 1),
            ("at call 1 nothing", 1),
            ("a madvise x dontneed 0 1M every", 1),
            ("a brk 99999999999G", 1),
        ] {
            assert_eq!(parse(text).expect_err(text).line, line, "{text}");
        }
    }

    #[test]
    fn a_script_is_its_machine_and_its_statements() {
        let text = "machine ram 64M cpus 4 # small\n\nprocess a\na madvise x dontneed every 2\n";
        let script = parse(text).unwrap();
        assert_eq!((script.config.ram_bytes, script.config.cpus), (64 << 20, 4));
        let lines: Vec<usize> = script.statements.iter().map(|s| s.line).collect();
        assert_eq!(lines, [3, 4]);
    }
}
