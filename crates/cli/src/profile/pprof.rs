//! The pprof format: a gzipped protobuf message, as `go tool pprof`, Pyroscope and Parca read it.
//!
//! <https://github.com/google/pprof/blob/main/proto/profile.proto> has the message; the numbers
//! below are its field numbers.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use heapwise_trace::Trace;

use super::sites::{Site, Sites};
use super::symbols::Symbols;

/// Profile.
const SAMPLE_TYPE: u32 = 1;
const SAMPLE: u32 = 2;
const MAPPING: u32 = 3;
const LOCATION: u32 = 4;
const FUNCTION: u32 = 5;
const STRING_TABLE: u32 = 6;
const TIME_NANOS: u32 = 9;
const DURATION_NANOS: u32 = 10;
const PERIOD_TYPE: u32 = 11;
const PERIOD: u32 = 12;
const DEFAULT_SAMPLE_TYPE: u32 = 14;

/// The kinds of values of a sample, in their order.
const VALUES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number, left out if it is 0 as the default is.
    fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Numbers behind each other in one field.
    fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut list = Self::default();
        values.for_each(|value| list.varint(value));
        self.message(field, &list);
    }
}

/// Strings, each once; the first is empty.
struct Strings {
    numbers: HashMap<String, u64>,
    list: Vec<String>,
}

impl Strings {
    fn new() -> Self {
        Self { numbers: HashMap::from([(String::new(), 0)]), list: vec![String::new()] }
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.list.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        self.list.push(text.to_owned());
        number
    }
}

/// Writes the sites of a trace, gzipped.
pub fn write(
    trace: &Trace,
    sites: &Sites,
    symbols: &mut Symbols,
    out: impl Write,
) -> io::Result<()> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&encode(trace, sites, symbols))?;
    gzip.finish()?.flush()
}

/// The message itself.
pub fn encode(trace: &Trace, sites: &Sites, symbols: &mut Symbols) -> Vec<u8> {
    let mut profile = Message::default();
    let mut strings = Strings::new();
    let value_type = |strings: &mut Strings, kind: &str, unit: &str| {
        let mut message = Message::default();
        message.number(1, strings.number(kind));
        message.number(2, strings.number(unit));
        message
    };
    for (kind, unit) in VALUES {
        profile.message(SAMPLE_TYPE, &value_type(&mut strings, kind, unit));
    }
    let mut mappings = HashMap::new();
    for process in trace.processes() {
        for module in &process.modules {
            let id = mappings.len() as u64 + 1;
            if mappings.insert((process.index, module.start), id).is_some() {
                continue;
            }
            let mut message = Message::default();
            message.number(1, id);
            message.number(2, module.start);
            message.number(3, module.end);
            message.number(4, module.offset);
            message.number(5, strings.number(&module.path));
            let build_id: String = module.build_id.iter().map(|b| format!("{b:02x}")).collect();
            message.number(6, strings.number(&build_id));
            message.number(7, 1);
            profile.message(MAPPING, &message);
        }
    }
    let mut locations: HashMap<(u32, u64), u64> = HashMap::new();
    let mut functions: HashMap<(String, String), u64> = HashMap::new();
    for site in &sites.sites {
        let ids: Vec<u64> = site
            .stack
            .iter()
            .map(|&address| {
                let next = locations.len() as u64 + 1;
                let id = *locations.entry((site.process, address)).or_insert(next);
                if id == next {
                    let mut location = Message::default();
                    location.number(1, id);
                    if let Some(process) = trace.process(site.process) {
                        let module = process.module_at(address.saturating_sub(1));
                        let mapping = module.and_then(|m| mappings.get(&(site.process, m.start)));
                        location.number(2, mapping.copied().unwrap_or(0));
                        location.number(3, address);
                        for function in &symbols.place(process, address).functions {
                            let key = (function.name.clone(), function.file.clone());
                            let fresh = functions.len() as u64 + 1;
                            let number = *functions.entry(key).or_insert(fresh);
                            if number == fresh {
                                let mut message = Message::default();
                                message.number(1, number);
                                message.number(2, strings.number(&function.name));
                                // Where the two are the same `pprof` takes the name for a C++
                                // one and drops what is in angle brackets.
                                let symbol = match function.symbol.as_str() {
                                    "" => &function.name,
                                    symbol => symbol,
                                };
                                message.number(3, strings.number(symbol));
                                message.number(4, strings.number(&function.file));
                                profile.message(FUNCTION, &message);
                            }
                            let mut line = Message::default();
                            line.number(1, number);
                            line.number(2, function.line.into());
                            location.message(4, &line);
                        }
                    }
                    profile.message(LOCATION, &location);
                }
                id
            })
            .collect();
        let mut sample = Message::default();
        sample.packed(1, ids.into_iter());
        sample.packed(2, values(site).into_iter());
        profile.message(SAMPLE, &sample);
    }
    profile.message(PERIOD_TYPE, &value_type(&mut strings, "space", "bytes"));
    profile.number(PERIOD, sites.sample_bytes.max(1));
    profile.number(DEFAULT_SAMPLE_TYPE, strings.number("inuse_space"));
    let start = trace.recording().note("start_unix_ns").and_then(|ns| ns.parse().ok());
    profile.number(TIME_NANOS, start.unwrap_or(0));
    profile.number(DURATION_NANOS, sites.duration_ns);
    for text in &strings.list {
        profile.bytes(STRING_TABLE, text.as_bytes());
    }
    profile.0
}

/// The values of a site, rounded.
fn values(site: &Site) -> [u64; 4] {
    [site.allocated.count, site.allocated.bytes, site.live.count, site.live.bytes]
        .map(|value| value.round().max(0.0) as u64)
}
