//! The script as the player reads it: a stream of steps a thread, in a file.
//!
//! ```text
//! ┌──────────┬───────────────┬───────────────┬──────────┬──────────┬───┐
//! │ magic, … │ thread 0: at, │ thread 1: at, │ steps of │ steps of │ … │
//! │  64 byte │ count, window │ count, window │ thread 0 │ thread 1 │   │
//! └──────────┴───────────────┴───────────────┴──────────┴──────────┴───┘
//! ```
//! Each thread keeps its own order. Between threads two things hold:
//!
//! - What is done to a block comes after what was done to it before: where another thread
//!   did that, a [`Op::Wait`] precedes.
//! - No thread is more than a *window* ahead of the slowest that has something to do: the
//!   windows are so many steps of the whole script. So the sum of what is held is nearly the
//!   original's at each moment, and threads still run side by side.
//!
//! The file is private to one version of this crate: maker and player are one program.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::script::{Op, Script, Step};

/// First word of the file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HwReply1");
/// Length of the head.
pub const HEAD_BYTES: usize = 64;
/// Length of a thread's entry.
pub const ENTRY_BYTES: usize = 24;
/// Steps of a window with few threads; more threads get longer ones.
const WINDOW_STEPS: u64 = 1024;
/// And so many steps a thread.
const WINDOW_STEPS_A_THREAD: u64 = 64;
/// A window that nobody waits for.
pub const NEVER: u64 = u64::MAX;

/// What is written into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Touch {
    /// All bytes, as most programs do.
    #[default]
    All = 0,
    /// All bytes, but nothing into what calloc gave.
    NotCalloc = 1,
    /// A byte a page.
    Pages = 2,
    /// Nothing.
    Nothing = 3,
}

impl Touch {
    /// From its number.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::All,
            1 => Self::NotCalloc,
            2 => Self::Pages,
            3 => Self::Nothing,
            _ => return None,
        })
    }
}

/// How it is to be played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Playing {
    /// What is written.
    pub touch: Touch,
    /// Whether the original's pauses are kept.
    pub paced: bool,
}

/// A thread's stream while it is made.
struct Stream {
    steps: Vec<Step>,
    window: u64,
    first_window: u64,
    /// Of other threads: how far they are known to be.
    known: HashMap<u16, u64>,
    ended: bool,
}

/// Writes the file.
///
/// # Errors
/// What `out` said.
pub fn write(script: &Script, playing: Playing, out: &mut impl Write) -> io::Result<()> {
    let streams = make(script, playing.paced);
    let mut head = [0u8; HEAD_BYTES];
    let words = [
        MAGIC,
        streams.len() as u64,
        u64::from(script.slots),
        u64::from(script.samples),
        playing.touch as u64,
    ];
    for (to, word) in head.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    out.write_all(&head)?;
    let mut at = (HEAD_BYTES + ENTRY_BYTES * streams.len()) as u64;
    for stream in &streams {
        for word in [at, stream.steps.len() as u64, stream.first_window] {
            out.write_all(&word.to_le_bytes())?;
        }
        at += (stream.steps.len() * Step::BYTES) as u64;
    }
    for step in streams.iter().flat_map(|stream| &stream.steps) {
        out.write_all(&step.to_bytes())?;
    }
    Ok(())
}

fn make(script: &Script, paced: bool) -> Vec<Stream> {
    let threads = script.threads.max(1) as usize;
    let window_steps = WINDOW_STEPS.max(WINDOW_STEPS_A_THREAD * threads as u64);
    let new = || Stream {
        steps: Vec::new(),
        window: 0,
        first_window: NEVER,
        known: HashMap::new(),
        ended: false,
    };
    let mut streams: Vec<Stream> = (0..threads).map(|_| new()).collect();
    // Who touched each slot last, and where in its stream that stands.
    let mut last: Vec<(u16, u64)> = vec![(0, 0); script.slots as usize];
    for (index, step) in script.steps.iter().enumerate() {
        let window = index as u64 / window_steps;
        let stream = &mut streams[usize::from(step.thread)];
        if stream.first_window == NEVER {
            stream.first_window = window;
            stream.window = window;
        } else if stream.window < window {
            stream.window = window;
            stream.steps.push(Step { size: window, ..Step::plain(step.thread, Op::Window) });
        }
        match step.op {
            Op::Nothing | Op::Wait | Op::Window => continue,
            Op::Time if !paced => continue,
            Op::Realloc | Op::Free => wait(stream, step.thread, last[step.slot as usize]),
            Op::End => stream.ended = true,
            _ => {}
        }
        stream.steps.push(*step);
        if matches!(step.op, Op::Malloc | Op::Calloc | Op::Aligned | Op::Realloc | Op::Free) {
            last[step.slot as usize] = (step.thread, stream.steps.len() as u64);
        }
    }
    for (index, stream) in streams.iter_mut().enumerate().filter(|(_, stream)| !stream.ended) {
        stream.steps.push(Step::plain(index as u16, Op::End));
    }
    streams
}

fn wait(stream: &mut Stream, own: u16, (other, steps): (u16, u64)) {
    if other == own || stream.known.get(&other).is_some_and(|&known| known >= steps) {
        return;
    }
    stream.known.insert(other, steps);
    stream.steps.push(Step { size: steps, slot: other.into(), ..Step::plain(own, Op::Wait) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(thread: u16, op: Op, slot: u32) -> Step {
        Step { slot, ..Step::plain(thread, op) }
    }

    #[test]
    fn a_thread_waits_for_whom_it_takes_a_block_from_and_only_once() {
        let steps = vec![
            step(0, Op::Malloc, 0),
            step(0, Op::Malloc, 1),
            step(1, Op::Free, 1),
            step(1, Op::Free, 0),
            step(1, Op::End, 0),
        ];
        let script = Script { steps, threads: 2, slots: 2, ..Script::default() };
        let streams = make(&script, false);
        let ops = |index: usize| streams[index].steps.iter().map(|s| s.op).collect::<Vec<_>>();
        assert_eq!(ops(0), [Op::Malloc, Op::Malloc, Op::End]);
        assert_eq!(ops(1), [Op::Wait, Op::Free, Op::Free, Op::End]);
        assert_eq!((streams[1].steps[0].slot, streams[1].steps[0].size), (0, 2));
    }

    #[test]
    fn whoever_has_nothing_to_do_in_a_window_is_not_waited_for() {
        let mut steps = vec![step(1, Op::Malloc, 0)];
        steps.extend((0..5000).map(|_| step(0, Op::Sample, 0)));
        steps.push(step(1, Op::Free, 0));
        let script = Script { steps, threads: 2, slots: 1, ..Script::default() };
        let streams = make(&script, false);
        let windows = |index: usize| -> Vec<u64> {
            let windows = streams[index].steps.iter().filter(|s| s.op == Op::Window);
            windows.map(|s| s.size).collect()
        };
        assert_eq!(windows(0), [1, 2, 3, 4]);
        // It says right after its first step that it is next wanted in the fifth window.
        assert_eq!(windows(1), [4]);
        assert_eq!(streams[1].steps[1].op, Op::Window);
    }
}
