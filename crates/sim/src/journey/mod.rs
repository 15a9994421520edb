//! The way of one request through every layer, and back: from the call to the frame.
//!
//! ```text
//!   program ─► thread cache ─► arena: bins, top ─► brk, mmap ─► VMA       the call
//!   program ─► load, store ─► page fault ─► buddy ─► page table           the first touch
//! ```
//! Our own allocator runs on the live simulated kernel: each step told here has
//! happened, on this machine of one seed, with the state before it and after it.

mod heap;
mod machine;
mod words;

pub use heap::{Class, HeapState};
pub use machine::{MachineState, PageLine};

use crate::config::Config;
use crate::event::{Event, What};
use crate::kernel::{BootError, Kernel, boot_shared};
use crate::ram::Fidelity;
use crate::script::ScriptError;
use crate::touch::TouchError;
use crate::user::User;
use crate::window::Behind;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Where a step happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// In the program.
    Program,
    /// In its thread's cache.
    Cache,
    /// In the arena: bins and top.
    Arena,
    /// In a system call.
    Call,
    /// In the page-fault handler.
    Fault,
    /// In the page allocator.
    Pages,
}

impl Layer {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Cache => "thread cache",
            Self::Arena => "arena",
            Self::Call => "system call",
            Self::Fault => "page fault",
            Self::Pages => "page allocator",
        }
    }
}

/// All that there is to see at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// The program's heap, by the allocator's own books.
    pub heap: HeapState,
    /// The kernel's.
    pub machine: MachineState,
}

/// A step.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Where.
    pub layer: Layer,
    /// What, in a line.
    pub title: String,
    /// More, a line each.
    pub detail: Vec<String>,
    /// Its price in simulated time.
    pub cost_ns: u64,
    /// The state before, an index into [`Journey::states`].
    pub before: usize,
    /// And after.
    pub after: usize,
}

/// The whole way.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Journey {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The states between them, each once.
    pub states: Vec<State>,
}

/// What the program does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// `name = malloc(bytes)`.
    Malloc {
        /// What the block is called.
        name: String,
        /// The request.
        bytes: usize,
    },
    /// `name = calloc(1, bytes)`.
    Calloc {
        /// What the block is called.
        name: String,
        /// The request.
        bytes: usize,
    },
    /// `name = realloc(name, bytes)`.
    Realloc {
        /// The block.
        name: String,
        /// The request.
        bytes: usize,
    },
    /// Writes to every page of a block.
    Touch {
        /// The block.
        name: String,
    },
    /// `free(name)`.
    Free {
        /// The block.
        name: String,
    },
    /// `malloc_trim(0)`.
    Trim,
    /// Half a second passes, and the idle helper looks.
    Idle,
}

/// Most blocks and bytes of one journey: states are kept for every step.
const MOST_ACTS: usize = 200;
const MOST_BYTES: usize = 256 << 20;

/// Statements of a journey's script, for `--help`.
pub const HELP: &str = "\
NAME = malloc SIZE | NAME = calloc SIZE | NAME = realloc SIZE
touch NAME | free NAME | trim | idle";

/// Reads a journey's script.
///
/// # Errors
/// The first line that makes no sense.
pub fn parse(text: &str) -> Result<Vec<Act>, ScriptError> {
    let mut acts = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let failed = |why: String| ScriptError { line: nth + 1, why };
        acts.push(act(&words).map_err(failed)?);
        if acts.len() > MOST_ACTS {
            return Err(failed(format!("a journey has {MOST_ACTS} statements at most")));
        }
    }
    Ok(acts)
}

fn act(words: &[&str]) -> Result<Act, String> {
    let size = |text: &str| {
        let bytes = crate::script::parse_size(text, "how many bytes")?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MOST_BYTES);
        bytes.ok_or_else(|| "a journey's block has 256M at most".to_owned())
    };
    Ok(match *words {
        [name, "=", "malloc", bytes] => Act::Malloc { name: name.into(), bytes: size(bytes)? },
        [name, "=", "calloc", bytes] => Act::Calloc { name: name.into(), bytes: size(bytes)? },
        [name, "=", "realloc", bytes] => Act::Realloc { name: name.into(), bytes: size(bytes)? },
        ["touch", name] => Act::Touch { name: name.into() },
        ["free", name] => Act::Free { name: name.into() },
        ["trim"] => Act::Trim,
        ["idle"] => Act::Idle,
        _ => return Err(format!("no statement of a journey: `{}`", words.join(" "))),
    })
}

/// Why a journey did not come to its end.
#[derive(Debug)]
pub enum JourneyError {
    /// The machine did not start.
    Boot(BootError),
    /// A block that there is not.
    NoBlock(String),
    /// The program was ended.
    Ended(TouchError),
    /// The allocator ended the program.
    Fatal(String),
}

impl std::fmt::Display for JourneyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boot(error) => error.fmt(f),
            Self::NoBlock(name) => write!(f, "there is no block `{name}`"),
            Self::Ended(error) => write!(f, "the program was ended: {error}"),
            Self::Fatal(line) => write!(f, "the allocator ended the program: {line}"),
        }
    }
}

impl std::error::Error for JourneyError {}

