//! `heapwise run` as a user meets it: exit codes, refusals, the environment it sets.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{compile, executable, heapwise, script};
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use tempfile::tempdir;

/// With and without a supervisor in between.
const MODES: [&[&str]; 2] = [&["run"], &["run", "--report"]];

fn ours(what: &'static str) -> impl Predicate<str> {
    starts_with("heapwise: ").and(contains(what))
}

#[test]
fn the_exit_code_is_the_programs() {
    for mode in MODES {
        for code in [0, 1, 3, 255] {
            heapwise()
                .args(mode)
                .args(["--", "sh", "-c", &format!("exit {code}")])
                .assert()
                .code(code);
        }
    }
}

#[test]
fn a_program_killed_by_signal_n_gives_128_plus_n() {
    heapwise().args(["run", "--report", "--", "sh", "-c", "kill -TERM $$"]).assert().code(128 + 15);
    heapwise().args(["run", "--report", "--", "sh", "-c", "kill -KILL $$"]).assert().code(128 + 9);
    // Without a report there is nobody left to translate: a shell does it.
    heapwise().args(["run", "--", "sh", "-c", "kill -TERM $$"]).assert().interrupted();
}

#[test]
fn a_program_that_is_not_there_gives_127() {
    for mode in MODES {
        for name in ["no-such-program-here", "/no/such/program", ""] {
            heapwise()
                .args(mode)
                .args(["--", name])
                .assert()
                .code(127)
                .stderr(starts_with("heapwise: "));
        }
    }
}

#[test]
fn a_file_that_cannot_be_executed_gives_126() {
    let directory = tempdir().unwrap();
    let plain = directory.path().join("plain");
    fs::write(&plain, "text").unwrap();
    for mode in MODES {
        heapwise().args(mode).arg(&plain).assert().code(126).stderr(ours("not executable"));
        heapwise()
            .args(mode)
            .arg(directory.path())
            .assert()
            .code(126)
            .stderr(ours("is a directory"));
        heapwise().args(mode).arg("plain").env("PATH", directory.path()).assert().code(126);
    }
}

