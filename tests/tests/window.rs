//! The 64 KiB of `libheapwise.so` that every program has in memory: what is hot lies
//! inside, what is not does not (see `crates/libheapwise/order.ld`).

use heapwise_tests::library;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::fs;
use std::ops::Range;

const WINDOW_BYTES: u64 = 64 << 10;

/// What programs call.
const ENTRIES: [&str; 5] = ["malloc", "free", "calloc", "realloc", "memalign"];

/// Behind the entries: module and function. Some may have become part of their callers in time;
/// their names then leave this list.
const HOT: [(&str, &str); 17] = [
    ("global", "malloc_behind"),
    ("global", "free_behind"),
    ("global", "free_late"),
    ("global", "realloc_plain"),
    ("global", "start"),
    ("entry", "allocate_cached"),
    ("entry", "release"),
    ("entry", "overflow"),
    ("stock", "give_up"),
    ("stock", "drain_inbox"),
    ("arena", "link_free"),
    ("arena", "unlink_free"),
    ("cut", "search"),
    ("merge", "coalesce"),
    ("top", "ensure_top"),
    ("purge", "settle"),
    ("threads", "attach"),
];

/// Of no use to a small program that is not looked at.
const NOT_HOT: [(&str, &str); 4] = [
    ("sweep", "consolidate_in_a_walk"),
    ("touched", "note"),
    ("large", "map_chunk"),
    ("check", "check_held"),
];

/// Whether `symbol` is that function; both manglings write each part of a path behind its length.
fn names(symbol: &str, (module, function): (&str, &str)) -> bool {
    let part = |name: &str| format!("{}{name}", name.len());
    let mut rest = symbol;
    for name in ["heapwise_malloc", module, function] {
        match rest.split_once(&part(name)) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    // Nothing but a hash or the end of the path: no closure inside it.
    !rest.contains("closure") && !rest.starts_with("0s")
}

#[test]
fn hot_functions_lie_in_one_window() {
    let Some(path) = library::shared() else { return };
    let bytes = fs::read(path).expect("the library can be read");
    let file = object::File::parse(&*bytes).expect("the library is an object file");
    let section = |name: &str| -> Range<u64> {
        let section = file.section_by_name(name).unwrap_or_else(|| panic!("no section {name}"));
        section.address()..section.address() + section.size()
    };
    let (fast, start) = (section("heapwise_fast"), section("heapwise_start"));
    assert!(fast.start.is_multiple_of(WINDOW_BYTES), "the window begins at {:#x}", fast.start);
    let window = fast.start..fast.start + WINDOW_BYTES;
    let left = window.end as i64 - start.end as i64;
    eprintln!("{left} bytes of the window are left");
    assert!(left >= 0, "what is hot takes {} bytes more than the window has", -left);

    let functions: Vec<_> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address(), symbol.size())))
        .collect();
    if functions.is_empty() {
        eprintln!("left out: the library has no symbol table");
        return;
    }
    let inside = |&&(_, address, size): &&(&str, u64, u64)| {
        window.contains(&address) && address + size <= window.end
    };
    for entry in ENTRIES {
        let found = functions.iter().find(|(name, ..)| *name == entry);
        assert!(found.as_ref().is_some_and(inside), "{entry}: {found:x?} of {window:x?}");
    }
    for hot in HOT {
        let found: Vec<_> = functions.iter().filter(|(name, ..)| names(name, hot)).collect();
        assert!(!found.is_empty(), "no function {hot:?}: has it another name?");
        assert!(found.iter().all(inside), "{hot:?}: {found:x?} of {window:x?}");
    }
    for other in NOT_HOT {
        let found: Vec<_> = functions.iter().filter(|(name, ..)| names(name, other)).collect();
        assert!(!found.is_empty(), "no function {other:?}: has it another name?");
        assert!(!found.iter().any(inside), "{other:?}: {found:x?} of {window:x?}");
    }
}