/// Travels.
///
/// # Errors
/// All of [`JourneyError`].
pub fn travel(acts: &[Act], seed: u64) -> Result<Journey, JourneyError> {
    let config = Config {
        seed,
        window: Some(Behind::Frames),
        fidelity: Fidelity::Bytes,
        ram_bytes: 512 << 20,
        ..Config::default()
    };
    let result = boot_shared(&config, |kernel| {
        let pid = {
            let mut machine = kernel.borrow_mut();
            let pid = machine.spawn("program");
            pid.map_err(|error| JourneyError::Boot(BootError(error.to_string())))?
        };
        // A processor without ready frames: the first fault shows how it gets some.
        kernel.borrow_mut().on_cpu(1);
        let user = User::new(kernel, pid, 1);
        let traveller =
            Traveller { kernel, user, blocks: BTreeMap::new(), way: Journey::default() };
        traveller.travel(acts)
    });
    match result {
        Ok(journey) => journey,
        Err(error) => Err(JourneyError::Boot(error)),
    }
}

/// A block of the program.
#[derive(Clone, Copy)]
struct Block {
    pointer: usize,
    bytes: usize,
}

struct Traveller<'k, 'm> {
    kernel: &'k RefCell<Kernel<'m>>,
    user: User<'k, 'm>,
    blocks: BTreeMap<String, Block>,
    way: Journey,
}

impl Traveller<'_, '_> {
    fn travel(mut self, acts: &[Act]) -> Result<Journey, JourneyError> {
        self.kernel.borrow_mut().watch();
        self.kernel.borrow_mut().keep_states(self.user.pid());
        self.user.alloc.os.watch_heap(&self.user.alloc);
        for act in acts {
            self.act(act)?;
            if let Some(error) = self.user.ended() {
                return Err(JourneyError::Ended(error));
            }
        }
        Ok(self.way)
    }

    fn block(&self, name: &str) -> Result<Block, JourneyError> {
        self.blocks.get(name).copied().ok_or_else(|| JourneyError::NoBlock(name.to_owned()))
    }

    fn act(&mut self, act: &Act) -> Result<(), JourneyError> {
        let before = self.state();
        let from = self.note(before.clone());
        let block = match act {
            Act::Realloc { name, .. } | Act::Touch { name } | Act::Free { name } => {
                Some(self.block(name)?)
            }
            _ => None,
        };
        let mut pointer = block.map_or(0, |block| block.pointer);
        let user = &self.user;
        let fatal = user.fatal_line(|| match act {
            Act::Malloc { bytes, .. } => pointer = user.malloc(0, *bytes),
            Act::Calloc { bytes, .. } => pointer = user.calloc(0, 1, *bytes),
            Act::Realloc { bytes, .. } => pointer = user.realloc(0, pointer, *bytes),
            Act::Touch { .. } => {
                if let Some(block) = block {
                    user.touch(block.pointer, block.bytes, 1);
                }
            }
            Act::Free { .. } => user.free(0, pointer),
            Act::Trim => _ = user.trim(0, 0),
            Act::Idle => {
                self.kernel.borrow_mut().pass_ns(500_000_000);
                user.alloc.tick();
            }
        });
        if let Some(line) = fatal {
            return Err(JourneyError::Fatal(line));
        }
        match act {
            Act::Malloc { name, bytes }
            | Act::Calloc { name, bytes }
            | Act::Realloc { name, bytes }
                if pointer != 0 =>
            {
                self.blocks.insert(name.clone(), Block { pointer, bytes: *bytes });
            }
            Act::Free { name } => _ = self.blocks.remove(name),
            _ => {}
        }
        self.tell(act, &before, from, pointer);
        Ok(())
    }

    /// Puts the call, what it met, and its return in order.
    fn tell(&mut self, act: &Act, before: &State, from: usize, pointer: usize) {
        let events: Vec<Event> = self.kernel.borrow_mut().events();
        let machines = self.kernel.borrow_mut().take_states();
        let heaps = self.user.alloc.os.take_heaps();
        let after = self.state();
        let served_by_cache = events.is_empty() && before.heap.is_near(&after.heap);
        let opening = words::opening(act, &before.heap, served_by_cache);
        for (layer, title, detail) in opening {
            self.way.steps.push(Step {
                layer,
                title,
                detail,
                cost_ns: 0,
                before: from,
                after: from,
            });
        }
        let mut last = from;
        let mut heap = before.heap.clone();
        let mut fresh = true;
        for (nth, (event, machine)) in events.iter().zip(machines).enumerate() {
            if let Some((_, seen)) = heaps.iter().rev().find(|(at, _)| *at <= nth) {
                heap = seen.clone();
            }
            let state = State { heap: heap.clone(), machine };
            let (layer, title, detail) = words::event(event, &self.way.states[last], &state);
            if let Some((layer, title, detail)) = words::fault_begins(&events[nth..], fresh, &state)
            {
                let (before, after) = (last, last);
                self.way.steps.push(Step { layer, title, detail, cost_ns: 0, before, after });
            }
            fresh = !matches!(event.what, What::Taken { .. } | What::Given { .. });
            let after = self.note(state);
            let cost_ns = event.cost_ns;
            self.way.steps.push(Step { layer, title, detail, cost_ns, before: last, after });
            last = after;
        }
        let closing = words::closing(act, &self.way.states[last], &after, pointer, served_by_cache);
        let to = self.note(after);
        for (layer, title, detail) in closing {
            self.way.steps.push(Step { layer, title, detail, cost_ns: 0, before: last, after: to });
            last = to;
        }
    }

    fn state(&self) -> State {
        let heap = HeapState::of(&self.user.alloc);
        let machine = MachineState::of(&self.kernel.borrow(), self.user.pid());
        State { heap, machine }
    }

    /// Keeps a state, once.
    fn note(&mut self, state: State) -> usize {
        if self.way.states.last() != Some(&state) {
            self.way.states.push(state);
        }
        self.way.states.len() - 1
    }
}
