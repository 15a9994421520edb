//! The tree's shape: AVL with links to parents.
//!
//! ```text
//!        z              y
//!       ╱ ╲            ╱ ╲         every node: |height(left) − height(right)| ≤ 1
//!      y   C   ──►    A   z        first, last, gap: from the children, by `pull`
//!     ╱ ╲                ╱ ╲
//!    A   B              B   C
//! ```

use super::pool::{NIL, VmaPool};

fn height(pool: &VmaPool<'_>, node: u32) -> u32 {
    if node == NIL { 0 } else { pool.slot(node).height }
}

/// Makes a node's summary from its children's.
fn pull(pool: &mut VmaPool<'_>, node: u32) {
    let slot = pool.slot(node);
    let (start, end) = (slot.vma.span.start.get(), slot.vma.span.end.get());
    let (left, right) = (slot.left, slot.right);
    let (mut first, mut last, mut gap) = (start, end, 0);
    let mut tallest = 0;
    if left != NIL {
        let left = pool.slot(left);
        first = left.first;
        gap = left.gap.max(start.saturating_sub(left.last));
        tallest = left.height;
    }
    if right != NIL {
        let right = pool.slot(right);
        last = right.last;
        gap = gap.max(right.gap).max(right.first.saturating_sub(end));
        tallest = tallest.max(right.height);
    }
    let slot = pool.slot_mut(node);
    (slot.first, slot.last, slot.gap, slot.height) = (first, last, gap, tallest + 1);
}

/// Puts `new` where `old` hangs under `parent`.
fn replace(pool: &mut VmaPool<'_>, root: &mut u32, parent: u32, old: u32, new: u32) {
    if parent == NIL {
        *root = new;
    } else if pool.slot(parent).left == old {
        pool.slot_mut(parent).left = new;
    } else {
        pool.slot_mut(parent).right = new;
    }
    if new != NIL {
        pool.slot_mut(new).parent = parent;
    }
}

/// Lifts a node's right child (or, mirrored, its left one) above it.
fn rotate(pool: &mut VmaPool<'_>, root: &mut u32, node: u32, lift_right: bool) -> u32 {
    let slot = pool.slot(node);
    let parent = slot.parent;
    let child = if lift_right { slot.right } else { slot.left };
    let inner = if lift_right { pool.slot(child).left } else { pool.slot(child).right };
    replace(pool, root, parent, node, child);
    if lift_right {
        pool.slot_mut(node).right = inner;
        pool.slot_mut(child).left = node;
    } else {
        pool.slot_mut(node).left = inner;
        pool.slot_mut(child).right = node;
    }
    pool.slot_mut(node).parent = child;
    if inner != NIL {
        pool.slot_mut(inner).parent = node;
    }
    pull(pool, node);
    pull(pool, child);
    child
}

/// Repairs balance and summaries from a node up to the root.
fn repair(pool: &mut VmaPool<'_>, root: &mut u32, mut node: u32) {
    while node != NIL {
        pull(pool, node);
        let slot = pool.slot(node);
        let (left, right) = (slot.left, slot.right);
        let (left_height, right_height) = (height(pool, left), height(pool, right));
        if left_height > right_height + 1 {
            let child = pool.slot(left);
            if height(pool, child.right) > height(pool, child.left) {
                rotate(pool, root, left, true);
            }
            node = rotate(pool, root, node, false);
        } else if right_height > left_height + 1 {
            let child = pool.slot(right);
            if height(pool, child.left) > height(pool, child.right) {
                rotate(pool, root, right, false);
            }
            node = rotate(pool, root, node, true);
        }
        node = pool.slot(node).parent;
    }
}

/// Renews the summaries above a node whose span changed.
pub(super) fn refresh(pool: &mut VmaPool<'_>, mut node: u32) {
    while node != NIL {
        pull(pool, node);
        node = pool.slot(node).parent;
    }
}

