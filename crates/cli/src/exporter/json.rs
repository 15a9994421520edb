//! `heapwise.exporter/1`: a page of metrics for programs that read no OpenMetrics.

use serde_json::{Map, Value, json};

use super::families::FAMILIES;
use super::page::{Family, Page, Sample};

/// The object: the families that have samples, in the order of the text formats.
pub fn object(page: &Page) -> Value {
    let families = FAMILIES.iter().filter_map(|family| told(page, family));
    json!({ "schema": "heapwise.exporter/1", "families": families.collect::<Vec<_>>() })
}

fn told(page: &Page, family: &'static Family) -> Option<Value> {
    let samples = page.samples.iter().filter(|sample| std::ptr::eq(sample.family, family));
    let samples: Vec<Value> = samples.map(value).collect();
    (!samples.is_empty()).then(|| {
        json!({
            "name": family.sample_name(),
            "type": family.kind.name(),
            "unit": family.unit(),
            "help": family.help,
            "samples": samples,
        })
    })
}

fn value(sample: &Sample) -> Value {
    let labels = sample.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    // Whole numbers stay whole up to 2^53, above what any memory is.
    let is_whole = sample.value.fract() == 0.0 && sample.value.abs() < (1u64 << 53) as f64;
    let value = if is_whole { json!(sample.value as i64) } else { json!(sample.value) };
    json!({ "labels": labels.collect::<Map<_, _>>(), "value": value })
}
