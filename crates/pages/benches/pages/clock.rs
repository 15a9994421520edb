//! The clock of the benchmark: this thread's processor time, and medians of it.

/// Rounds of every figure.
pub const ROUNDS: usize = 11;

pub fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

pub fn medians(mut round: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    let (mut first, mut second): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| round()).unzip();
    first.sort_by(f64::total_cmp);
    second.sort_by(f64::total_cmp);
    (first[ROUNDS / 2], second[ROUNDS / 2])
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, at: *mut [i64; 2]) -> i32;
}

/// This thread's processor time, so that a busy machine disturbs less.
pub struct Instant(i64);

impl Instant {
    pub fn now() -> Self {
        const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
        let mut at = [0; 2];
        // SAFETY: on 64-bit Linux, a timespec is two 64-bit words.
        unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut at) };
        Self(at[0] * 1_000_000_000 + at[1])
    }
}

/// What reading the clock costs: a system call, and much beside 256 large blocks.
pub static CLOCK: std::sync::LazyLock<f64> = std::sync::LazyLock::new(|| {
    let mut costs: Vec<i64> = (0..1001)
        .map(|_| {
            let start = Instant::now();
            Instant::now().0 - start.0
        })
        .collect();
    costs.sort_unstable();
    costs[500] as f64
});

pub fn per(start: Instant, operations: usize) -> f64 {
    ((Instant::now().0 - start.0) as f64 - *CLOCK) / operations as f64
}
