//! `docs/settings.md` says what the allocator's own table says.
//!
//! `HEAPWISE_BLESS=1 cargo test -p heapwise-cli --test settings` rewrites the page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use heapwise_malloc::tunables::{TABLE, Tunable};

const BEGIN: &str = "<!-- settings: begin -->\n";
const END: &str = "<!-- settings: end -->\n";

fn row(tunable: &Tunable) -> String {
    let code = |name: Option<&str>| name.map_or("–".to_owned(), |name| format!("`{name}`"));
    let short = |name: &'static str| name.trim_start_matches("glibc.malloc.");
    let max = if tunable.max == usize::MAX { "–".to_owned() } else { tunable.max.to_string() };
    format!(
        "| `{}` | {} | {} | {} | {} | {} |\n",
        tunable.heapwise,
        code(tunable.malloc),
        code(tunable.glibc.map(short)),
        tunable.default,
        max,
        tunable.help,
    )
}

fn table() -> String {
    let mut text = String::from(
        "| `HEAPWISE_…` | glibc's variable | `glibc.malloc.…` | default | at most | meaning |\n\
         |---|---|---|---|---|---|\n",
    );
    for tunable in TABLE {
        write!(text, "{}", row(tunable)).expect("a String takes everything");
    }
    text
}

#[test]
fn the_page_of_settings_is_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    // A packaged crate has no docs beside it.
    let Ok(text) = fs::read_to_string(&page) else { return };
    let (before, rest) = text.split_once(BEGIN).expect("the page marks where its table begins");
    let (_, after) = rest.split_once(END).expect("the page marks where its table ends");
    let fresh = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("HEAPWISE_BLESS").is_some() {
        return fs::write(&page, &fresh).expect("the page can be written");
    }
    assert!(
        text == fresh,
        "docs/settings.md is stale: HEAPWISE_BLESS=1 cargo test -p heapwise-cli --test settings"
    );
}
