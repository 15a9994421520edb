//! What to do about a situation: the gain of a trim, the setting to change, the command to run next.

use heapwise_inspect::runtimes::Language;
use heapwise_inspect::verdict::{Situation, Verdict};
use heapwise_inspect::{Allocator, Depth, Row, Survey};

use crate::target::{Kind, Look, quoted};
use crate::units::bytes;

/// What to do about the verdict, each a line: all about what explains most, the first thing about
/// what else is so.
pub fn of(verdict: &Verdict, look: &Look) -> Vec<String> {
    let mut lines = actions(&verdict.main, look);
    for also in &verdict.also {
        let first = actions(also, look).into_iter().next();
        lines.extend(first.filter(|line| !lines.contains(line)));
    }
    lines
}

fn actions(situation: &Situation, look: &Look) -> Vec<String> {
    let Look { seen: survey, typed, kind } = look;
    let ours = matches!(survey.allocator, Allocator::Heapwise);
    let mut lines = Vec::new();
    match situation {
        Situation::FreedButKept { .. } => {
            lines.push(trim(look));
            if !ours {
                lines.push(setting_for_kept(survey));
                lines.extend(run_on_ours(survey, "which gives whole free pages back by itself"));
            }
        }
        Situation::PinnedBreak { .. } => {
            lines.push(trim(look));
            lines.push(format!("what pins it: heapwise explain --top-holder --bytes {typed}"));
            if !ours {
                lines
                    .extend(run_on_ours(survey, "which gives the middle of a heap back by itself"));
            }
        }
        Situation::ArenaPerThread { .. } => {
            lines.push("fewer arenas: start it with MALLOC_ARENA_MAX=2".into());
            lines.push(trim(look));
        }
        Situation::ThresholdDrifted { .. } => {
            lines.push(
                "hold the threshold: start it with MALLOC_MMAP_THRESHOLD_=131072 (large blocks \
                 then go back as they are freed, at the price of a system call each)"
                    .into(),
            );
            lines.push(trim(look));
        }
        Situation::Fragmented { .. } => {
            lines.push(format!(
                "no trim helps; which chunks hold pages: heapwise explain --top-holder {typed}"
            ));
            lines.push(format!("what lives there, by size: heapwise explain --classes {typed}"));
            lines.push(format!("where they lie: heapwise maps {typed}"));
        }
        Situation::CachesHold { .. } => {
            lines.push(if ours {
                "they go back when their threads sleep, and at malloc_trim(0)".into()
            } else {
                "smaller caches: start it with GLIBC_TUNABLES=glibc.malloc.tcache_count=2".into()
            });
            lines.push(format!("what is in them: heapwise bins {typed}"));
        }
        Situation::Live { .. } => {
            lines.push(match kind {
                Kind::Process => {
                    format!("does it grow? two looks tell: heapwise explain --for 10s {typed}")
                }
                Kind::File => format!("does it grow? with a later look: heapwise diff {typed} PID"),
                Kind::Command => {
                    "does it grow? two looks while it runs: heapwise explain --for 10s PID".into()
                }
            });
            lines.push(format!("what lives there, by size: heapwise explain --classes {typed}"));
        }
        Situation::LiveGrowing { .. } => {
            lines.push(format!("which sizes: heapwise explain --classes {typed}"));
            lines.push(format!(
                "over a longer time: heapwise snapshot {typed} -o before.hws, and later heapwise \
                 diff before.hws {typed}"
            ));
        }
        Situation::NotHeap { row, .. } => {
            lines.extend(about(*row));
            lines.push(format!("what each mapping is: heapwise maps {typed}"));
        }
        Situation::RuntimeHeap { language, .. } => {
            lines.extend(of_runtime(*language, *kind).into_iter().map(str::to_owned));
            lines.push(format!("what each mapping is: heapwise maps {typed}"));
        }
        Situation::HeapUnread => {
            if survey.depth == Depth::Partial && *kind == Kind::Process {
                lines.push(format!(
                    "look again, or at one moment: heapwise explain --consistent {typed}"
                ));
            }
            let theirs = survey.runtimes.iter().filter(|runtime| runtime.heap() > 0);
            lines.extend(
                theirs.flat_map(|runtime| of_runtime(runtime.language, *kind)).map(str::to_owned),
            );
            if matches!(&survey.allocator, Allocator::Other(name) if can_preload(name))
                && *kind != Kind::File
            {
                lines.extend(run_on_ours(survey, "a heap that is read here"));
            }
            lines.push(format!("what each mapping is: heapwise maps {typed}"));
        }
    }
    lines
}

