//! A process that was never there, for tests: every figure known.

use heapwise_inspect::heap::Kind;
use heapwise_inspect::heap::Piece;
use heapwise_inspect::heap::paint::PageState;
use heapwise_inspect::heap::pins::Pin;
use heapwise_inspect::heap::rings::Bin;
use heapwise_inspect::heap::scan::Count;
use heapwise_inspect::heap::summary::{ArenaSummary, Claim, HeapSummary, Heaps, What};
use heapwise_inspect::ledger::Account;
use heapwise_inspect::origin::{Host, Origin};
use heapwise_inspect::process::figures::Figures;
use heapwise_inspect::process::maps::Mapping;
use heapwise_inspect::process::pages::{Pages, Run};
use heapwise_inspect::process::threads::{Thread, Threads};
use heapwise_inspect::span::Span;
use heapwise_inspect::tally::Tally;
use heapwise_inspect::{Allocator, Depth, Row, Survey};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// Two arenas: the main one with so many MiB live, then so many free; a second of 3 MiB, pinned
/// and cached; 8 MiB of files and 1 MiB of stacks.
pub fn survey(live_mib: usize, free_mib: usize) -> Survey {
    let main = Span::new(0x5555_0000_0000, 0x5555_0000_0000 + (live_mib + free_mib) * MIB);
    let second = Span::new(0x7fff_4000_0000, 0x7fff_4000_0000 + 3 * MIB);
    let file = Span::new(0x7fff_8000_0000, 0x7fff_8000_0000 + 8 * MIB);
    let stack = Span::new(0x7fff_f000_0000, 0x7fff_f000_0000 + MIB);

    let mut tally = Tally::default();
    tally[Row::LiveUser] = live_mib * MIB / 100 * 98;
    tally[Row::Headers] = live_mib * MIB - tally[Row::LiveUser];
    tally[Row::FreeWholePages] = free_mib * MIB;
    let mut states = vec![PageState::Live; live_mib * MIB / PAGE];
    states.extend(vec![PageState::Free; free_mib * MIB / PAGE]);
    let mut first = ArenaSummary {
        index: 0,
        address: 0x7fff_8070_0000,
        threads: vec![4711],
        system_bytes: main.bytes(),
        tally,
        trim_gain: free_mib * MIB,
        heaps: vec![HeapSummary {
            span: main,
            tally,
            broken: None,
            states: states.into_iter().collect(),
        }],
        bins: vec![Bin {
            index: 1,
            held: Count { chunks: free_mib, bytes: free_mib * MIB },
            flaws: 0,
        }],
        ..ArenaSummary::default()
    };
    first.counts[Kind::Live as usize] = Count { chunks: live_mib * 1000, bytes: live_mib * MIB };
    first.counts[Kind::Free as usize] = Count { chunks: free_mib, bytes: free_mib * MIB };
    let piece = Piece { address: main.start + 0x1_2340, bytes: 64, kind: Kind::Live };
    first.pins.offer(Pin { piece, held_bytes: free_mib * MIB / 2, below_top: false });

    let mut tally = Tally::default();
    tally[Row::FreePinned] = 2 * MIB;
    tally[Row::ThreadCaches] = MIB;
    let mut states = vec![PageState::Pinned; 2 * MIB / PAGE];
    states.extend(vec![PageState::Cached; MIB / PAGE]);
    let other = ArenaSummary {
        index: 1,
        address: second.start,
        threads: vec![4712],
        system_bytes: second.bytes(),
        tally,
        heaps: vec![HeapSummary {
            span: second,
            tally,
            broken: None,
            states: states.into_iter().collect(),
        }],
        ..ArenaSummary::default()
    };

    let heaps = Heaps {
        claims: vec![
            Claim { span: main, tally: first.tally, what: What::Heap(0) },
            Claim { span: second, tally, what: What::Heap(1) },
        ],
        arenas: vec![first, other],
        ..Heaps::default()
    };
    let mut account = Account::default();
    heaps.arenas.iter().for_each(|arena| account.tally.add(&arena.tally));
    account.tally[Row::Files] = file.bytes();
    account.tally[Row::Stacks] = stack.bytes();

    let run = |span, of_file| Run { span, of_file, huge: false };
    let runs = vec![run(main, false), run(second, false), run(file, true), run(stack, false)];
    let pages = Pages::from_runs(PAGE, runs, true);
    let holders = heapwise_inspect::holders::find(&heaps);
    let thread = |tid, name: &str| Thread { tid, name: name.into(), pointer: None, stack: None };
    Survey {
        pid: 4711,
        root: None,
        origin: Origin {
            taken_unix_ms: 1_700_000_000_000,
            took_ns: 4_200_000,
            command: vec!["shop".into(), "--open".into()],
            executable: "/usr/bin/shop".into(),
            host: Host { name: "till".into(), kernel: "6.18.0".into(), memory_bytes: 8 << 30 },
            ..Origin::default()
        },
        allocator: Allocator::Heapwise,
        depth: Depth::Whole,
        rss: pages.total(),
        account,
        figures: Figures {
            name: "shop".into(),
            rss_rollup: Some(pages.total()),
            rss_statm: pages.total(),
            page_tables: 300 << 10,
            threads: 2,
            ..Figures::default()
        },
        cgroup: None,
        heaps,
        holders,
        sites: Vec::new(),
        runtimes: Vec::new(),
        mapping_figures: Vec::new(),
        maps: vec![
            mapping(main, "[heap]", 0),
            mapping(second, "", 0),
            mapping(file, "/usr/lib/libshop.so", 42),
            mapping(stack, "[stack]", 0),
        ],
        pages,
        threads: Threads {
            all: vec![thread(4711, "shop"), thread(4712, "till")],
            kept_stacks: Vec::new(),
        },
        notes: Vec::new(),
    }
}

fn mapping(span: Span, name: &str, inode: u64) -> Mapping {
    Mapping {
        span,
        readable: true,
        writable: inode == 0,
        executable: inode != 0,
        shared: false,
        offset: 0,
        inode,
        name: name.into(),
    }
}
