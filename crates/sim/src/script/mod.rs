//! Scripts: what a machine is and what happens on it, a line a step.
//!
//! ```text
//!   machine ram 64M cpus 2 seed 1
//!   process web
//!   web mmap a 1G
//!   web write a 0 10M
//!   expect rss web >= 10M
//!   show maps web
//! ```
//! `#` begins a comment. Sizes are bytes, or `64K`, `10M`, `1G`. [`HELP`] has all statements.

mod expect;
mod parse;
mod run;

pub use expect::{Comparison, Expectation, Figure};
pub(crate) use parse::parse_size;
pub use parse::{ScriptError, parse};
pub use run::{Line, Run, RunError, run};

use crate::config::Config;
use crate::inject::Injection;
use heapwise_vm::{Access, Advice, Prot};

/// All statements, for `--help`.
pub const HELP: &str = "\
machine [ram SIZE] [swap SIZE] [cpus N] [seed N] [overcommit 0|1|2] [ratio PERCENT] [aslr 0|1|2]
limit as|data|stack SIZE           for processes made from here on (before the first statement)
group N SIZE                       a memory group and its limit
process NAME [group N] [adjust N]  a new process; adjust is oom_score_adj
NAME brk +SIZE|-SIZE               moves the break
NAME mmap VAR SIZE [shared] [populate] [noreserve] [none|r|rw|rx]
NAME mmap VAR SIZE above-break N   at a fixed address N bytes above the break
NAME munmap VAR [OFFSET SIZE]
NAME mremap VAR SIZE
NAME mprotect VAR none|r|rw|rx [OFFSET SIZE]
NAME madvise VAR dontneed|free|populate [OFFSET SIZE] [every N]
NAME read|write VAR [OFFSET SIZE]  touches every page
NAME store VAR OFFSET NUMBER       writes a word
NAME load VAR OFFSET NUMBER        reads one and checks it
NAME fork NEW | NAME exit | cpu N
kernel pages VAR ORDER | kernel kmalloc VAR SIZE | kernel vmalloc VAR SIZE | kernel free VAR
kernel cache NAME SIZE | kernel object VAR CACHE | kernel shrink | kernel compact ORDER
repeat N STATEMENT                 VAR and NAME may contain %, the number of the turn
fail call N | fail frame N [COUNT] | at call N sbrk +SIZE | at call N map | at call N oom
mark NAME                          remembers how many frames are free
say TEXT
show maps|smaps|status NAME, show buddyinfo|pagetypeinfo|slabinfo|vmallocinfo|vmstat|meminfo|processes
expect ok|ENOMEM|SIGSEGV|killed|…  how the last statement ended
expect FIGURE =|<|<=|>|>= VALUE    figures: rss|size|anon|faults NAME, free, blocks ORDER, alive NAME,
                                   committed, kills, used MARK, contiguous VAR, objects CACHE, time";

/// A statement with its line.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// Where it stands, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What it asks for.
    pub step: Step,
}

/// Part of a mapping, in bytes; the whole if `None`.
pub type Part = Option<(u64, u64)>;

/// What a statement asks for.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "as in HELP")]
pub enum Step {
    Process { name: String, group: Option<u32>, adjust: i64 },
    Group { group: u32, bytes: u64 },
    Cpu(usize),
    Brk { name: String, delta: i64 },
    Mmap { name: String, var: String, bytes: u64, how: How },
    Munmap { name: String, var: String, part: Part },
    Mremap { name: String, var: String, bytes: u64 },
    Mprotect { name: String, var: String, prot: Prot, part: Part },
    Madvise { name: String, var: String, advice: Advice, part: Part, every: u64 },
    Touch { name: String, var: String, access: Access, part: Part },
    Store { name: String, var: String, offset: u64, word: u64 },
    Load { name: String, var: String, offset: u64, word: u64 },
    Fork { name: String, child: String },
    Exit { name: String },
    Pages { var: String, order: u8 },
    Kmalloc { var: String, bytes: u64 },
    Vmalloc { var: String, bytes: u64 },
    KernelFree { var: String },
    Cache { cache: String, bytes: u64 },
    Object { var: String, cache: String },
    Shrink,
    Compact { order: u8 },
    Repeat { times: u64, text: String },
    FailFrame { nth: u64, count: u64 },
    AtCall { nth: u64, what: Injection },
    Mark(String),
    Say(String),
    Show { what: String, name: Option<String> },
    Expect(Expectation),
}

/// How to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Shared memory.
    pub shared: bool,
    /// Faulted in at once.
    pub populate: bool,
    /// Not counted.
    pub noreserve: bool,
    /// What it allows.
    pub prot: Prot,
    /// At a fixed place above the break.
    pub above_break: Option<u64>,
}

/// A script, read.
#[derive(Clone, Debug)]
pub struct Script {
    /// The machine.
    pub config: Config,
    /// What happens.
    pub statements: Vec<Statement>,
}