fn trim(look: &Look) -> String {
    let gain = bytes(look.seen.trim_gain() as u64);
    match look.kind {
        Kind::Process if matches!(look.seen.allocator, Allocator::Heapwise) => {
            format!("a trim would return {gain}: heapwise trim --apply {}", look.typed)
        }
        Kind::Process => format!(
            "a trim would return {gain}: malloc_trim(0), called in the program; from outside: \
             heapwise trim {}",
            look.typed
        ),
        Kind::File | Kind::Command => format!("a trim would have returned {gain}: malloc_trim(0)"),
    }
}

/// glibc's settings reach the top alone.
fn setting_for_kept(survey: &Survey) -> String {
    let tally = &survey.account.tally;
    if tally[Row::Top] >= tally[Row::FreeWholePages] {
        "most of it is the top: start it with MALLOC_TRIM_THRESHOLD_=131072, which also holds the \
         threshold where it is"
            .into()
    } else {
        "no setting of glibc gives back the middle of a heap".into()
    }
}

/// Whether a program on this allocator takes a preloaded library for glibc.
fn can_preload(allocator: &str) -> bool {
    !["a statically linked", "musl", "the Go runtime"]
        .iter()
        .any(|other| allocator.starts_with(other))
}

/// The command that would run it on our heap, as far as the command line is known.
fn run_on_ours(survey: &Survey, why: &str) -> Option<String> {
    const MOST: usize = 200;
    let command = &survey.origin.command;
    let words: Vec<String> = command.iter().map(|word| quoted(word.as_ref())).collect();
    let mut line = words.join(" ");
    // A program may have written something else over its arguments, like "redis-server *:6379".
    let program = command.first().map(String::as_str).unwrap_or_default();
    let is_its_own = !program.is_empty()
        && !program.contains(char::is_whitespace)
        && !command[1..].iter().any(String::is_empty)
        && !line.contains(char::is_control);
    if !is_its_own || line.len() > MOST {
        let file = &survey.origin.executable;
        if file.is_empty() {
            return None;
        }
        line = format!("{} …", quoted(file.as_ref()));
    }
    Some(format!("or on our heap, {why}: heapwise run -- {line}"))
}

fn of_runtime(language: Language, kind: Kind) -> Vec<&'static str> {
    let mut lines = match language {
        Language::Python => vec![
            "by size class, from inside: sys._debugmallocstats(); by line: tracemalloc",
            "an arena goes back when all of its pools are empty; to see each object as a chunk of \
             malloc: start it with PYTHONMALLOC=malloc",
        ],
        Language::Java => vec![
            "which classes: jcmd PID GC.class_histogram; its bound: -Xmx",
            "what the JVM itself takes: start it with -XX:NativeMemoryTracking=summary, then jcmd PID \
             VM.native_memory",
        ],
        Language::Go => vec![
            "which sites: go tool pprof with net/http/pprof's heap; its bound: GOMEMLIMIT",
            "free spans go back in the background, or at once by debug.FreeOSMemory()",
        ],
    };
    if kind == Kind::File {
        // What is asked of a process that may be gone.
        lines.retain(|line| !line.contains("jcmd PID GC"));
    }
    lines
}

fn about(row: Row) -> Option<String> {
    let text = match row {
        Row::Files => {
            "pages of files are shared by all that map them, and the kernel can drop them"
        }
        Row::SharedMemory => "shared memory goes when the last process unmaps or removes it",
        Row::Stacks => "stacks keep what their deepest call touched; fewer threads, or ulimit -s",
        Row::OtherAnonymous => {
            "memory that the program mapped itself, past malloc: a runtime's own heap, buffers, \
             data of the libraries"
        }
        _ => return None,
    };
    Some(text.into())
}
