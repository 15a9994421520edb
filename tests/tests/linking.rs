//! `-lheapwise`, shared and static, with the flags that `heapwise.pc.in`
//! gives, in C and C++; and the header by itself.

use heapwise_tests::library;
use heapwise_tests::program::find_or_skip;
use heapwise_tests::run::run;
use heapwise_tests::workspace::{Scratch, root};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);

/// Says where malloc is, and uses it from several threads.
const PROGRAM: &str = r#"
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <heapwise.h>
#include <pthread.h>
#include <string.h>

static void *work(void *unused)
{
    for (int i = 0; i < 20000; i++) {
        char *p = (char *)malloc(i % 5000);
        memset(p, 1, i % 5000);
        p = (char *)realloc(p, i % 7000 + 1);
        free(p);
    }
    return unused;
}

int main(void)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
#ifdef __cplusplus
    delete[] new int[1000];
#endif
    free_sized(malloc(100), 100); /* in no glibc before 2.43 */
    cfree(malloc(10));
    Dl_info here;
    if (!dladdr((void *)&malloc_trim, &here))
        return 1;
    printf("malloc is in %s\n", strrchr(here.dli_fname, '/') + 1);
    return 0;
}
"#;

fn must(mut command: Command, what: &str) -> String {
    command.env_remove("LD_PRELOAD");
    let shown = format!("{command:?}");
    let outcome = run(command, None, LIMIT);
    assert!(outcome.success(), "{what}: {shown}: {}", outcome.describe());
    outcome.stdout_text()
}

/// Compiles the program with `flags` and returns what it prints.
fn build_and_run(compiler: &str, flags: &[String], library_path: Option<&Path>) -> String {
    let scratch = Scratch::new("linking");
    let source = scratch.path().join(if compiler == "c++" { "p.cpp" } else { "p.c" });
    let program = scratch.path().join("program");
    fs::write(&source, PROGRAM).expect("scratch files can be written");
    let mut command = Command::new(compiler);
    command.args(["-g", "-fno-builtin", "-pthread", "-o"]).arg(&program).arg(&source);
    command.args(flags);
    must(command, "the program does not link");
    let mut command = Command::new(program);
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    must(command, "the program does not run")
}

/// What pkg-config says, from the template filled in with where things are.
fn pkg_config(arguments: &[&str]) -> Option<Vec<String>> {
    let pkg_config = find_or_skip("pkg-config")?;
    let scratch = Scratch::new("pkg-config");
    let libdir = library::shared()?.parent().expect("a file has a folder");
    let template = fs::read_to_string(root().join("heapwise.pc.in")).expect("heapwise.pc.in");
    let filled = template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace("@prefix@", "/usr")
        .replace("@libdir@", &libdir.display().to_string())
        .replace("@includedir@", &root().join("include").display().to_string())
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    assert!(!filled.contains('@'), "not all names are filled in:\n{filled}");
    fs::write(scratch.path().join("heapwise.pc"), filled).expect("scratch files can be written");
    let mut command = Command::new(pkg_config);
    command.args(arguments).arg("heapwise").env("PKG_CONFIG_PATH", scratch.path());
    let text = must(command, "pkg-config");
    Some(text.split_whitespace().map(String::from).collect())
}

fn include() -> String {
    format!("-I{}", root().join("include").display())
}

#[test]
fn shared_by_pkg_config() {
    let Some(flags) = pkg_config(&["--cflags", "--libs"]) else { return };
    let libdir = library::shared().and_then(Path::parent);
    for compiler in ["cc", "c++"] {
        let text = build_and_run(compiler, &flags, libdir);
        assert_eq!(text, "malloc is in libheapwise.so\n", "{compiler}");
    }
    let version = pkg_config(&["--modversion"]).expect("as above");
    assert_eq!(version, [env!("CARGO_PKG_VERSION")]);
}

#[test]
fn static_library() {
    let Some(archive) = library::archive() else { return };
    for compiler in ["cc", "c++"] {
        let text = build_and_run(compiler, &[include(), archive.display().to_string()], None);
        assert_eq!(text, "malloc is in program\n", "{compiler}");
    }
}

/// No shared library at all, the C library's own malloc linked out.
#[test]
fn fully_static_program() {
    let Some(archive) = library::archive() else { return };
    let scratch = Scratch::new("static");
    let source = scratch.path().join("p.c");
    let program = scratch.path().join("program");
    // dladdr has no place in a static program.
    let text = PROGRAM.replace("#include <dlfcn.h>\n", "");
    let text = text[..text.find("    Dl_info").expect("the program asks")].to_string()
        + "    return 0;\n}\n";
    fs::write(&source, text).expect("scratch files can be written");
    let mut command = Command::new("cc");
    command.args(["-static", "-fno-builtin", "-pthread", "-o"]).arg(&program).arg(&source);
    command.arg(include()).arg(archive);
    must(command, "the program does not link");
    must(Command::new(program), "the program does not run");
}

#[test]
fn header_alone_in_every_dialect() {
    let scratch = Scratch::new("header");
    let orders = [
        "#include <heapwise.h>\n",
        "#include <malloc.h>\n#include <stdlib.h>\n#include <heapwise.h>\n",
        "#include <heapwise.h>\n#include <malloc.h>\n#include <heapwise.h>\n",
    ];
    let dialects = [
        ("cc", "c", &["-std=c99", "-std=gnu11", "-std=c2x"][..]),
        ("c++", "cpp", &["-std=c++11", "-std=c++17", "-std=c++20"][..]),
    ];
    for (compiler, extension, standards) in dialects {
        for (i, order) in orders.iter().enumerate() {
            let source = scratch.path().join(format!("{i}.{extension}"));
            fs::write(&source, format!("{order}int some_code;\n")).expect("scratch files");
            for standard in standards {
                let mut command = Command::new(compiler);
                command.args([
                    standard,
                    "-pedantic",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-fsyntax-only",
                ]);
                command.arg(include()).arg(&source);
                must(command, "the header does not compile");
            }
        }
    }
}

#[test]
fn header_has_the_version() {
    let header = fs::read_to_string(root().join("include/heapwise.h")).expect("the header");
    let version = env!("CARGO_PKG_VERSION");
    assert!(header.contains(&format!("#define HEAPWISE_VERSION \"{version}\"")));
    let parts = ["MAJOR", "MINOR", "PATCH"];
    for (name, number) in parts.iter().zip(version.split('.')) {
        assert!(header.contains(&format!("#define HEAPWISE_VERSION_{name} {number}\n")), "{name}");
    }
}
