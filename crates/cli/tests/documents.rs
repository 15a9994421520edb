//! The documents of the repository keep up with it: links lead somewhere, the map of
//! ARCHITECTURE.md has every file of the allocator, every decision is listed.
//!
//! A packaged crate has none of them beside it; then there is nothing to check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files below `folder` whose name ends in `.extension`.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if path.is_dir() && !hidden && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What stands in `](…)`, without titles and fragments.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.split(['#', ' ']).next().unwrap_or_default())
}

#[test]
fn links_lead_to_files() {
    let mut broken = Vec::new();
    for page in files(&root(), "md") {
        let text = fs::read_to_string(&page).expect("a readable page");
        let folder = page.parent().expect("a file stands in a folder");
        for target in links(&text).filter(|t| !t.is_empty() && !t.contains("://")) {
            if !folder.join(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_map_has_every_file_of_the_allocator() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let map = map.split_once("## Files of the allocator").expect("the map").1;
    let map = map.split_once("\n## ").expect("more chapters").0;
    let mut missing = Vec::new();
    for source in ["layout", "malloc"].map(|name| root().join("crates").join(name).join("src")) {
        for file in files(&source, "rs") {
            let name = file.strip_prefix(&source).expect("a file below").display().to_string();
            let short = file.file_name().expect("a name").to_string_lossy().into_owned();
            let named = map.contains(&format!("{name}`")) || map.contains(&format!("`{short}`"));
            if !named && short != "lib.rs" && name != "bins/mod.rs" {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "not in the map of ARCHITECTURE.md: {missing:?}");
}

#[test]
fn the_map_has_every_crate() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    for manifest in files(&root().join("crates"), "toml") {
        let name = manifest.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        if manifest.ends_with("Cargo.toml")
            && manifest.components().rev().nth(2).is_some_and(|c| c.as_os_str() == "crates")
        {
            assert!(map.contains(&format!("| `{name}` |")), "ARCHITECTURE.md does not list {name}");
        }
    }
}

#[test]
fn every_decision_is_listed() {
    let folder = root().join("docs/adr");
    let Ok(list) = fs::read_to_string(folder.join("README.md")) else { return };
    let records = files(&folder, "md").into_iter().filter(|path| !path.ends_with("README.md"));
    let mut numbers = std::collections::BTreeSet::new();
    for path in records {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let number = name.split_once('-').and_then(|(number, _)| number.parse::<u32>().ok());
        let number = number.filter(|_| name.as_bytes().get(4) == Some(&b'-'));
        assert!(number.is_some(), "{name}: decisions are called NNNN-what.md");
        assert!(numbers.insert(number), "{name}: the number is taken");
        assert!(list.contains(&format!("({name})")), "docs/adr/README.md does not list {name}");
    }
}
