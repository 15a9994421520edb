//! The kernel's side of memory as experiments: scripts with expectations.
//!
//! Each `.sim` file begins with its title; `heapwise sim --lab` runs it.

use crate::script::{Run, RunError, parse, run};

/// An experiment.
#[derive(Clone, Copy, Debug)]
pub struct Lab {
    /// Its name.
    pub name: &'static str,
    /// Its script.
    pub script: &'static str,
}

macro_rules! labs {
    ($($name:literal)+) => {
        /// All of them.
        pub const LABS: &[Lab] =
            &[$(Lab { name: $name, script: include_str!(concat!($name, ".sim")) }),+];
    };
}

labs! {
    "lazy" "zero-page" "overcommit" "strict" "fragmentation" "kmalloc-vmalloc" "slab" "break-blocked"
    "copy-on-write" "group" "given-up"
}

impl Lab {
    /// The experiment of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        LABS.iter().copied().find(|lab| lab.name == name)
    }

    /// What it shows, in a line.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.script.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }

    /// Runs it.
    ///
    /// # Errors
    /// The machine does not start.
    pub fn run(&self, watched: bool) -> Result<Run, RunError> {
        run(&parse(self.script).map_err(RunError::Script)?, watched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Line;

    #[test]
    fn every_experiment_holds() {
        for lab in LABS {
            let run = lab.run(false).unwrap_or_else(|error| panic!("{}: {error}", lab.name));
            assert!(run.checked() >= 2, "{} expects next to nothing", lab.name);
            for line in &run.lines {
                if let Line::Checked { line, text, found, holds } = line {
                    assert!(holds, "{}, line {line}: {text}; found {found}", lab.name);
                }
            }
        }
    }

    #[test]
    fn titles_are_said() {
        assert!(LABS.iter().all(|lab| lab.title().len() > 10));
    }
}
