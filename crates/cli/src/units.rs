//! Figures for people: `12.3 MiB`, `1.24 s`, `1 234 567`.

use std::time::{Duration, UNIX_EPOCH};

/// Binary units, three significant digits.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would print as four digits.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A span of time from nanoseconds.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..999_500 => format!("{} µs", three_digits(ns as f64 / 1e3)),
        999_500..999_500_000 => format!("{} ms", three_digits(ns as f64 / 1e6)),
        999_500_000..60_000_000_000 => format!("{} s", three_digits(ns as f64 / 1e9)),
        _ => {
            let seconds = ns / 1_000_000_000;
            match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
                (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
            }
        }
    }
}

/// A moment, from milliseconds since 1970: `2026-03-01 12:00:00 UTC`.
pub fn moment(unix_ms: u64) -> String {
    // What humantime can write; beyond it, in the year 10000, it panics.
    const LAST_MS: u64 = 253_402_300_799_000;
    let since = Duration::from_millis(unix_ms.min(LAST_MS));
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// Digits in groups of three, a space between them as in ISO 80000.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `part` of `whole` in per cent; a dash when there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        let shown = [0, 1023, 1024, 1536, 135_168, 1_048_575, 1_048_576, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "1023 B", "1.00 KiB", "1.50 KiB", "132 KiB", "1.00 MiB", "1.00 MiB",
                "16.0 EiB"
            ]
        );
    }

    #[test]
    fn durations_change_unit_without_a_fourth_digit() {
        let shown =
            [999, 1_000, 999_499, 999_500, 1_240_000_000, 61_000_000_000, 3_660_000_000_000]
                .map(duration);
        assert_eq!(
            shown,
            ["999 ns", "1.00 µs", "999 µs", "1.00 ms", "1.24 s", "1 min 01 s", "1 h 01 min"]
        );
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(1_772_366_400_123), "2026-03-01 12:00:00 UTC");
        assert_eq!(moment(u64::MAX), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn a_share_of_nothing_is_a_dash() {
        assert_eq!((percent(1, 3), percent(1, 0)), ("33.3 %".into(), "–".into()));
    }
}
