//! Mappings that went away during a look: their pages were counted, and nobody can say what
//! they held.
//!
//! ```text
//! before   │ heap of an arena        │      │ chunk │
//! after    │ heap         │                                its thread has ended
//! still    │ heap         │                 what is left is unattributed, not "other"
//! ```

use crate::process::maps::Mapping;
use crate::span::Span;

/// The mappings as they were, without what of their private memory is mapped no more, or forbidden.
/// Both lists are in address order. O(n).
#[must_use]
pub fn still(before: &[Mapping], after: &[Mapping]) -> Vec<Mapping> {
    let mut out = Vec::with_capacity(before.len());
    let mut first = 0;
    for mapping in before {
        if !mapping.readable || !(mapping.is_anonymous() || mapping.is_break()) {
            out.push(mapping.clone());
            continue;
        }
        first += after[first..].partition_point(|other| other.span.end <= mapping.span.start);
        let reaches = |other: &&Mapping| other.span.start < mapping.span.end;
        let mut parts: Vec<Span> = Vec::new();
        for other in after[first..].iter().take_while(reaches).filter(|other| other.readable) {
            let part = other.span.overlap(mapping.span);
            match parts.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ => parts.push(part),
            }
        }
        out.extend(parts.into_iter().map(|span| Mapping { span, ..mapping.clone() }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: usize, end: usize, name: &str, readable: bool) -> Mapping {
        Mapping {
            span: Span::new(start, end),
            readable,
            writable: readable,
            executable: false,
            shared: false,
            offset: 0,
            inode: u64::from(name.starts_with('/')),
            name: name.into(),
        }
    }

    #[test]
    fn what_is_gone_or_forbidden_is_left_out() {
        let before = [
            mapping(0x1000, 0x5000, "", true),
            mapping(0x5000, 0x6000, "/lib", true),
            mapping(0x8000, 0xa000, "", true),
            mapping(0xa000, 0xb000, "", false),
            mapping(0xc000, 0xe000, "[heap]", true),
        ];
        let after = [
            mapping(0x1000, 0x2000, "", true),
            mapping(0x2000, 0x3000, "", true),
            mapping(0x3000, 0x5000, "", false),
            mapping(0xc000, 0xd000, "[heap]", true),
        ];
        let spans = |maps: &[Mapping]| -> Vec<(usize, usize)> {
            maps.iter().map(|m| (m.span.start, m.span.end)).collect()
        };
        assert_eq!(
            spans(&still(&before, &after)),
            [(0x1000, 0x3000), (0x5000, 0x6000), (0xa000, 0xb000), (0xc000, 0xd000)]
        );
        assert_eq!(spans(&still(&before, &before)), spans(&before));
        // Neighbours that the kernel has joined meanwhile are the same memory.
        let joined = [mapping(0x1000, 0xe000, "", true)];
        assert_eq!(still(&before, &joined).len(), before.len());
    }
}
