//! Workloads: nothing is lost, one seed is one run, and there are enough steps in a second.

use heapwise_sim::workload::{KINDS, Kind, Workload};
use heapwise_sim::{Config, Counts, boot};

fn run(kind: Kind, seed: u64, steps: usize) -> (Counts, u64) {
    let config = Config { ram_bytes: 64 << 20, cpus: 4, seed, ..Config::default() };
    boot(&config, |kernel| {
        let before = kernel.free_frames();
        let mut workload = Workload::new(kind, 8, seed);
        for _ in 0..steps {
            workload.step(kernel);
        }
        kernel.check().unwrap();
        let end = (kernel.counts, kernel.now_ns());
        let pids: Vec<u32> = kernel.processes().map(|process| process.pid).collect();
        for pid in pids {
            kernel.exit(pid);
        }
        kernel.objects.shrink();
        assert!(before - kernel.free_frames() <= 64, "frames are lost");
        end
    })
    .unwrap()
}

#[test]
fn every_kind_runs_and_loses_nothing() {
    for (name, kind, _) in KINDS {
        let (counts, time) = run(kind, 3, 20_000);
        assert!(counts.faults > 1000 && time > 0, "{name}: {counts:?}");
        assert_eq!(run(kind, 3, 20_000), (counts, time), "{name}: one seed, one run");
        assert_ne!(run(kind, 4, 20_000).1, time, "{name}: another seed, another run");
    }
}

#[test]
fn the_hungry_meet_the_killer() {
    assert!(run(Kind::Hungry, 1, 30_000).0.oom_kills > 0);
}
