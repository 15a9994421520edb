//! Runs every misuse program under glibc, mimalloc, jemalloc and Heapwise and
//! prints the table of `docs/misuse.md`, or puts it there.
//!
//! ```text
//! cargo run -p heapwise-tests --bin misuse-table              # print
//! cargo run -p heapwise-tests --bin misuse-table -- --write   # update docs/misuse.md
//! ```
#![forbid(unsafe_code)]

use heapwise_tests::allocator::Allocator;
use heapwise_tests::expect::Expectation;
use heapwise_tests::misuse::{self, Verdict};
use heapwise_tests::{library, workspace};
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

const BEGIN: &str = "<!-- misuse-table: begin -->\n";
const END: &str = "<!-- misuse-table: end -->\n";

/// The columns, in order.
const COLUMNS: [(&str, Allocator); 4] = [
    ("glibc", Allocator::Glibc),
    ("mimalloc", Allocator::Mimalloc),
    ("jemalloc", Allocator::Jemalloc),
    ("Heapwise", Allocator::Heapwise),
];

/// The sections, and how the names of the programs in each begin; a program
/// goes to the first that fits.
const SECTIONS: [(&str, &[&str]); 6] = [
    ("Freed twice", &["double_free", "free_after_realloc", "realloc_after_free"]),
    (
        "Pointers into a chunk",
        &[
            "free_middle",
            "free_misaligned",
            "free_minus_header",
            "free_end",
            "free_copied_header",
            "free_aligned",
            "free_arithmetic",
        ],
    ),
    ("Headers overwritten", &["header_", "underflow_", "overflow_", "prev_size_", "top_size_"]),
    ("Written after free", &["write_after_free"]),
    ("Invalid pointers to realloc", &["realloc_"]),
    ("Pointers that are not ours", &[""]),
];

fn main() -> ExitCode {
    let write = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--write" => true,
        _ => {
            eprintln!("usage: misuse-table [--write]");
            return ExitCode::from(2);
        }
    };
    let table = table(&observe_all());
    if !write {
        print!("{table}");
        return ExitCode::SUCCESS;
    }
    let path = workspace::root().join("docs/misuse.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (before, rest) = text.split_once(BEGIN).expect("docs/misuse.md has the begin mark");
    let (_, after) = rest.split_once(END).expect("docs/misuse.md has the end mark");
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
        .expect("docs/misuse.md is writable");
    ExitCode::SUCCESS
}

/// One program's row; `None` stands for an allocator that is not here.
struct Row {
    name: String,
    verdicts: Vec<Option<Verdict>>,
}

/// Runs the programs, two at a time.
fn observe_all() -> Vec<Row> {
    let present: Vec<bool> = COLUMNS
        .iter()
        .map(|(_, allocator)| match allocator.preload() {
            Ok(_) => *allocator != Allocator::Heapwise || library::shared().is_some(),
            Err(message) => {
                eprintln!("{message}");
                false
            }
        })
        .collect();
    let mut names = misuse::names();
    names.reverse();
    let (todo, done) = (Mutex::new(names), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(name) = todo.lock().expect("no panic before").pop() else { break };
                    let verdicts = COLUMNS
                        .iter()
                        .zip(&present)
                        .map(|((_, allocator), present)| {
                            present.then(|| misuse::classify(&misuse::observe(&name, *allocator)))
                        })
                        .collect();
                    done.lock().expect("no panic before").push(Row { name, verdicts });
                }
            });
        }
    });
    let mut rows = done.into_inner().expect("no panic before");
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn table(rows: &[Row]) -> String {
    let mut text = totals(rows);
    for (index, (title, _)) in SECTIONS.iter().enumerate() {
        let _ = write!(text, "\n### {title}\n\n| what the program does |");
        for (column, _) in COLUMNS {
            let _ = write!(text, " {column} |");
        }
        text.push_str("\n|---|---|---|---|---|\n");
        for row in rows.iter().filter(|row| section_of(&row.name) == index) {
            let summary = Expectation::of(&misuse::source(&row.name)).summary;
            let summary = summary.replace('|', "\\|");
            let _ = write!(text, "| [`{0}`](../tests/misuse/{0}.c): {summary} |", row.name);
            for verdict in &row.verdicts {
                let _ = write!(text, " {} |", cell(verdict.as_ref()));
            }
            text.push('\n');
        }
    }
    text
}

fn section_of(name: &str) -> usize {
    SECTIONS
        .iter()
        .position(|(_, beginnings)| beginnings.iter().any(|b| name.starts_with(b)))
        .expect("the last section takes all")
}

fn cell(verdict: Option<&Verdict>) -> String {
    match verdict {
        None => "not run".into(),
        Some(Verdict::Caught(line)) => format!("`{line}`"),
        Some(Verdict::CaughtLater(line)) => format!("later: `{line}`"),
        Some(Verdict::Warned(line)) => format!("goes on, warns: `{line}`"),
        Some(Verdict::Crash(signal)) => format!("crash: {signal}"),
        Some(Verdict::CrashLater(signal)) => format!("later crash: {signal}"),
        Some(Verdict::Corrupt) => "**silent corruption**".into(),
        Some(Verdict::Undetected) => "undetected".into(),
        Some(Verdict::Hang) => "hangs".into(),
        Some(Verdict::NotStaged) => "no header there".into(),
    }
}

/// The count of each verdict, allocator by allocator.
fn totals(rows: &[Row]) -> String {
    let mut text = String::from("| of ");
    let _ = write!(text, "{} programs |", rows.len());
    for (column, _) in COLUMNS {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|---|---:|---:|---:|---:|\n");
    type Kind = (&'static str, fn(&Verdict) -> bool);
    let kinds: [Kind; 7] = [
        ("caught at the mistake: one line, SIGABRT", |v| matches!(v, Verdict::Caught(_))),
        ("caught when the heap was used later", |v| matches!(v, Verdict::CaughtLater(_))),
        ("a warning, and on", |v| matches!(v, Verdict::Warned(_))),
        ("crash without a word, or hang", |v| {
            matches!(v, Verdict::Crash(_) | Verdict::CrashLater(_) | Verdict::Hang)
        }),
        ("silent corruption", |v| matches!(v, Verdict::Corrupt)),
        ("undetected, no harm seen", |v| matches!(v, Verdict::Undetected)),
        ("no header there to overwrite", |v| matches!(v, Verdict::NotStaged)),
    ];
    for (kind, is) in kinds {
        let _ = write!(text, "| {kind} |");
        for column in 0..COLUMNS.len() {
            let count =
                rows.iter().filter(|row| row.verdicts[column].as_ref().is_some_and(is)).count();
            let _ = write!(text, " {count} |");
        }
        text.push('\n');
    }
    text
}
