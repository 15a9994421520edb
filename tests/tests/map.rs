//! ARCHITECTURE.md is a map: every source file of the crates is on it, and nothing that is not there.

use heapwise_tests::workspace::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in backticks in the map and in a crate's README: files and folders.
fn named(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).flat_map(|name| name.split(['/', ' '])).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The files of `crates/*/src`, each with its crate's name and its path below `src`.
fn files() -> Vec<(String, PathBuf)> {
    let crates = root().join("crates");
    let mut all = Vec::new();
    for name in fs::read_dir(&crates).expect("crates").flatten().map(|entry| entry.file_name()) {
        let folder = crates.join(&name).join("src");
        let mut found = Vec::new();
        sources(&folder, &mut found);
        let name = name.into_string().expect("a crate's name");
        all.extend(found.iter().map(|path| {
            (name.clone(), path.strip_prefix(&folder).expect("below src").to_path_buf())
        }));
    }
    all
}

fn map() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map")
}

#[test]
fn every_file_is_on_the_map() {
    let map = map();
    let mut missing = Vec::new();
    for (name, path) in files() {
        if path.ends_with("lib.rs") {
            continue;
        }
        let about = root().join("crates").join(&name).join("README.md");
        let about = fs::read_to_string(about).unwrap_or_default();
        let known: BTreeSet<&str> = named(&map).into_iter().chain(named(&about)).collect();
        let on_the_way = path.iter().filter_map(|part| part.to_str());
        if !on_the_way.into_iter().any(|part| known.contains(part)) {
            missing.push(format!("{name}/src/{}", path.display()));
        }
    }
    assert!(missing.is_empty(), "not in ARCHITECTURE.md: {missing:#?}");
}

#[test]
fn the_map_names_no_file_that_is_not_there() {
    let text = map();
    let there: BTreeSet<String> = files()
        .iter()
        .filter_map(|(_, path)| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let gone: Vec<&str> = named(&text)
        .into_iter()
        .filter(|name| name.ends_with(".rs") && !there.contains(*name))
        .collect();
    assert!(gone.is_empty(), "named in ARCHITECTURE.md, and not there: {gone:?}");
}
