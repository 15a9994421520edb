//! How figures and addresses stand in a snapshot, and what is refused there.
//!
//! A snapshot may have been made by anybody. Every figure that is summed up
//! later is taken for [`MOST`] at most, and lists of such figures have at most
//! [`MOST_LISTED`] entries: no sum over one overflows.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// No figure of a process is larger: its address space has 47 bits.
pub const MOST: usize = 1 << 47;
/// No list of arenas, caches or heaps is longer.
pub const MOST_LISTED: usize = 1 << 16;
/// No chunk lies above: 57 bits, five levels of page tables.
const ADDRESS_END: usize = 1 << 57;

/// A size or a number; a larger one is [`MOST`]. Not refused: a counter read from a damaged heap
/// may say anything, and a snapshot of that heap must be read all the same.
pub fn figure<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    Ok(usize::deserialize(from)?.min(MOST))
}

/// An address in user space.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let address = usize::deserialize(from)?;
    if address >= ADDRESS_END {
        return Err(D::Error::custom(format!("an address of {address:#x}")));
    }
    Ok(address)
}

/// A list with at most [`MOST_LISTED`] entries.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(from)?;
    if list.len() > MOST_LISTED {
        return Err(D::Error::custom(format!("a list of {} entries", list.len())));
    }
    Ok(list)
}

/// Bytes as hexadecimal digits.
pub mod hex {
    use super::*;

    /// `[0x12, 0xab]` is "12ab".
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.serialize(to)
    }

    /// The way back.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(from)?;
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
        bytes.ok_or_else(|| D::Error::custom("no hexadecimal digits"))
    }
}

/// Why a walk stopped short.
pub mod broken {
    use super::*;
    use heapwise_layout::walk::WalkError;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Why {
        Unreadable(usize),
        BadSize(usize),
    }

    /// By name, with the address.
    pub fn serialize<S: Serializer>(why: &Option<WalkError>, to: S) -> Result<S::Ok, S::Error> {
        let why = why.map(|why| match why {
            WalkError::Unreadable(chunk) => Why::Unreadable(chunk),
            WalkError::BadSize(chunk) => Why::BadSize(chunk),
        });
        why.serialize(to)
    }

    /// The way back.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WalkError>, D::Error> {
        Ok(Option::deserialize(from)?.map(|why| match why {
            Why::Unreadable(chunk) => WalkError::Unreadable(chunk),
            Why::BadSize(chunk) => WalkError::BadSize(chunk),
        }))
    }
}
