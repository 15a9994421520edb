//! The search: mutate what reached something new, keep what does so again.

use crate::crash;
use crate::input::Input;
use crate::reach::{Reached, run};
use crate::{counters, reach};
use heapwise_seed::Rng;
use std::path::Path;
use std::time::{Duration, Instant};

/// The corpus, and all that it reaches.
struct Search {
    rng: Rng,
    corpus: Vec<Input>,
    reached: Reached,
    runs: u64,
    operations: u64,
}

impl Search {
    /// Runs an input; keeps it if it reaches something new.
    fn attempt(&mut self, input: Input) -> bool {
        crash::begin(&input);
        let reached = run(&input);
        self.runs += 1;
        self.operations += input.words.len() as u64;
        let before = self.reached.len();
        self.reached.extend(reached);
        let new = self.reached.len() > before;
        if new {
            self.corpus.push(input);
        }
        new
    }

    fn next(&mut self) -> Input {
        if self.corpus.is_empty() || self.rng.one_in(20) {
            return Input::random(&mut self.rng);
        }
        // Half of the time one of the newest.
        let count = self.corpus.len();
        let recent = count.min(32);
        let index = if self.rng.one_in(2) {
            count - 1 - self.rng.index(recent)
        } else {
            self.rng.index(count)
        };
        let other = self.rng.index(count);
        self.corpus[index].mutated(&self.corpus[other], &mut self.rng)
    }
}

/// Searches for `time`. Inputs of `folder` come first; what is found goes there.
pub fn search(time: Duration, seed: u64, folder: Option<&Path>) {
    let mut search = Search {
        rng: Rng::new(seed),
        corpus: Vec::new(),
        reached: reach::Reached::new(),
        runs: 0,
        operations: 0,
    };
    let start = Instant::now();
    for file in folder.and_then(|f| std::fs::read_dir(f).ok()).into_iter().flatten().flatten() {
        if let Ok(input) = Input::read(&file.path()) {
            search.attempt(input);
        }
    }
    while start.elapsed() < time {
        let input = search.next();
        if search.attempt(input)
            && let (Some(folder), Some(input)) = (folder, search.corpus.last())
            && let Err(error) = crash::save(input, folder)
        {
            eprintln!("{}: {error}", folder.display());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} inputs, {} operations in {seconds:.1} s; {} features ({} counters), {} inputs kept; no failure",
        search.runs,
        search.operations,
        search.reached.len(),
        counters::count(),
        search.corpus.len(),
    );
}
