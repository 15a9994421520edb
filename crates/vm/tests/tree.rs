//! The VMA tree against a sorted vector.

use heapwise_vm::{Span, VirtAddr, Vma, VmaPool, VmaSlot, VmaTree};
use proptest::prelude::*;

/// Pages of the small world in which everything collides.
const PAGES: u64 = 200;

const fn page(number: u64) -> VirtAddr {
    VirtAddr::new(number << 12)
}

fn span(start: u64, end: u64) -> Span {
    Span::new(page(start), page(end))
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    Resize(u64, u64, u64),
    Find(u64),
    Gap { low: u64, high: u64, pages: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let at = 1..PAGES;
    prop_oneof![
        4 => (at.clone(), 1..9_u64).prop_map(|(at, pages)| Op::Insert(at, pages)),
        2 => at.clone().prop_map(Op::Remove),
        1 => (at.clone(), at.clone(), at.clone()).prop_map(|(a, b, c)| Op::Resize(a, b, c)),
        2 => at.clone().prop_map(Op::Find),
        3 => (at.clone(), at, 1..30_u64).prop_map(|(low, high, pages)| Op::Gap { low, high, pages }),
    ]
}

/// The gaps of a sorted vector, cut to limits, wide enough.
fn gaps(model: &[Span], within: Span, bytes: u64) -> Vec<Span> {
    let mut edges = vec![VirtAddr::NULL];
    edges.extend(model.iter().flat_map(|span| [span.start, span.end]));
    edges.push(VirtAddr::new(u64::MAX));
    let gaps = edges.chunks(2).map(|edge| Span::new(edge[0], edge[1]).clip(within));
    gaps.filter(|gap| !gap.is_empty() && gap.bytes() >= bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_sorted_vector_does(ops in prop::collection::vec(op(), 1..160)) {
        let mut slots = vec![VmaSlot::new(); 64];
        let mut pool = VmaPool::new(&mut slots);
        let mut tree = VmaTree::new();
        let mut model: Vec<Span> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(start, pages) => {
                    let span = span(start, start + pages);
                    let taken = model.iter().any(|other| other.overlaps(span));
                    prop_assert_eq!(tree.overlapping(&pool, span).is_some(), taken);
                    if !taken {
                        let full = model.len() == 64;
                        let result = tree.insert(&mut pool, Vma { span, ..Vma::default() });
                        prop_assert_eq!(result.is_err(), full);
                        if !full {
                            model.push(span);
                            model.sort_by_key(|span| span.start);
                        }
                    }
                }
                Op::Remove(at) => {
                    let found = tree.holding(&pool, page(at));
                    let nth = model.iter().position(|span| span.contains(page(at)));
                    prop_assert_eq!(found.is_some(), nth.is_some());
                    if let (Some(id), Some(nth)) = (found, nth) {
                        prop_assert_eq!(tree.remove(&mut pool, id).span, model.remove(nth));
                    }
                }
                Op::Resize(at, start, end) => {
                    let Some(nth) = model.iter().position(|span| span.contains(page(at))) else { continue };
                    let low = nth.checked_sub(1).map_or(page(1), |nth| model[nth].end);
                    let high = model.get(nth + 1).map_or(page(PAGES + 20), |span| span.start);
                    let new = span(start, end).clip(Span::new(low, high));
                    if !new.is_empty() {
                        let id = tree.holding(&pool, page(at)).unwrap();
                        tree.update(&mut pool, id, |vma| vma.span = new);
                        model[nth] = new;
                    }
                }
                Op::Find(at) => {
                    let at = page(at);
                    let above = model.iter().find(|span| span.end > at).copied();
                    let found = tree.find(&pool, at);
                    prop_assert_eq!(found.map(|id| pool[id].span), above);
                    let below = model.iter().rev().find(|span| span.start < at).copied();
                    let found_below = tree.before(&pool, at);
                    prop_assert_eq!(found_below.map(|id| pool[id].span), below);
                    if let Some(id) = found {
                        let before = tree.prev(&pool, id).map(|id| pool[id].span);
                        let nth = model.iter().position(|span| Some(*span) == above).unwrap();
                        prop_assert_eq!(before, nth.checked_sub(1).map(|nth| model[nth]));
                        let after = tree.next(&pool, id).map(|id| pool[id].span);
                        prop_assert_eq!(after, model.get(nth + 1).copied());
                    }
                }
                Op::Gap { low, high, pages } => {
                    let (within, bytes) = (span(low.min(high), low.max(high)), pages << 12);
                    let wide = gaps(&model, within, bytes);
                    prop_assert_eq!(tree.highest_gap(&pool, within, bytes), wide.last().copied());
                    prop_assert_eq!(tree.lowest_gap(&pool, within, bytes), wide.first().copied());
                }
            }
            prop_assert!(tree.is_sound(&pool));
            prop_assert!(tree.iter(&pool).map(|vma| vma.span).eq(model.iter().copied()));
            prop_assert_eq!(tree.last(&pool).map(|id| pool[id].span), model.last().copied());
            prop_assert_eq!(pool.free_nodes() as usize, 64 - model.len());
        }
    }
}

#[test]
fn the_height_stays_logarithmic_at_a_hundred_thousand() {
    // Ascending, descending, and from both ends: what an unbalanced tree dies of.
    const COUNT: u64 = 100_000;
    let orders: [fn(u64) -> u64; 3] = [
        |nth| nth,
        |nth| COUNT - 1 - nth,
        |nth| if nth % 2 == 0 { nth / 2 } else { COUNT - 1 - nth / 2 },
    ];
    let mut slots = vec![VmaSlot::new(); COUNT as usize];
    for order in orders {
        let mut pool = VmaPool::new(&mut slots);
        let mut tree = VmaTree::new();
        for nth in 0..COUNT {
            let at = 2 * order(nth) + 1;
            tree.insert(&mut pool, Vma { span: span(at, at + 1), ..Vma::default() }).unwrap();
        }
        assert!(tree.is_sound(&pool), "an AVL tree: height at most 1.44 log2");
        let everywhere = span(1, 2 * COUNT + 10);
        // Only the space behind the last is wider than a page.
        let gap = tree.lowest_gap(&pool, everywhere, 2 << 12).unwrap();
        assert_eq!(gap.start, page(2 * COUNT));
        assert_eq!(tree.highest_gap(&pool, span(1, 2 * COUNT), 2 << 12), None);
    }
}
