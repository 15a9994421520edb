//! What a sampled allocation stands for.

/// How many allocations of `size` bytes one sampled one stands for, if samples are
/// `mean_bytes` apart on average; 1 if everything was recorded (`mean_bytes` 0).
///
/// Samples are a Poisson process over the bytes that a program asks for, so an
/// allocation is taken with the probability 1 − e^(−size / mean); the weight is its
/// inverse, and the weighted sums of counts and bytes are unbiased.
#[must_use]
pub fn sample_weight(size: u64, mean_bytes: u64) -> f64 {
    if mean_bytes == 0 {
        return 1.0;
    }
    // Even an empty block takes a place: it counts as one byte.
    let share = size.max(1) as f64 / mean_bytes as f64;
    1.0 / -(-share).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::sample_weight;

    #[test]
    fn small_blocks_stand_for_many_and_large_ones_for_themselves() {
        assert_eq!(sample_weight(100, 0), 1.0);
        assert!((sample_weight(1 << 9, 1 << 19) - 1024.5).abs() < 0.1);
        assert!((sample_weight(1 << 30, 1 << 19) - 1.0).abs() < 1e-9);
        assert!(sample_weight(0, 1 << 19).is_finite());
    }
}
