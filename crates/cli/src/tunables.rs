//! `--tunable NAME=VALUE`: which environment a setting becomes.
//!
//! ```text
//! arena_max=2                  HEAPWISE_ARENA_MAX=2
//! HEAPWISE_ARENA_MAX=2         HEAPWISE_ARENA_MAX=2
//! MALLOC_ARENA_MAX=2           MALLOC_ARENA_MAX=2
//! glibc.malloc.arena_max=2     GLIBC_TUNABLES=<what it was>:glibc.malloc.arena_max=2
//! ```
//!
//! The names and limits are the library's own table. What it would ignore is
//! refused here: a typing error that sets nothing would go unnoticed.

use std::env;
use std::ffi::OsString;

use heapwise_malloc::tunables::{TABLE, Tunable, parse as parse_value};

use crate::failure::{Failure, USAGE};

/// Prefix of the variables that are ours.
const OURS: &str = "HEAPWISE_";
const GLIBC: &str = "glibc.malloc.";
const GLIBC_TUNABLES: &str = "GLIBC_TUNABLES";

/// One checked setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    name: &'static str,
    value: String,
}

/// Reads one `NAME=VALUE`.
pub fn parse(argument: &str) -> Result<Setting, Failure> {
    let refused = |why: String| Failure::new(USAGE, format!("--tunable {argument}: {why}"));
    let Some((name, value)) = argument.split_once('=') else {
        return Err(refused("expected NAME=VALUE".into()));
    };
    let named = |tunable: &'static Tunable| {
        let known = names(tunable).find(|known| *known == name);
        let known = known.or((short_form(tunable) == name).then_some(tunable.heapwise));
        known.map(|known| (known, tunable))
    };
    let Some((name, tunable)) = TABLE.iter().find_map(named) else {
        return Err(refused(suggestion(name)));
    };
    match parse_value(value.as_bytes()) {
        None => {
            Err(refused("the value is not a number (decimal, 0x…, K, M and G may follow)".into()))
        }
        Some(number) if number > tunable.max => {
            Err(refused(format!("the largest value is {}", tunable.max)))
        }
        Some(_) => Ok(Setting { name, value: value.to_owned() }),
    }
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

/// All the spellings that the environment knows.
fn names(tunable: &'static Tunable) -> impl Iterator<Item = &'static str> {
    [Some(tunable.heapwise), tunable.malloc, tunable.glibc].into_iter().flatten()
}

/// `HEAPWISE_ARENA_MAX` may be written `arena_max`.
fn short_form(tunable: &Tunable) -> String {
    tunable.heapwise.strip_prefix(OURS).unwrap_or(tunable.heapwise).to_ascii_lowercase()
}

fn suggestion(name: &str) -> String {
    let likeness = |known: &str| {
        strsim::normalized_damerau_levenshtein(
            &name.to_ascii_lowercase(),
            &known.to_ascii_lowercase(),
        )
    };
    let mut ranked: Vec<(f64, String)> = TABLE
        .iter()
        .flat_map(|tunable| names(tunable).map(str::to_owned).chain([short_form(tunable)]))
        .map(|known| (likeness(&known), known))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let close: Vec<String> = ranked
        .into_iter()
        .take(3)
        .filter(|(likeness, _)| *likeness > 0.5)
        .map(|(_, name)| name)
        .collect();
    match close.as_slice() {
        [] => "no such tunable; `heapwise run --help` lists them".to_owned(),
        names => format!("no such tunable; did you mean {}?", names.join(" or ")),
    }
}

/// The list for `--help`: a name a paragraph, its other names behind it.
pub fn help() -> String {
    let mut text = String::new();
    for tunable in TABLE {
        let others: Vec<&str> = names(tunable).skip(1).collect();
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" (also {})", others.join(", "))
        };
        text += &format!("  {}{others}\n", short_form(tunable));
        for line in wrapped(&format!("{}; default {}", tunable.help, tunable.default), 80) {
            text += &format!("          {line}\n");
        }
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_ours() {
        assert_eq!(parse("arena_max=2").unwrap(), parse("HEAPWISE_ARENA_MAX=2").unwrap());
    }

    #[test]
    fn a_typing_error_is_answered_with_the_right_name() {
        let failure = parse("arena_maxx=2").unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.to_string().contains("did you mean arena_max"), "{failure}");
    }

    #[test]
    fn what_the_library_would_ignore_is_refused() {
        for argument in
            ["arena_max", "arena_max=", "arena_max=two", "mxfast=4096", "=1", "purge=1:arena_max=2"]
        {
            assert_eq!(parse(argument).unwrap_err().code, USAGE, "{argument}");
        }
        assert!(
            parse("glibc.malloc.arena_max=1:glibc.malloc.perturb=1").is_err(),
            "one setting at a time"
        );
    }

    #[test]
    fn the_help_fits_and_names_all() {
        let help = help();
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        assert!(TABLE.iter().all(|tunable| help.contains(&short_form(tunable))));
    }
}
