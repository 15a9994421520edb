//! An input: a setup's seed and operations, eight bytes each, and how it mutates.

use heapwise_seed::Rng;
use std::io;
use std::path::Path;

/// Longest input.
pub const MAX_WORDS: usize = 400;

/// A simulated program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Decides the world.
    pub seed: u64,
    /// The operations, as `heapwise_testkit::op` decodes them.
    pub words: Vec<u64>,
}

impl Input {
    /// Any bytes are an input; a rest of less than a word is left out.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(8).map(|chunk| {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        Self { seed: words.next().unwrap_or(0), words: words.take(MAX_WORDS).collect() }
    }

    /// The bytes that make it.
    pub fn bytes(&self) -> Vec<u8> {
        std::iter::once(&self.seed).chain(&self.words).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads a file, or standard input for `-`.
    pub fn read(file: &Path) -> io::Result<Self> {
        if file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::stdin(), &mut bytes)?;
            return Ok(Self::of_bytes(&bytes));
        }
        Ok(Self::of_bytes(&std::fs::read(file)?))
    }

    /// A fresh input.
    pub fn random(rng: &mut Rng) -> Self {
        let length = 1 + rng.index(MAX_WORDS);
        Self { seed: rng.word() % 4096, words: (0..length).map(|_| rng.word()).collect() }
    }

    /// A changed copy; `other` may lend a part.
    pub fn mutated(&self, other: &Self, rng: &mut Rng) -> Self {
        let mut new = self.clone();
        for _ in 0..1 + rng.index(6) {
            new.mutate(other, rng);
        }
        new.words.truncate(MAX_WORDS);
        new
    }

    fn mutate(&mut self, other: &Self, rng: &mut Rng) {
        let length = self.words.len();
        let at = rng.index(length + 1);
        let count = 1 + rng.index(12);
        let end = (at + count).min(length);
        match rng.index(10) {
            0 => self.seed = rng.word() % 4096,
            1 | 2 => drop(self.words.splice(at..at, (0..count).map(|_| rng.word()))),
            3 => drop(self.words.drain(at..end)),
            4 => {
                // The same again: repetition fills bins and uses up tokens.
                let again = self.words[at..end].to_vec();
                self.words.splice(end..end, again);
            }
            5 if !other.words.is_empty() => {
                let from = rng.index(other.words.len());
                let to = (from + count).min(other.words.len());
                drop(self.words.splice(at..at, other.words[from..to].iter().copied()));
            }
            6 if length > 1 => self.words.swap(at % length, rng.index(length)),
            _ if length > 0 => {
                // One byte, or one field, of one operation.
                let word = &mut self.words[at % length];
                let field =
                    rng.pick(&[0xff, 0xff << 8, 0xffff << 16, 0xffff_ffff << 32, 0xff << 32]);
                *word = *word & !field | rng.word() & field;
            }
            _ => self.words.push(rng.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let mut rng = Rng::new(1);
        let input = Input::random(&mut rng);
        assert_eq!(Input::of_bytes(&input.bytes()), input);
        assert_eq!(Input::of_bytes(b"short"), Input::default());
    }

    #[test]
    fn mutation_changes_and_stays_in_bounds() {
        let mut rng = Rng::new(2);
        let mut input = Input::default();
        let mut changed = 0;
        for _ in 0..2000 {
            let next = input.mutated(&input, &mut rng);
            assert!(next.words.len() <= MAX_WORDS);
            changed += usize::from(next != input);
            input = next;
        }
        assert!(changed > 1900, "{changed}");
    }
}
