//! The two text formats that are scraped: OpenMetrics 1.0, and Prometheus's own of before.
//!
//! ```text
//! # TYPE heapwise_rss_bytes gauge
//! # UNIT heapwise_rss_bytes bytes             OpenMetrics alone
//! # HELP heapwise_rss_bytes Resident …
//! heapwise_rss_bytes{pid="17",name="redis"} 8192
//! # EOF                                       OpenMetrics alone
//! ```

use std::fmt::Write;

use super::families::FAMILIES;
use super::page::{Family, Kind, Label, Page};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4, which node_exporter's textfile collector reads.
    Plain,
}

impl Format {
    /// For the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What the header `Accept` asks for; who asks for nothing that we have gets plain text.
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1.0;
            let mut version = None;
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let best: &mut f64 = match name.as_str() {
                "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => &mut open,
                "text/plain" | "text/*" | "*/*" => &mut plain,
                _ => continue,
            };
            *best = best.max(quality);
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Plain }
    }
}

/// The page as text.
pub fn encode(page: &Page, format: Format) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        let mut samples =
            page.samples.iter().filter(|sample| std::ptr::eq(sample.family, family)).peekable();
        if samples.peek().is_none() {
            continue;
        }
        head(&mut text, family, format);
        let name = family.sample_name();
        for sample in samples {
            text.push_str(&name);
            labels(&mut text, &sample.labels);
            // Whole numbers stay whole up to 2^53, above what any memory is.
            writeln!(text, " {}", sample.value).expect("a string takes all");
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn head(text: &mut String, family: &Family, format: Format) {
    let (name, kind) = match (format, family.kind) {
        (Format::OpenMetrics, kind) => (family.name.to_owned(), kind.name()),
        // It knows no infos.
        (Format::Plain, Kind::Info) => (family.sample_name(), Kind::Gauge.name()),
        (Format::Plain, kind) => (family.sample_name(), kind.name()),
    };
    let help = escape(family.help, format == Format::OpenMetrics);
    writeln!(text, "# TYPE {name} {kind}").expect("a string takes all");
    if let (Format::OpenMetrics, Some(unit)) = (format, family.unit()) {
        writeln!(text, "# UNIT {name} {unit}").expect("a string takes all");
    }
    writeln!(text, "# HELP {name} {help}").expect("a string takes all");
}

fn labels(text: &mut String, labels: &[Label]) {
    for (index, (name, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        write!(text, "{before}{name}=\"{}\"", escape(value, true)).expect("a string takes all");
    }
    if !labels.is_empty() {
        text.push('}');
    }
}

fn escape(value: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::families::{LOOKS, RSS};
    use super::*;

    #[test]
    fn names_of_processes_are_escaped() {
        let mut page = Page::default();
        page.push(&RSS, vec![("name", "a\"b\\c\nd}".into())], 9_007_199_254_740_991.0);
        page.push(&LOOKS, Vec::new(), 3.0);
        let open = encode(&page, Format::OpenMetrics);
        assert!(open.contains("heapwise_rss_bytes{name=\"a\\\"b\\\\c\\nd}\"} 9007199254740991\n"));
        assert!(open.contains("# TYPE heapwise_exporter_looks counter\n"));
        assert!(open.contains("heapwise_exporter_looks_total 3\n") && open.ends_with("# EOF\n"));
        let plain = encode(&page, Format::Plain);
        assert!(plain.contains("# TYPE heapwise_exporter_looks_total counter\n"));
        assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"));
    }

    #[test]
    fn the_format_is_the_one_asked_for() {
        for (accept, format) in [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("text/html,*/*;q=0.8", Format::Plain),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1,text/plain;q=0.5", Format::Plain),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0,text/plain;q=0.1", Format::Plain),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", Format::Plain),
            ("application/openmetrics-text;q=nonsense", Format::Plain),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
