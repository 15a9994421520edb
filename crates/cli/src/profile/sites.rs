//! Allocation sites: what each stack allocated, and what of it lives, from a trace.
//!
//! Works for sampled traces and for complete ones with stacks: a sample stands
//! for as many allocations as its chance to be taken says.

use std::collections::HashMap;

use heapwise_trace::{Error, Trace, What, sample_weight};

use crate::progress::Progress;

/// Points in time at which the living is noted, for the leak view.
pub const MOMENTS: usize = 24;

/// Estimated counts and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// Allocations.
    pub count: f64,
    /// Requested bytes.
    pub bytes: f64,
}

impl Sum {
    fn add(&mut self, weight: f64, size: u64) {
        self.count += weight;
        self.bytes += weight * size as f64;
    }
}

/// One allocation site: a stack of a process.
#[derive(Clone, Debug)]
pub struct Site {
    /// The process.
    pub process: u32,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
    /// Allocated in all.
    pub allocated: Sum,
    /// Of it alive at the end.
    pub live: Sum,
    /// Live bytes at equal distances of time, the last at the end.
    pub history: Vec<f64>,
    /// Samples behind the estimate.
    pub samples: u64,
}

/// What a trace says of its sites.
#[derive(Debug, Default)]
pub struct Sites {
    /// All, the largest live first.
    pub sites: Vec<Site>,
    /// Mean distance of samples, bytes; 0 if everything was recorded.
    pub sample_bytes: u64,
    /// Samples of all sites.
    pub samples: u64,
    /// All sites together.
    pub allocated: Sum,
    /// All sites together.
    pub live: Sum,
    /// Blocks that live at the end, by process and address.
    pub blocks: HashMap<(u32, u64), Block>,
    /// Length of the recording.
    pub duration_ns: u64,
    /// What is wrong with the file behind what was read.
    pub damage: Option<Error>,
}

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Its stack, to be asked of the trace.
    pub stack: u32,
    /// Requested bytes.
    pub size: u64,
    /// When it was allocated, since the recording began.
    pub born_ns: u64,
    site: usize,
    weight: f64,
}

