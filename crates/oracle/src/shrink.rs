//! A failing script made shorter: halves, quarters, … single steps, as long as some
//! difference is left.

use crate::compare::{Difference, check};
use crate::op::{Op, Step};
use std::path::Path;

/// Without a fork there is no second process; a memfd made after it would be one's alone.
fn valid(steps: &[Step]) -> bool {
    let mut forked = false;
    steps.iter().all(|step| {
        let fine =
            if forked { !matches!(step.op, Op::Memfd(..) | Op::File(..)) } else { step.who == 0 };
        forked |= step.op == Op::Fork;
        fine
    })
}

/// Longer scripts are built by hand: their end says what differs.
const MOST_STEPS: usize = 2000;

/// The shortest script found that still differs, and its difference.
pub fn shrink(
    child: &Path,
    stack: u64,
    steps: &[Step],
    first: Difference,
) -> (Vec<Step>, Difference) {
    let mut best = steps[..(first.step + 1).min(steps.len())].to_vec();
    let mut difference = first;
    if best.len() > MOST_STEPS {
        return (best, difference);
    }
    let mut part = best.len().next_power_of_two() / 2;
    while part > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + part).min(best.len()));
            let found = if valid(&shorter) { check(child, stack, &shorter) } else { Ok(None) };
            match found {
                Ok(Some(found)) => {
                    shorter.truncate(found.step + 1);
                    (best, difference) = (shorter, found);
                }
                _ => at += part,
            }
        }
        part /= 2;
    }
    (best, difference)
}
