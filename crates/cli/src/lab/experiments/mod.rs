//! The experiments, one a file, in the order in which they are best read.

mod auto_trim;
mod break_moves;
mod brk_blocked;
mod brk_never;
mod calloc_zero;
mod coalescing;
mod dontneed;
mod double_free;
mod dynamic_threshold;
mod foreign_sbrk;
mod fork;
mod frozen_threshold;
mod header;
mod hole;
mod lazy;
mod mallopt_threshold;
mod maps_reading;
mod middle;
mod mmap;
mod mmap_first;
mod mmap_threshold;
mod overhead;
mod prealloc;
mod prelude;
mod price;
mod read_zero_page;
mod refill;
mod reuse;
mod rss_large_free;
mod split;
mod strace_small_large;
mod ten_small_one_large;
mod thread_arenas;
mod three_sizes;
mod threshold_env;
mod trim;
mod two_owners;
mod vec_growth;

use super::experiment::Experiment;

/// All experiments: the kernel's two ways first, then where malloc goes, what a
/// chunk is, how memory comes back, what the settings do, and the odd cases.
pub static ALL: &[&Experiment] = &[
    &break_moves::EXPERIMENT,
    &mmap::EXPERIMENT,
    &maps_reading::EXPERIMENT,
    &prealloc::EXPERIMENT,
    &mmap_threshold::EXPERIMENT,
    &mmap_first::EXPERIMENT,
    &three_sizes::EXPERIMENT,
    &strace_small_large::EXPERIMENT,
    &ten_small_one_large::EXPERIMENT,
    &refill::EXPERIMENT,
    &price::EXPERIMENT,
    &header::EXPERIMENT,
    &overhead::EXPERIMENT,
    &reuse::EXPERIMENT,
    &split::EXPERIMENT,
    &coalescing::EXPERIMENT,
    &vec_growth::EXPERIMENT,
    &lazy::EXPERIMENT,
    &read_zero_page::EXPERIMENT,
    &calloc_zero::EXPERIMENT,
    &dontneed::EXPERIMENT,
    &rss_large_free::EXPERIMENT,
    &hole::EXPERIMENT,
    &auto_trim::EXPERIMENT,
    &trim::EXPERIMENT,
    &middle::EXPERIMENT,
    &threshold_env::EXPERIMENT,
    &mallopt_threshold::EXPERIMENT,
    &dynamic_threshold::EXPERIMENT,
    &frozen_threshold::EXPERIMENT,
    &thread_arenas::EXPERIMENT,
    &fork::EXPERIMENT,
    &foreign_sbrk::EXPERIMENT,
    &brk_blocked::EXPERIMENT,
    &brk_never::EXPERIMENT,
    &double_free::EXPERIMENT,
    &two_owners::EXPERIMENT,
];

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn names_are_unique_and_easy_to_type() {
        let mut names: Vec<&str> = ALL.iter().map(|experiment| experiment.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
