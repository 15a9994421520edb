//! `--top-holder`: the chunks that hold the break up or keep free pages from going back.

use heapwise_inspect::Survey;
use heapwise_inspect::heap::pins::Pin;
use heapwise_inspect::process::memory::Memory;
use heapwise_inspect::span::Span;

/// So many are told.
const TOLD: usize = 10;
/// So many of a chunk's first bytes are shown.
const SHOWN: usize = 32;

/// A pin, and what its chunk begins with.
pub struct Holder {
    /// Number of its arena.
    pub arena: usize,
    /// The chunk, and what it holds up.
    pub pin: Pin,
    /// Its first bytes, where wanted and readable.
    pub first: Option<Vec<u8>>,
}

/// The largest pins of all arenas; those right below a top come first.
pub fn find(survey: &Survey, with_bytes: bool) -> Vec<Holder> {
    let memory = with_bytes.then(|| Memory::open(survey.pid, &survey.pages).ok()).flatten();
    let first = |pin: &Pin| {
        let start = pin.piece.address + 16;
        let length = SHOWN.min(pin.piece.bytes.saturating_sub(8));
        memory.as_ref()?.copy(Span::new(start, start + length))
    };
    let mut all: Vec<(usize, Pin)> = survey
        .heaps
        .arenas
        .iter()
        .flat_map(|arena| arena.pins.largest().iter().map(|pin| (arena.index, *pin)))
        .filter(|(_, pin)| pin.held_bytes > 0 || pin.below_top)
        .collect();
    all.sort_by_key(|(_, pin)| std::cmp::Reverse(pin.held_bytes));
    all.truncate(TOLD);
    all.into_iter().map(|(arena, pin)| Holder { arena, first: first(&pin), pin }).collect()
}

/// `48656c6c6f 20…  |Hello …|`.
pub fn dump(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes
        .chunks(8)
        .map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let letter = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    format!("{}  |{}|", hex.join(" "), bytes.iter().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_shown_twice() {
        assert_eq!(
            super::dump(b"Hello, World\x00"),
            "48656c6c6f2c2057 6f726c6400  |Hello, World.|"
        );
    }
}
