//! The account: every resident page once.
//!
//! Invariant: the rows sum to the resident bytes of the page walk, exactly.
//! What no claim covers is told from its mapping; what no mapping covers, and
//! what a claim has too much or too little of, is unattributed.

use serde::{Deserialize, Serialize};

use crate::heap::summary::Claim;
use crate::process::maps::Mapping;
use crate::process::pages::Pages;
use crate::span::Span;
use crate::tally::{Row, Tally};
use crate::wire;

/// The rows, and how well they fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// Resident bytes by row.
    pub tally: Tally,
    /// Claims that overlap others or do not sum to what is resident: 0, or our mistake.
    #[serde(deserialize_with = "wire::figure")]
    pub misfits: usize,
}

/// Sums it up. `stacks` and claims need no order.
#[must_use]
pub fn settle(maps: &[Mapping], pages: &Pages, claims: &[Claim], stacks: &[Span]) -> Account {
    let mut account = Account::default();
    let mut accepted: Vec<Claim> = Vec::with_capacity(claims.len() + stacks.len());
    let mut sorted: Vec<Claim> = claims.to_vec();
    sorted.sort_by_key(|claim| claim.span);
    for claim in sorted {
        let after_last = accepted.last().is_none_or(|last| last.span.end <= claim.span.start);
        let fits = claim.tally.sum() == pages.resident(claim.span);
        if !after_last || !fits {
            account.misfits += 1;
        }
        if after_last {
            let tally = if fits {
                claim.tally
            } else {
                Tally::of(Row::Unattributed, pages.resident(claim.span))
            };
            accepted.push(Claim { tally, ..claim });
        }
    }
    for claim in &accepted {
        account.tally.add(&claim.tally);
    }
    let mut mapped = 0;
    for mapping in maps {
        let row = row_of(mapping);
        mapped += pages.resident(mapping.span);
        for gap in gaps(mapping.span, &accepted) {
            let resident = pages.resident(gap);
            let in_stacks: usize = if row == Row::OtherAnonymous {
                stacks.iter().map(|stack| pages.resident(stack.overlap(gap))).sum()
            } else {
                0
            };
            let in_stacks = in_stacks.min(resident);
            account.tally[Row::Stacks] += in_stacks;
            account.tally[row] += resident - in_stacks;
        }
    }
    // Pages between the mappings: the maps changed while we looked.
    let claimed_outside: usize = accepted
        .iter()
        .map(|claim| {
            let inside = resident_in_maps(maps, pages, claim.span);
            pages.resident(claim.span).saturating_sub(inside)
        })
        .sum();
    let outside = pages.total().saturating_sub(mapped + claimed_outside);
    account.tally[Row::Unattributed] += outside;
    account
}

fn resident_in_maps(maps: &[Mapping], pages: &Pages, span: Span) -> usize {
    let first = maps.partition_point(|mapping| mapping.span.end <= span.start);
    maps[first..]
        .iter()
        .take_while(|mapping| mapping.span.start < span.end)
        .map(|mapping| pages.resident(mapping.span.overlap(span)))
        .sum()
}

/// What a mapping is as a whole, without looking into it.
#[must_use]
pub fn row_of(mapping: &Mapping) -> Row {
    let name = mapping.name.as_str();
    if name == "[stack]" || name.starts_with("[stack:") {
        Row::Stacks
    } else if mapping.shared
        && (mapping.inode == 0
            || ["/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "/[aio]"]
                .iter()
                .any(|start| name.starts_with(start)))
        || name.starts_with("[anon_shmem")
    {
        Row::SharedMemory
    } else if mapping.inode != 0 || name.starts_with('/') || name.starts_with("[v") {
        Row::Files
    } else {
        Row::OtherAnonymous
    }
}

fn gaps(span: Span, claims: &[Claim]) -> Vec<Span> {
    let first = claims.partition_point(|claim| claim.span.end <= span.start);
    let taken: Vec<Span> = claims[first..]
        .iter()
        .map(|claim| claim.span)
        .take_while(|taken| taken.start < span.end)
        .collect();
    crate::glibc::mapped::gaps(span, &taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::summary::What;
    use crate::process::pages::Run;

    fn mapping(start: usize, end: usize, name: &str) -> Mapping {
        Mapping {
            span: Span::new(start, end),
            readable: true,
            writable: true,
            executable: false,
            shared: false,
            offset: 0,
            inode: u64::from(name.starts_with('/')),
            name: name.into(),
        }
    }

    fn claim(start: usize, end: usize, bytes: usize) -> Claim {
        let tally = Tally::of(Row::LiveUser, bytes);
        Claim { span: Span::new(start, end), tally, what: What::Heap(0) }
    }

    #[test]
    fn the_rows_sum_to_what_is_resident_whatever_is_claimed() {
        let run = Run { span: Span::new(0x1000, 0x9000), of_file: false, huge: false };
        let pages = Pages::from_runs(4096, vec![run], true);
        let maps = [
            mapping(0x1000, 0x4000, ""),
            mapping(0x4000, 0x5000, "/lib"),
            mapping(0x6000, 0x9000, "[stack]"),
        ];
        let stacks = [Span::new(0x3000, 0x4000)];
        for claims in [
            vec![],
            vec![claim(0x1000, 0x2000, 0x1000)],
            vec![claim(0x1000, 0x2000, 0x1000), claim(0x1800, 0x2800, 0x1000)],
            vec![claim(0x1000, 0x2000, 0x7777)],
            vec![claim(0x3800, 0x6800, 0x3000)],
        ] {
            let account = settle(&maps, &pages, &claims, &stacks);
            assert_eq!(account.tally.sum(), pages.total(), "{claims:?}");
        }
        let account = settle(&maps, &pages, &[claim(0x1000, 0x2000, 0x1000)], &stacks);
        assert_eq!(account.misfits, 0);
        assert_eq!(account.tally[Row::LiveUser], 0x1000);
        assert_eq!(account.tally[Row::OtherAnonymous], 0x1000);
        assert_eq!(account.tally[Row::Files], 0x1000);
        assert_eq!(account.tally[Row::Stacks], 0x4000);
        // No mapping covers 0x5000..0x6000.
        assert_eq!(account.tally[Row::Unattributed], 0x1000);
    }
}
