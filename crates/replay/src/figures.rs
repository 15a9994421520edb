//! What a replay came to: figures of one run, and how they are told to whoever started it.

use std::fmt::Write;

use crate::script::Calls;
use crate::sim::Machine;

/// Figures of one run. Memory is that of the heap: anonymous pages beyond those that the player
/// had before the first step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// From the first step to the last.
    pub wall_ns: u64,
    /// In the program and the allocator. For the simulated kernel: 0, it does not know.
    pub user_ns: u64,
    /// In the kernel. For the simulated kernel: by its prices.
    pub system_ns: u64,
    /// Most at once.
    pub rss_peak_bytes: u64,
    /// On average over the samples, which are even in the time of the trace.
    pub rss_mean_bytes: u64,
    /// At the end, before what is still held would be freed.
    pub rss_end_bytes: u64,
    /// Page faults.
    pub faults: u64,
    /// Calls to the kernel, if they were counted.
    pub calls: Option<Calls>,
    /// RSS at each sample.
    pub samples: Vec<u64>,
    /// Requests that found no memory.
    pub failed: u64,
    /// What only the simulated machine can tell.
    pub machine: Option<Machine>,
}

impl Figures {
    /// Processor time.
    #[must_use]
    pub const fn cpu_ns(&self) -> u64 {
        self.user_ns + self.system_ns
    }

    /// As text, a figure a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.fields() {
            writeln!(text, "{name} {value}").expect("a string takes all");
        }
        text.push_str("samples");
        for sample in &self.samples {
            write!(text, " {sample}").expect("a string takes all");
        }
        text.push_str("\nend\n");
        text
    }

    /// From text; `None` if it does not come to its end.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut figures = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            match name {
                "samples" => {
                    let numbers = value.split_whitespace().map(|number| number.parse().ok());
                    figures.samples = numbers.collect::<Option<_>>()?;
                }
                "end" => return Some(figures),
                _ => *figures.field(name)? = value.parse().ok()?,
            }
        }
        None
    }

    fn fields(&self) -> [(&'static str, u64); 8] {
        [
            ("wall_ns", self.wall_ns),
            ("user_ns", self.user_ns),
            ("system_ns", self.system_ns),
            ("rss_peak_bytes", self.rss_peak_bytes),
            ("rss_mean_bytes", self.rss_mean_bytes),
            ("rss_end_bytes", self.rss_end_bytes),
            ("faults", self.faults),
            ("failed", self.failed),
        ]
    }

    fn field(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "wall_ns" => &mut self.wall_ns,
            "user_ns" => &mut self.user_ns,
            "system_ns" => &mut self.system_ns,
            "rss_peak_bytes" => &mut self.rss_peak_bytes,
            "rss_mean_bytes" => &mut self.rss_mean_bytes,
            "rss_end_bytes" => &mut self.rss_end_bytes,
            "faults" => &mut self.faults,
            "failed" => &mut self.failed,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_back() {
        let figures = Figures { wall_ns: 7, samples: vec![1, 2], failed: 3, ..Figures::default() };
        let text = figures.to_text();
        assert_eq!(Figures::from_text(&text), Some(figures));
        assert_eq!(Figures::from_text(&text[..text.len() - 4]), None);
        assert_eq!(Figures::from_text("what 3\nend\n"), None);
    }
}
