//! Copies whose maker was killed: each has ended, but nobody has waited for it.

use std::fs;

use super::super::figures::field;
use super::super::files::path;
use super::super::stopped::threads;

/// Their numbers in the target's own namespace.
#[must_use]
pub fn of(pid: u32) -> Vec<i64> {
    let lists = threads(pid)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tid| fs::read_to_string(path(pid, &format!("task/{tid}/children"))).ok());
    let children: Vec<u32> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|number| number.parse().ok())
        .collect();
    children.into_iter().filter(|&child| is_ours(child)).filter_map(own_number).collect()
}

/// A zombie without a signal for its parent that has ended as only a copy does.
fn is_ours(child: u32) -> bool {
    let read = |name| fs::read_to_string(path(child, name)).unwrap_or_default();
    let stat = read("stat");
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // `exit_signal` and `exit_code`, counted from behind the name.
    let is = |place: usize, value: &str| fields.get(place) == Some(&value);
    let went_out = (super::EXIT_CODE << 8).to_string();
    let was_killed = is(49, "9") && read("oom_score_adj").trim() == super::FIRST_TO_GO;
    is(0, "Z") && is(35, "0") && (is(49, &went_out) || was_killed)
}

fn own_number(child: u32) -> Option<i64> {
    let status = fs::read_to_string(path(child, "status")).ok()?;
    field(&status, "NSpid")?.split_whitespace().next_back()?.parse().ok()
}
