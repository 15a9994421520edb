//! `--top-holder`: the chunks that hold the break up or keep free pages from going back.

use heapwise_inspect::Survey;
use heapwise_inspect::holders::Holder;

/// So many are told.
const TOLD: usize = 10;

/// The largest of them.
pub fn told(seen: &Survey) -> &[Holder] {
    &seen.holders[..seen.holders.len().min(TOLD)]
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