pub(super) fn insert(pool: &mut VmaPool<'_>, root: &mut u32, node: u32) {
    let start = pool.slot(node).vma.span.start;
    let (mut parent, mut at) = (NIL, *root);
    let mut to_left = false;
    while at != NIL {
        parent = at;
        let slot = pool.slot(at);
        to_left = start < slot.vma.span.start;
        at = if to_left { slot.left } else { slot.right };
    }
    pool.slot_mut(node).parent = parent;
    if parent == NIL {
        *root = node;
    } else if to_left {
        pool.slot_mut(parent).left = node;
    } else {
        pool.slot_mut(parent).right = node;
    }
    repair(pool, root, node);
}

/// Unlinks a node. Its successor takes its place as a node, so that no other VMA's
/// id changes.
pub(super) fn remove(pool: &mut VmaPool<'_>, root: &mut u32, node: u32) {
    let slot = pool.slot(node);
    let (parent, left, right) = (slot.parent, slot.left, slot.right);
    if left == NIL || right == NIL {
        let child = if left == NIL { right } else { left };
        replace(pool, root, parent, node, child);
        return repair(pool, root, parent);
    }
    let heir = leftmost(pool, right);
    let mut lowest = pool.slot(heir).parent;
    if lowest == node {
        lowest = heir;
    } else {
        let rest = pool.slot(heir).right;
        replace(pool, root, lowest, heir, rest);
        pool.slot_mut(heir).right = right;
        pool.slot_mut(right).parent = heir;
    }
    pool.slot_mut(heir).left = left;
    pool.slot_mut(left).parent = heir;
    replace(pool, root, parent, node, heir);
    repair(pool, root, lowest);
}

pub(super) fn leftmost(pool: &VmaPool<'_>, mut node: u32) -> u32 {
    while node != NIL && pool.slot(node).left != NIL {
        node = pool.slot(node).left;
    }
    node
}

pub(super) fn rightmost(pool: &VmaPool<'_>, mut node: u32) -> u32 {
    while node != NIL && pool.slot(node).right != NIL {
        node = pool.slot(node).right;
    }
    node
}

pub(super) fn next(pool: &VmaPool<'_>, mut node: u32) -> u32 {
    let right = pool.slot(node).right;
    if right != NIL {
        return leftmost(pool, right);
    }
    loop {
        let parent = pool.slot(node).parent;
        if parent == NIL || pool.slot(parent).left == node {
            return parent;
        }
        node = parent;
    }
}

pub(super) fn prev(pool: &VmaPool<'_>, mut node: u32) -> u32 {
    let left = pool.slot(node).left;
    if left != NIL {
        return rightmost(pool, left);
    }
    loop {
        let parent = pool.slot(node).parent;
        if parent == NIL || pool.slot(parent).right == node {
            return parent;
        }
        node = parent;
    }
}

/// The nodes under one, if all about them is right. At most the tree's height deep.
pub(super) fn count_sound(pool: &VmaPool<'_>, node: u32, parent: u32) -> Option<u32> {
    if node == NIL {
        return Some(0);
    }
    let slot = pool.slot(node);
    let below = count_sound(pool, slot.left, node)? + count_sound(pool, slot.right, node)?;
    let (left, right) = (height(pool, slot.left), height(pool, slot.right));
    let (start, end) = (slot.vma.span.start.get(), slot.vma.span.end.get());
    let (mut first, mut last, mut gap) = (start, end, 0);
    if slot.left != NIL {
        let left = pool.slot(slot.left);
        first = left.first;
        gap = left.gap.max(start.checked_sub(left.last)?);
    }
    if slot.right != NIL {
        let right = pool.slot(slot.right);
        last = right.last;
        gap = gap.max(right.gap).max(right.first.checked_sub(end)?);
    }
    let sound = slot.parent == parent
        && left.abs_diff(right) <= 1
        && slot.height == left.max(right) + 1
        && (slot.first, slot.last, slot.gap) == (first, last, gap);
    sound.then_some(below + 1)
}
