//! Under AT_SECURE no variable of the environment reaches the allocator.
//!
//! The library is linked in statically (a set-user-ID program drops LD_PRELOAD)
//! and the program made set-user-ID, which takes root.

use heapwise_tests::library;
use heapwise_tests::run::run;
use heapwise_tests::workspace::{Scratch, root};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Says whether it is secure, and how many chunks 100 KB make into mappings.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

int main(void)
{
    void *p = malloc(100000);
    printf("secure %lu mapped %zu perturbed %d\n", getauxval(AT_SECURE), mallinfo2().hblks,
           ((unsigned char *)malloc(100))[50] == (unsigned char)~0x5a);
    free(p);
    return 0;
}
"#;

/// `nobody`, wherever that is.
const OTHER_USER: u32 = 65534;

#[test]
fn variables_are_ignored_when_secure() {
    let Some(archive) = library::archive() else { return };
    let scratch = Scratch::new("secure");
    let (source, program) = (scratch.path().join("p.c"), scratch.path().join("program"));
    fs::write(&source, PROGRAM).expect("scratch files can be written");
    let mut command = Command::new("cc");
    command.args(["-fno-builtin", "-pthread", "-o"]).arg(&program).arg(&source).arg(archive);
    command.arg(format!("-I{}", root().join("include").display()));
    let built = run(command, None, LIMIT);
    assert!(built.success(), "{}", built.describe());

    let say = || {
        let mut command = Command::new(&program);
        command.env_remove("LD_PRELOAD").env("MALLOC_MMAP_THRESHOLD_", "65536");
        command.env("GLIBC_TUNABLES", "glibc.malloc.perturb=0x5a").env("HEAPWISE_PERTURB", "90");
        let outcome = run(command, None, LIMIT);
        assert!(outcome.success(), "{}", outcome.describe());
        outcome.stdout_text()
    };
    assert_eq!(say(), "secure 0 mapped 1 perturbed 1\n");
    if chown(&program, Some(OTHER_USER), None).is_err() {
        eprintln!("skipped: giving a program to another user takes root");
        return;
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("its owner may");
    let text = say();
    if text.starts_with("secure 0") {
        eprintln!("skipped: set-user-ID has no effect where the scratch files are");
        return;
    }
    assert_eq!(text, "secure 1 mapped 0 perturbed 0\n");
}