#[test]
fn wrong_usage_gives_2() {
    for arguments in [
        &["run"][..],
        &["run", "--no-such-option", "true"],
        &["run", "--report=xml", "true"],
        &["run", "-o", "file", "true"],
        &["no-such-command"],
        &[],
    ] {
        heapwise().args(arguments).assert().code(2);
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_gives_127() {
    let directory = tempdir().unwrap();
    let broken = script(directory.path(), "broken", "#!/no/such/interpreter\n");
    heapwise().arg("run").arg(broken).assert().code(127).stderr(ours("/no/such/interpreter"));
}

#[test]
fn a_script_without_a_first_line_runs_in_the_shell() {
    let directory = tempdir().unwrap();
    let bare = script(directory.path(), "bare", "echo from sh\n");
    for mode in MODES {
        heapwise().args(mode).arg(&bare).assert().success().stdout("from sh\n");
    }
}

#[test]
fn arguments_after_the_program_are_its_own() {
    heapwise()
        .args(["run", "echo", "--report", "-o", "x", "--", "y"])
        .assert()
        .success()
        .stdout("--report -o x -- y\n");
    heapwise()
        .args(["run", "--", "printf", "%s\n", "--help"])
        .assert()
        .success()
        .stdout("--help\n");
}

#[test]
fn standard_input_is_forwarded() {
    for mode in MODES {
        heapwise()
            .args(mode)
            .args(["--", "cat"])
            .write_stdin("in and out")
            .assert()
            .success()
            .stdout("in and out");
    }
}

#[test]
fn our_library_comes_before_what_was_preloaded() {
    let printed = |before: Option<&str>| {
        let mut command = heapwise();
        if let Some(before) = before {
            command.env("LD_PRELOAD", before);
        }
        let output = command.args(["run", "printenv", "LD_PRELOAD"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let alone = printed(None);
    assert!(alone.starts_with('/') && !alone.contains(':'), "{alone}");
    assert_eq!(printed(Some("libm.so.6")), format!("{alone}:libm.so.6"));
    assert_eq!(printed(Some(&alone)), alone, "never twice");
}

#[test]
fn tunables_become_environment() {
    let printed = |tunable: &str, name: &str| {
        let mut command = heapwise();
        command.env("GLIBC_TUNABLES", "glibc.malloc.perturb=1");
        let output = command
            .args(["run", "--tunable", tunable, "--tunable", "top_pad=0", "printenv", name])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(printed("arena_max=2", "HEAPWISE_ARENA_MAX"), "2");
    assert_eq!(printed("HEAPWISE_ARENA_MAX=2", "HEAPWISE_ARENA_MAX"), "2");
    assert_eq!(printed("MALLOC_ARENA_MAX=2", "MALLOC_ARENA_MAX"), "2");
    assert_eq!(
        printed("glibc.malloc.arena_max=2", "GLIBC_TUNABLES"),
        "glibc.malloc.perturb=1:glibc.malloc.arena_max=2"
    );
}

#[test]
fn an_unknown_tunable_gives_2_and_names_close_ones() {
    heapwise()
        .args(["run", "--tunable", "arena_maks=2", "true"])
        .assert()
        .code(2)
        .stderr(ours("arena_max"));
    heapwise()
        .args(["run", "--tunable", "arena_max", "true"])
        .assert()
        .code(2)
        .stderr(ours("NAME=VALUE"));
    heapwise()
        .args(["run", "--tunable", "mxfast=9999", "true"])
        .assert()
        .code(2)
        .stderr(ours("160"));
}

const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";

#[test]
fn a_static_program_is_refused_and_runs_anyway() {
    let directory = tempdir().unwrap();
    for (name, flags) in [("static", &["-static"][..]), ("static-pie", &["-static-pie"])] {
        let Some(program) = compile(directory.path(), name, HELLO, flags) else { continue };
        for mode in MODES {
            heapwise()
                .args(mode)
                .arg(&program)
                .assert()
                .code(125)
                .stdout("")
                .stderr(ours("statically linked"));
            heapwise()
                .args(mode)
                .arg("--anyway")
                .arg(&program)
                .assert()
                .success()
                .stdout("hello\n");
        }
        let script = script(directory.path(), "script", &format!("#!{}\n", program.display()));
        heapwise().arg("run").arg(script).assert().code(125).stderr(ours("its interpreter"));
    }
}

#[test]
fn a_set_group_id_program_is_refused() {
    let directory = tempdir().unwrap();
    let Some(program) = compile(directory.path(), "sgid", HELLO, &[]) else { return };
    let other = nix::unistd::getgid().as_raw() + 1;
    if std::os::unix::fs::chown(&program, None, Some(other)).is_err() {
        eprintln!("skipped: only root may give a file to another group");
        return;
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o2755)).unwrap();
    heapwise().arg("run").arg(&program).assert().code(125).stderr(ours("set-group-ID"));
}

/// A header is enough for the check: it never runs.
#[test]
fn programs_for_other_machines_are_refused() {
    let directory = tempdir().unwrap();
    let own = fs::read("/bin/sh").unwrap();
    let patched = |name: &str, offset: usize, value: u8| {
        let mut bytes = own.clone();
        bytes[offset] = value;
        executable(&directory.path().join(name), &bytes);
        directory.path().join(name)
    };
    // EI_CLASS: 1 is ELFCLASS32. e_machine: 243 is RISC-V.
    heapwise().arg("run").arg(patched("small", 4, 1)).assert().code(125).stderr(ours("32-bit"));
    heapwise().arg("run").arg(patched("foreign", 18, 243)).assert().code(125).stderr(ours("riscv"));
}

#[test]
fn a_broken_executable_is_an_error_not_a_panic() {
    let directory = tempdir().unwrap();
    let own = fs::read("/bin/sh").unwrap();
    for length in [4, 5, 16, 63, 64, 100, 1000] {
        let path = directory.path().join("cut");
        executable(&path, &own[..length]);
        // Whether the kernel takes it is the kernel's affair; we must not be what crashes.
        let output = heapwise().arg("run").arg(&path).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && !complaint.contains("panicked"),
            "{length} bytes: {complaint}"
        );
    }
}

#[test]
fn a_library_that_is_not_there_gives_125() {
    heapwise()
        .env("HEAPWISE_LIB", "/no/such/lib.so")
        .args(["run", "true"])
        .assert()
        .code(125)
        .stderr(ours("HEAPWISE_LIB"));
}

#[test]
fn a_report_file_that_cannot_be_made_costs_no_run() {
    heapwise()
        .args(["run", "--report", "-o", "/no/such/dir/report", "--", "echo", "ran"])
        .assert()
        .code(125)
        .stdout("")
        .stderr(ours("/no/such/dir/report"));
}

#[test]
fn a_report_that_cannot_be_written_leaves_the_exit_code() {
    heapwise()
        .args(["run", "--report", "-o", "/dev/full", "--", "sh", "-c", "exit 7"])
        .assert()
        .code(7)
        .stderr(ours("No space left on device"));
}
