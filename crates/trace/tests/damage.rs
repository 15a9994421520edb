//! Cut, bent and hostile files: the events before the damage, then one error, never a panic.

use heapwise_trace::{Error, Event, Trace, What, reseal, sample};

/// A small trace of several threads and many blocks.
fn small() -> Vec<u8> {
    use heapwise_trace::{Builder, ProcessStart};
    let mut builder = Builder::new(Vec::new()).expect("memory").block_bytes(300);
    builder.process(ProcessStart::default(), &["x"]).expect("memory");
    for event in sample::program(5, 3, 400) {
        builder.push(&event).expect("memory");
    }
    builder.finish().expect("memory")
}

/// All events, and the error behind them.
fn read(bytes: &[u8]) -> (Vec<Event>, Option<Error>) {
    let trace = match Trace::from_bytes(bytes.to_vec()) {
        Ok(trace) => trace,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    let mut all = trace.events();
    for event in all.by_ref() {
        match event {
            Ok(event) => events.push(event),
            Err(error) => {
                assert!(all.next().is_none(), "an error is the last item");
                return (events, Some(error));
            }
        }
    }
    (events, None)
}

#[test]
fn a_cut_file_gives_what_is_whole_and_one_error() {
    let whole = small();
    let (all, error) = read(&whole);
    assert!(error.is_none());
    let mut longest = 0;
    for length in 0..whole.len() {
        let (events, error) = read(&whole[..length]);
        match error.expect("an error") {
            Error::NotATrace => assert!(length < 8),
            Error::Cut { at } => assert!(at <= length as u64),
            other => panic!("{length} bytes: {other}"),
        }
        // Threads' blocks stand in the file in no common order, so not a prefix; but each is true.
        assert!(events.len() >= longest, "{length} bytes");
        longest = events.len();
        assert!(events.iter().all(|event| all.contains(event)), "{length} bytes");
    }
    assert_eq!(longest, all.len());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = small();
    let (all, _) = read(&whole);
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        let (events, error) = read(&bent);
        if (12..16).contains(&at) {
            continue; // Reserved.
        }
        assert!(error.is_some(), "byte {at}");
        assert!(events.iter().all(|event| all.contains(event)), "byte {at}");
    }
}

#[test]
fn forged_checksums_get_no_further_than_an_error() {
    let whole = small();
    // Every third byte changed in four ways, all checksums right: it may be read, or not.
    for at in (8..whole.len()).step_by(3) {
        for value in [0, 0xff, whole[at].wrapping_add(1), whole[at] ^ 0x80] {
            let mut bent = whole.clone();
            bent[at] = value;
            reseal(&mut bent);
            let (events, _) = read(&bent);
            assert!(events.len() < 100_000, "byte {at}");
        }
    }
}

#[test]
fn strangers_are_refused_in_one_sentence() {
    for (bytes, text) in [
        (&b""[..], "is not a Heapwise trace"),
        (b"\x7fELF\x02\x01\x01 and so on, for a while", "is not a Heapwise trace"),
        (
            b"HWTRACE\0\x63\0\0\0\0\0\0\0",
            "is a trace of version 99, this heapwise reads versions 1 to 4",
        ),
        (b"HWTRACE\0\x01\0\0\0\0\0\0\0", "ends early: 16 bytes are whole, the rest is missing"),
    ] {
        assert_eq!(read(bytes).1.expect("an error").to_string(), text);
    }
}

#[test]
fn a_trace_of_the_first_version_is_read() {
    use heapwise_layout::record::blob;
    use heapwise_trace::{Builder, ProcessStart};
    let mut builder = Builder::new(Vec::new()).expect("memory");
    let start = ProcessStart { pid: 7, cores: 2, fork_number: 3, ..ProcessStart::default() };
    // It said all but the number of the fork.
    let bytes = start.to_bytes();
    builder.definitions().blob(0, blob::PROCESS, 0, &bytes[..ProcessStart::FIRST_BYTES]);
    let what = What::Malloc { size: 5, address: 0x1000, stack: 0 };
    builder.push(&Event { time_ns: 1, process: 0, thread: 9, what }).expect("memory");
    let mut file = builder.finish().expect("memory");
    file[8..12].copy_from_slice(&1u32.to_le_bytes());
    let trace = Trace::from_bytes(file.clone()).expect("a trace");
    let process = trace.process(0).expect("defined");
    assert_eq!((process.pid, process.cores, process.fork_number), (7, 2, 0));
    let (events, error) = read(&file);
    assert_eq!((events.len(), error.map(|error| error.to_string())), (1, None));
}