impl Sites {
    /// Reads a trace once.
    pub fn of(trace: &Trace) -> Result<Self, Error> {
        let duration_ns = trace.duration_ns();
        let mut this = Self { duration_ns, ..Self::default() };
        let mut numbers: HashMap<(u32, Vec<u64>), usize> = HashMap::new();
        let mut moment = 1;
        let progress = Progress::new("Reading the trace", trace.records());
        for (number, event) in trace.events().enumerate() {
            if number % 65_536 == 0 {
                progress.set(number as u64);
            }
            let event = match event {
                Ok(event) => event,
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                Err(damage) => {
                    this.damage = Some(damage);
                    break;
                }
            };
            while moment < MOMENTS
                && event.time_ns as u128 * MOMENTS as u128 >= duration_ns as u128 * moment as u128
            {
                this.note_moment();
                moment += 1;
            }
            let process = event.process;
            if let What::ProcessStart = event.what {
                // A fork has its parent's blocks, but they are its parent's allocations: what it
                // frees of them is not counted twice.
                let mean = trace.process(process).map_or(0, |p| p.sample_bytes);
                this.sample_bytes = this.sample_bytes.max(mean);
            }
            if let What::Realloc { kept: true, size, address, .. } = event.what {
                this.resize((process, address), size);
                continue;
            }
            if let Some(old) = event.what.frees() {
                let block = this.blocks.remove(&(process, old));
                this.free(block);
            }
            if let Some((address, size)) = event.what.allocates() {
                let mean = trace.process(process).map_or(this.sample_bytes, |p| p.sample_bytes);
                let weight = sample_weight(size, mean);
                let id = event.what.stack().unwrap_or(0);
                let stack = trace.stack(process, id).to_vec();
                let site =
                    *numbers.entry((process, stack)).or_insert_with_key(|(process, stack)| {
                        this.sites.push(Site {
                            process: *process,
                            stack: stack.clone(),
                            allocated: Sum::default(),
                            live: Sum::default(),
                            history: Vec::new(),
                            samples: 0,
                        });
                        this.sites.len() - 1
                    });
                let known = &mut this.sites[site];
                known.samples += 1;
                known.allocated.add(weight, size);
                known.live.add(weight, size);
                this.allocated.add(weight, size);
                this.live.add(weight, size);
                this.samples += 1;
                // Whatever stood there must have gone unnoticed.
                let block = Block { stack: id, size, born_ns: event.time_ns, site, weight };
                let before = this.blocks.insert((process, address), block);
                this.free(before);
            }
        }
        while this.sites.first().is_some_and(|s| s.history.len() < MOMENTS) {
            this.note_moment();
        }
        for site in &mut this.sites {
            let missing = MOMENTS.saturating_sub(site.history.len());
            site.history.splice(0..0, std::iter::repeat_n(0.0, missing));
        }
        this.sites.sort_by(|a, b| {
            (b.live.bytes, b.allocated.bytes)
                .partial_cmp(&(a.live.bytes, a.allocated.bytes))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        progress.clear();
        Ok(this)
    }

    /// A block keeps its room: it is still the allocation that it was, and stands for as many; only
    /// what it asks for is another size.
    fn resize(&mut self, key: (u32, u64), size: u64) {
        let Some(block) = self.blocks.get_mut(&key) else { return };
        let grown = block.weight * (size as f64 - block.size as f64);
        block.size = size;
        self.sites[block.site].live.bytes += grown;
        self.live.bytes += grown;
    }

    fn free(&mut self, block: Option<Block>) {
        if let Some(Block { site, size, weight, .. }) = block {
            self.sites[site].live.add(-weight, size);
            // Sums of fractions: nothing left is nothing.
            let live = &mut self.sites[site].live;
            if live.count < 1e-6 {
                *live = Sum::default();
            }
            self.live.add(-weight, size);
        }
    }

    fn note_moment(&mut self) {
        for site in &mut self.sites {
            site.history.push(site.live.bytes);
        }
    }
}

impl Site {
    /// Whether its live bytes only grow: the mark of a leak, or of a cache without a bound.
    ///
    /// They never fell by more than a twentieth of their highest, rose in at least a third of
    /// the steps of the second half, and ended at least half again as high as at a third.
    pub fn only_grows(&self) -> bool {
        let history = &self.history;
        let (Some(&last), Some(&third)) = (history.last(), history.get(history.len() / 3)) else {
            return false;
        };
        let steps: Vec<f64> = history.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let half = &steps[steps.len() / 2..];
        let rises = half.iter().filter(|&&step| step > 0.0).count();
        last > 0.0
            && self.samples >= 4
            && steps.iter().all(|&step| step >= -last / 20.0)
            && rises * 3 >= half.len()
            && last >= third * 1.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapwise_trace::{Builder, Event, ProcessStart};

    fn sites(mean: u64, events: &[(u64, What)]) -> Sites {
        let mut builder = Builder::new(Vec::new()).expect("memory");
        let start = ProcessStart { sample_bytes: mean, ..ProcessStart::default() };
        let process = builder.process(start, &["x"]).expect("memory");
        builder.definitions().stack(process, 1, &[0x10, 0x20]);
        builder.definitions().stack(process, 2, &[0x30]);
        for &(time_ns, what) in events {
            builder.push(&Event { time_ns, process, thread: 1, what }).expect("memory");
        }
        let trace = Trace::from_bytes(builder.finish().expect("memory")).expect("a trace");
        Sites::of(&trace).expect("readable")
    }

    fn malloc(size: u64, address: u64, stack: u32) -> What {
        What::Malloc { size, address, stack }
    }

    #[test]
    fn the_living_and_the_allocated() {
        let all = sites(
            0,
            &[
                (1, What::ProcessStart),
                (2, malloc(100, 0x1000, 1)),
                (3, malloc(50, 0x2000, 1)),
                (4, What::Free { address: 0x1000 }),
                (5, malloc(7, 0x1000, 2)),
                (
                    6,
                    What::Realloc { size: 70, old: 0x2000, address: 0x3000, stack: 2, kept: false },
                ),
            ],
        );
        assert_eq!((all.allocated.bytes, all.live.bytes), (227.0, 77.0));
        let (first, second) = (&all.sites[0], &all.sites[1]);
        assert_eq!((first.stack.as_slice(), first.live.bytes), (&[0x30][..], 77.0));
        assert_eq!((second.allocated.bytes, second.live), (150.0, Sum::default()));
    }

    #[test]
    fn what_keeps_its_room_is_no_new_allocation() {
        let keep =
            |size| What::Realloc { size, old: 0x1000, address: 0x1000, stack: 2, kept: true };
        let events = [(1, What::ProcessStart), (2, malloc(100, 0x1000, 1)), (3, keep(104))];
        for mean in [0, 1 << 19] {
            let all = sites(mean, &events);
            let weight = sample_weight(100, mean);
            assert_eq!((all.sites.len(), all.samples), (1, 1));
            assert_eq!(all.allocated, Sum { count: weight, bytes: weight * 100.0 });
            assert!((all.live.bytes - weight * 104.0).abs() < 1e-6);
            // Its end takes all of it away.
            let ended = [&events[..], &[(4, What::Free { address: 0x1000 })]].concat();
            assert_eq!(sites(mean, &ended).live, Sum::default());
        }
    }

    #[test]
    fn a_sample_stands_for_many() {
        let all = sites(1 << 19, &[(1, What::ProcessStart), (2, malloc(512, 0x1000, 1))]);
        assert!((all.live.bytes / 524_544.0 - 1.0).abs() < 0.001, "{}", all.live.bytes);
        assert_eq!(all.sample_bytes, 1 << 19);
    }

    #[test]
    fn what_only_grows_is_told_from_what_swings() {
        let mut events = vec![(0, What::ProcessStart)];
        for n in 1..1000u64 {
            events.push((n * 10, malloc(64, 0x10_0000 + n * 64, 1)));
            events.push((n * 10 + 1, malloc(64, 0x1000 + n % 50 * 64, 2)));
            if n % 50 == 49 {
                events
                    .extend((0..50).map(|m| (n * 10 + 2, What::Free { address: 0x1000 + m * 64 })));
            }
        }
        let all = sites(0, &events);
        let grows = |stack: &[u64]| {
            all.sites.iter().find(|s| s.stack == stack).is_some_and(Site::only_grows)
        };
        assert!(grows(&[0x10, 0x20]) && !grows(&[0x30]));
    }
}
