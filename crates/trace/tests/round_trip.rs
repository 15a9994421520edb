//! What is written is read: every event, in order, of every thread; and it is small.

use heapwise_trace::{
    Builder, Cause, Event, KernelCall, KernelOp, ProcessStart, Trace, What, sample,
};
use proptest::prelude::*;

/// Sizes up to what a record can hold.
const SIZES: u64 = 1 << 50;

fn what() -> impl Strategy<Value = What> {
    let address = || prop_oneof![Just(0u64), (1u64..1 << 43).prop_map(|unit| unit << 4)];
    let size = || prop_oneof![0u64..600, 0u64..SIZES];
    let stack = || any::<u32>();
    prop_oneof![
        (size(), address(), stack()).prop_map(|(size, address, stack)| What::Malloc {
            size,
            address,
            stack
        }),
        (size(), address(), stack()).prop_map(|(size, address, stack)| What::Calloc {
            size,
            address,
            stack
        }),
        (0u64..1 << 44, 0u32..40, address(), stack()).prop_map(|(size, log2, address, stack)| {
            What::Aligned { size, align: 1 << log2, address, stack }
        }),
        (size(), address(), address(), stack(), any::<bool>()).prop_map(
            |(size, old, address, stack, kept)| {
                What::Realloc { size, old, address, stack, kept: kept && old != 0 }
            }
        ),
        address().prop_map(|address| What::Free { address }),
        (kernel_op(), 0u64..6, any::<bool>(), address(), -(SIZES as i64)..SIZES as i64).prop_map(
            |(op, cause, failed, address, bytes)| {
                let moved = op == KernelOp::Mremap;
                What::Kernel(KernelCall {
                    op,
                    cause: Cause::of(cause).expect("below 6"),
                    failed,
                    address,
                    bytes: if op == KernelOp::Brk { bytes } else { bytes.abs() },
                    new_address: if moved { address + 4096 } else { 0 },
                    new_bytes: if moved { 8192 } else { 0 },
                })
            }
        ),
        (0u64..1 << 40, 0u64..1 << 50, 0u64..1 << 20).prop_map(|(kib, minor, major)| {
            What::Sample { rss_bytes: kib << 10, minor_faults: minor, major_faults: major }
        }),
        Just(What::ThreadStart),
        Just(What::ThreadEnd),
        Just(What::ProcessStart),
        any::<u32>().prop_map(|child_pid| What::Fork { child_pid }),
        Just(What::ProcessEnd),
        Just(What::ProcessGone),
        (0u64..1 << 50).prop_map(|records| What::Lost { records }),
        (address(), size()).prop_map(|(address, bytes)| What::Touched { address, bytes }),
    ]
}

fn kernel_op() -> impl Strategy<Value = KernelOp> {
    (1u64..8).prop_map(|op| KernelOp::of(op).expect("1 to 7"))
}

/// Events of a few processes and threads, in the order of time.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![Just(0u64), 1u64..300, 1u64..1 << 44];
    prop::collection::vec((step, 0u32..2, 1u32..5, what()), 0..400).prop_map(|list| {
        let mut time_ns = 0;
        let event = |(step, process, thread, what)| {
            time_ns += step;
            Event { time_ns, process, thread, what }
        };
        list.into_iter().map(event).collect()
    })
}

fn written(events: &[Event], block_bytes: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new()).expect("memory").block_bytes(block_bytes);
    for pid in [100, 200] {
        let start = ProcessStart { pid, ..ProcessStart::default() };
        builder.process(start, &["a program"]).expect("memory");
    }
    for event in events {
        builder.push(event).expect("memory");
    }
    builder.finish().expect("memory")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_come_back_in_order(events in events(), block_bytes in 1usize..2000) {
        let trace = Trace::from_bytes(written(&events, block_bytes)).expect("a trace");
        prop_assert!(trace.damage().is_none());
        let back: Vec<Event> = trace.events().collect::<Result<_, _>>().expect("whole");
        // Of two events at one moment any may come first, but not of one thread.
        prop_assert!(back.is_sorted_by_key(|e| e.time_ns));
        for process in 0..2 {
            for thread in 1..5 {
                let of = |list: &[Event]| -> Vec<Event> {
                    let mine = |e: &&Event| (e.process, e.thread) == (process, thread);
                    list.iter().filter(mine).copied().collect()
                };
                prop_assert_eq!(of(&back), of(&events));
            }
        }
        prop_assert_eq!(back.len(), events.len());
    }
}

#[test]
fn an_event_takes_few_bytes() {
    for (threads, seed) in [(1, 1), (4, 2), (64, 3)] {
        let bytes = sample::trace(seed, threads, 100_000).expect("memory");
        let trace = Trace::from_bytes(bytes.clone()).expect("a trace");
        let count =
            trace.events().filter(|event| event.as_ref().expect("whole").time_ns > 0).count();
        let each = bytes.len() as f64 / count as f64;
        println!("{threads} threads: {each:.2} bytes an event");
        assert!(count >= 99_990 && each <= 12.0, "{each} bytes an event, {threads} threads");
    }
}

#[test]
fn the_sample_is_a_sound_program() {
    let trace = Trace::from_bytes(sample::trace(7, 3, 20_000).expect("memory")).expect("a trace");
    let mut live = std::collections::HashMap::new();
    for event in trace.events() {
        let what = event.expect("whole").what;
        if let Some(old) = what.frees() {
            assert!(live.remove(&old).is_some(), "{old:#x} is not live");
        }
        if let Some((address, size)) = what.allocates() {
            assert_eq!(live.insert(address, size), None);
        }
    }
    assert_eq!(trace.processes()[0].command, ["sample", "7"]);
    assert_eq!(trace.stack(0, 3).len(), 4);
}
