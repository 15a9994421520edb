//! Windows read ahead of a walk, by a thread of their own.
//!
//! Copying memory of another process takes about as long as walking over it, so
//! both go on at once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::source::Opened;
use super::{WINDOW_BYTES, Window, read_window};
use crate::span::Span;

/// Windows on their way at most.
const DEPTH: usize = 4;

/// A window to read, and where to.
struct Request {
    base: usize,
    wanted: Vec<Span>,
    bytes: Box<[u8]>,
}

/// The thread, and what it has been asked for.
pub struct Ahead {
    requests: Sender<Request>,
    replies: Receiver<Window>,
    /// Bases of windows on their way, in order.
    asked: Vec<usize>,
    /// Memory of windows not in use.
    spare: Vec<Box<[u8]>>,
}

impl Ahead {
    /// Starts the thread, which ends with this value.
    pub fn new(opened: Arc<Opened>, page_bytes: usize) -> Self {
        let (requests, asked) = channel::<Request>();
        let (done, replies) = channel();
        // Without a thread nobody answers, and the walk reads for itself.
        let _ = std::thread::Builder::new().name("read-ahead".into()).spawn(move || {
            while let Ok(Request { base, wanted, mut bytes }) = asked.recv() {
                let read = |span, into: &mut [u8]| opened.read(&[span], into);
                let valid = read_window(read, base, &wanted, page_bytes, &mut bytes);
                if done.send(Window { base, valid, bytes }).is_err() {
                    break;
                }
            }
        });
        Self { requests, replies, asked: Vec::new(), spare: Vec::new() }
    }

    /// The window at `base`, if it was asked for; others on their way before it are dropped.
    pub fn take(&mut self, base: usize) -> Option<Window> {
        let position = self.asked.iter().position(|&asked| asked == base)?;
        for _ in 0..position {
            let skipped = self.replies.recv().ok()?;
            self.give_back(skipped);
        }
        self.asked.drain(..=position);
        self.replies.recv().ok()
    }

    /// A window that is not needed any more.
    pub fn give_back(&mut self, window: Window) {
        self.spare.push(window.bytes);
    }

    /// Asks for the windows behind `base` that are not on their way yet.
    pub fn ask(&mut self, base: usize, wanted: impl Fn(usize) -> Vec<Span>) {
        if self
            .asked
            .last()
            .is_some_and(|&last| last <= base || last > base.saturating_add(DEPTH * WINDOW_BYTES))
        {
            // The walk has leapt: what is on its way is of no use.
            while !self.asked.is_empty() {
                self.asked.remove(0);
                if let Ok(window) = self.replies.recv() {
                    self.give_back(window);
                }
            }
        }
        let mut next = self.asked.last().map_or(base, |&last| last);
        while self.asked.len() < DEPTH {
            let Some(following) = next.checked_add(WINDOW_BYTES) else { return };
            next = following;
            let bytes = self.spare.pop();
            let bytes = bytes.unwrap_or_else(|| vec![0; WINDOW_BYTES].into_boxed_slice());
            let request = Request { base: next, wanted: wanted(next), bytes };
            if self.requests.send(request).is_err() {
                return;
            }
            self.asked.push(next);
        }
    }
}
