//! `--tunable NAME=VALUE`: which environment a setting becomes.
//!
//! ```text
//! purge_delay_ms=50            HEAPWISE_PURGE_DELAY_MS=50
//! HEAPWISE_PURGE_DELAY_MS=50   HEAPWISE_PURGE_DELAY_MS=50
//! MALLOC_ARENA_MAX=2           MALLOC_ARENA_MAX=2
//! glibc.malloc.arena_max=2     GLIBC_TUNABLES=<what it was>:glibc.malloc.arena_max=2
//! ```
//!
//! A name that the library does not know is refused: a typing error that sets
//! nothing would go unnoticed.

use std::env;
use std::ffi::OsString;

use crate::failure::{Failure, USAGE};

/// Prefix of the variables that are ours.
const OURS: &str = "HEAPWISE_";
const GLIBC: &str = "glibc.malloc.";
const GLIBC_TUNABLES: &str = "GLIBC_TUNABLES";

/// Every name that the library reads, as it is spelled in the environment.
fn known() -> impl Iterator<Item = &'static str> {
    const NAMES: &[&str] = &[
        "HEAPWISE_PURGE_DELAY_MS",
        "HEAPWISE_PURGE_HELPER",
        "MALLOC_ARENA_MAX",
        "MALLOC_ARENA_TEST",
        "MALLOC_MMAP_MAX_",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_PERTURB_",
        "MALLOC_TOP_PAD_",
        "MALLOC_TRIM_THRESHOLD_",
        "glibc.malloc.arena_max",
        "glibc.malloc.arena_test",
        "glibc.malloc.mmap_max",
        "glibc.malloc.mmap_threshold",
        "glibc.malloc.perturb",
        "glibc.malloc.tcache_count",
        "glibc.malloc.tcache_max",
        "glibc.malloc.top_pad",
        "glibc.malloc.trim_threshold",
    ];
    NAMES.iter().copied()
}

/// One checked setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    name: &'static str,
    value: String,
}

/// Reads one `NAME=VALUE`.
pub fn parse(argument: &str) -> Result<Setting, Failure> {
    let Some((name, value)) = argument.split_once('=') else {
        return Err(Failure::new(USAGE, format!("--tunable {argument}: expected NAME=VALUE")));
    };
    let Some(known) = known().find(|known| *known == name || short_form(known).is_some_and(|short| short == name))
    else {
        return Err(unknown(name));
    };
    if value.is_empty() || value.contains([':', '\0']) {
        return Err(Failure::new(USAGE, format!("--tunable {name}: `{value}` is not a value")));
    }
    Ok(Setting { name: known, value: value.to_owned() })
}

/// The variables to set, with GLIBC_TUNABLES continued rather than replaced.
pub fn environment(settings: &[Setting]) -> Vec<(&'static str, OsString)> {
    let mut variables = Vec::new();
    let mut glibc = env::var_os(GLIBC_TUNABLES).unwrap_or_default();
    let before = glibc.len();
    for Setting { name, value } in settings {
        if name.starts_with(GLIBC) {
            if !glibc.is_empty() {
                glibc.push(":");
            }
            glibc.push(format!("{name}={value}"));
        } else {
            variables.push((*name, OsString::from(value)));
        }
    }
    if glibc.len() != before {
        variables.push((GLIBC_TUNABLES, glibc));
    }
    variables
}

/// `HEAPWISE_PURGE_DELAY_MS` may be written `purge_delay_ms`.
fn short_form(name: &str) -> Option<String> {
    name.strip_prefix(OURS).map(str::to_ascii_lowercase)
}

fn unknown(name: &str) -> Failure {
    let mut ranked: Vec<(f64, String)> = known()
        .map(|known| {
            let short = short_form(known).unwrap_or_else(|| known.to_owned());
            (likeness(name, known).max(likeness(name, &short)), short)
        })
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let close: Vec<String> =
        ranked.into_iter().take(3).filter(|(likeness, _)| *likeness > 0.4).map(|(_, name)| name).collect();
    let hint = match close.as_slice() {
        [] => "`heapwise run --help` names them all".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    Failure::new(USAGE, format!("unknown tunable `{name}`: {hint}"))
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}

/// The list for `--help`.
pub fn help() -> String {
    let names: Vec<String> = known().map(|name| short_form(name).unwrap_or_else(|| name.to_owned())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_ours() {
        assert_eq!(parse("purge_delay_ms=50").unwrap(), parse("HEAPWISE_PURGE_DELAY_MS=50").unwrap());
    }

    #[test]
    fn a_typing_error_is_answered_with_the_right_name() {
        let failure = parse("purge_dely_ms=50").unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.to_string().contains("purge_delay_ms"), "{failure}");
    }

    #[test]
    fn a_value_cannot_smuggle_in_another_tunable() {
        assert!(parse("glibc.malloc.arena_max=1:glibc.malloc.perturb=1").is_err());
    }
}
