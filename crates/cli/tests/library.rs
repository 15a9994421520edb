//! Where the command finds its library: it must work wherever the one file is put.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use common::needs_library;
use predicates::str::contains;
use tempfile::tempdir;

/// The command alone in a directory, as `cargo install` leaves it.
fn installed(directory: &Path) -> PathBuf {
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("heapwise");
    common::executable(&program, &fs::read(common::program()).unwrap());
    program
}

fn lib(program: &Path, cache: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["HEAPWISE_LIB", "LD_PRELOAD"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", cache).env("HOME", cache.join("home")).arg("lib");
    command
}

fn printed(command: &mut Command) -> PathBuf {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn embedded() -> Vec<u8> {
    fs::read(env!("HEAPWISE_SO")).unwrap()
}

#[test]
fn an_override_is_made_absolute() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("mine.so"), "").unwrap();
    let mut command = lib(common::program(), directory.path());
    let path = printed(command.env("HEAPWISE_LIB", "mine.so").current_dir(directory.path()));
    assert_eq!(path, fs::canonicalize(directory.path()).unwrap().join("mine.so"));
}

#[test]
fn an_override_that_ld_preload_cannot_carry_is_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("my lib.so");
    fs::write(&path, "").unwrap();
    lib(common::program(), directory.path())
        .env("HEAPWISE_LIB", &path)
        .assert()
        .code(125)
        .stderr(contains("blank"));
}

#[test]
fn an_installed_command_extracts_its_own() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let cache = directory.path().join("cache");
    let path = printed(&mut lib(&program, &cache));
    assert!(path.starts_with(&cache) && path.ends_with("libheapwise.so"), "{path:?}");
    assert_eq!(fs::read(&path).unwrap(), embedded());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(printed(&mut lib(&program, &cache)), path);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified, "written once");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn a_spoilt_copy_is_replaced() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let path = printed(&mut lib(&program, directory.path()));
    for spoilt in [vec![], vec![0; embedded().len()]] {
        fs::write(&path, spoilt).unwrap();
        assert_eq!(printed(&mut lib(&program, directory.path())), path);
        assert_eq!(fs::read(&path).unwrap(), embedded());
    }
}

#[test]
fn the_copy_beside_the_command_is_preferred_if_it_is_ours() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let root = fs::canonicalize(directory.path()).unwrap();
    let cache = directory.path().join("cache");
    for place in ["lib", "bin"] {
        let beside = root.join(place).join("libheapwise.so");
        fs::create_dir_all(root.join(place)).unwrap();
        fs::write(&beside, "another version").unwrap();
        assert_ne!(printed(&mut lib(&program, &cache)), beside);
        fs::write(&beside, embedded()).unwrap();
        assert_eq!(printed(&mut lib(&program, &cache)), beside);
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_not_trusted() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let cache = directory.path().join("cache");
    fs::create_dir_all(cache.join("heapwise")).unwrap();
    fs::set_permissions(cache.join("heapwise"), fs::Permissions::from_mode(0o777)).unwrap();
    let path = printed(&mut lib(&program, &cache));
    assert!(path.starts_with(cache.join("home/.cache")), "{path:?}");
}

#[test]
fn many_at_once_agree() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let path = printed(&mut lib(&program, directory.path()));
                assert_eq!(fs::read(path).unwrap(), embedded());
            });
        }
    });
}

#[test]
fn a_program_runs_on_the_extracted_library() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let mut command = Command::new(program);
    command
        .env("XDG_CACHE_HOME", directory.path())
        .env_remove("HEAPWISE_LIB")
        .env_remove("LD_PRELOAD");
    let output = command
        .args(["run", "--", "grep", "-c", "libheapwise.so", "/proc/self/maps"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_path_can_be_had_as_json() {
    needs_library!();
    let directory = tempdir().unwrap();
    let program = installed(directory.path());
    let path = printed(&mut lib(&program, directory.path()));
    let output = lib(&program, directory.path()).arg("--json").output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (&object["schema"], object["path"].as_str()),
        (&"heapwise.lib/1".into(), path.to_str())
    );
    assert_eq!(object["file_bytes"].as_u64(), Some(embedded().len() as u64));
}
