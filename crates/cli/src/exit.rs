//! Exit codes of the commands that look at a process, and which one a look ends with.
//!
//! ```text
//!   0  looked            3  no such process       5  the allocator is not one that we read
//!   1  --fail-if holds   4  not permitted         6  a heap could not be walked to its end
//!   2  wrong usage          (4 and 5 still print the account of the mappings; a JVM's look
//!                           into malloc's heap as well)
//! ```

use std::process::ExitCode;

use heapwise_inspect::origin::Source;
use heapwise_inspect::runtimes::Language;
use heapwise_inspect::{Allocator, Depth, Error, Survey};

use crate::failure::{Failure, OURS};

/// `--fail-if` holds.
pub const CONDITION_HOLDS: u8 = 1;
/// There is no such process.
pub const NO_SUCH_PROCESS: u8 = 3;
/// The kernel does not let us.
pub const NOT_PERMITTED: u8 = 4;
/// musl, jemalloc, …
pub const NOT_RECOGNISED: u8 = 5;
/// Some heap could not be walked to its end.
pub const PARTIAL: u8 = 6;

/// The code for what was seen; words on standard error where it is not 0.
pub fn of_survey(survey: &Survey) -> u8 {
    let is_read = !matches!(survey.allocator, Allocator::Hidden(_) | Allocator::Other(_));
    if let Some(whose) = collector(survey).filter(|_| is_read) {
        crate::complain(&format!(
            "the heap of {whose} is not read: the account below says how much it has, and looks into \
             malloc's heap beside it"
        ));
        return NOT_RECOGNISED;
    }
    match (&survey.allocator, survey.depth) {
        (Allocator::Hidden(why), depth) => {
            let what = match depth {
                Depth::Counters => "kernel's counters",
                _ => "mappings",
            };
            crate::complain(&format!("{why}; the account below is that of the {what} alone"));
            NOT_PERMITTED
        }
        (Allocator::Other(name), _) => {
            let remedy = match survey.origin.source {
                Source::Core => " (--sysroot says where the files of its machine are)",
                Source::Process => "",
            };
            crate::complain(&format!(
                "the heap is not read: {name}{remedy}; the account below is that of the mappings alone"
            ));
            NOT_RECOGNISED
        }
        (_, Depth::Partial) => {
            crate::complain(match survey.origin.source {
                Source::Process => {
                    "a heap changed under the walk, or is damaged; with --consistent the process \
                     stands still"
                }
                Source::Core => {
                    "a heap could not be walked to its end: it is damaged, or the core is cut"
                }
            });
            PARTIAL
        }
        _ => 0,
    }
}

/// The runtime whose collector has the program's objects, malloc only what is beside them.
pub fn collector(survey: &Survey) -> Option<&'static str> {
    let runtime = survey.runtimes.iter().find(|runtime| runtime.collects())?;
    Some(match runtime.language {
        Language::Go => "Go",
        Language::Java | Language::Python => "a JVM",
    })
}

/// A failure with its code.
pub fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::NoSuchProcess(_) => NO_SUCH_PROCESS,
        Error::NotPermitted { .. } | Error::Traced { .. } => NOT_PERMITTED,
        Error::Io { .. } | Error::Restless(_) => OURS,
    };
    Failure::new(code, error.to_string())
}

/// As `main` returns it.
pub fn code(code: u8) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use heapwise_inspect::runtimes::{Part, Runtime};

    use super::*;

    #[test]
    fn a_collectors_heap_is_not_read_pymallocs_is() {
        let of = |language| {
            let part = Part { name: "heap".into(), spans: Vec::new(), resident: 1 << 20 };
            let runtime = Runtime { language, parts: vec![part], pools: None };
            let runtimes = vec![runtime];
            of_survey(&Survey { runtimes, ..crate::view::sample::survey(1, 1) })
        };
        assert_eq!(of(Language::Java), NOT_RECOGNISED);
        assert_eq!(of(Language::Go), NOT_RECOGNISED);
        assert_eq!(of(Language::Python), 0);
    }
}
