//! From a run to a verdict on one side.

use super::experiment::{Experiment, Findings, Missing, Verdict};
use super::harness::{Run, Side};
use super::tracer::End;

/// What one side showed, and the verdict on it.
pub struct Outcome {
    pub verdict: Verdict,
    /// Why it was skipped, or why it failed beyond the rows.
    pub why: Option<String>,
    pub findings: Findings,
    /// Why system calls were not seen.
    pub untraced: Option<String>,
}

/// Judges a run.
pub fn of(experiment: &Experiment, run: Run) -> Outcome {
    let mut outcome = Outcome {
        verdict: Verdict::Skipped,
        why: None,
        findings: Findings::new(),
        untraced: run.untraced.clone(),
    };
    if run.skipped.is_some() {
        outcome.why = run.skipped;
        return outcome;
    }
    if let Err(why) = served_by_its_side(&run) {
        outcome.verdict = Verdict::Fails;
        outcome.why = Some(why);
        return outcome;
    }
    match (experiment.judge)(&run) {
        Err(Missing(what)) => {
            outcome.verdict = Verdict::Fails;
            outcome.why = Some(format!(
                "the child {} before it noted \"{what}\"{}",
                ended(run.end),
                last_words(&run)
            ));
        }
        Ok(findings) => {
            if !run.done && !findings.ends_early {
                outcome.why = Some(format!(
                    "the child {} before its last line{}",
                    ended(run.end),
                    last_words(&run)
                ));
            }
            let fell = findings.rows.iter().any(|row| row.held == Some(false));
            outcome.verdict = match () {
                () if fell || outcome.why.is_some() => Verdict::Fails,
                () if findings.unseen => Verdict::Skipped,
                () => Verdict::Holds,
            };
            outcome.findings = findings;
        }
    }
    outcome
}

/// The library must really be in the child, or the comparison is one of glibc with itself.
fn served_by_its_side(run: &Run) -> Result<(), String> {
    let Side::Heapwise(library) = &run.side else { return Ok(()) };
    let path = library.to_string_lossy();
    match run.maps("start") {
        Ok(maps) if maps.named(&path).next().is_some() => Ok(()),
        Ok(_) => Err(format!("{path} was not loaded{}", last_words(run))),
        Err(_) => Err(format!("the child {} before it began{}", ended(run.end), last_words(run))),
    }
}

fn ended(end: End) -> String {
    match end {
        End::Exit(code) => format!("ended with exit code {code}"),
        End::Signal(libc::SIGALRM) => "hung and was ended".to_owned(),
        End::Signal(libc::SIGABRT) => "ended by SIGABRT".to_owned(),
        End::Signal(libc::SIGSEGV) => "ended by SIGSEGV".to_owned(),
        End::Signal(signal) => format!("ended by signal {signal}"),
    }
}

fn last_words(run: &Run) -> String {
    match run.stderr.trim() {
        "" => String::new(),
        words => format!(", saying: {words}"),
    }
}
