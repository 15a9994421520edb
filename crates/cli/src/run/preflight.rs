//! Whether a program can be preloaded at all, found out before it starts.
//!
//! The dynamic loader ignores LD_PRELOAD without a word, or there is no loader,
//! in all these cases; silence would leave the user with figures of another heap:
//!
//! | program | why |
//! |---|---|
//! | statically linked | no loader runs |
//! | 32-bit, other architecture | the loader cannot map our library |
//! | linked against musl or bionic | our library needs glibc |
//! | set-user-ID, set-group-ID, file capabilities | AT_SECURE: the loader drops the variable |
//!
//! A script counts as its interpreter; a text without `#!` as `/bin/sh`.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, getuid};
use object::Endianness;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{ElfFile32, ElfFile64, FileHeader, ProgramHeader};

use super::program::plain;

/// How many `#!` the kernel follows.
const MAX_INTERPRETERS: usize = 5;

/// What stands in the way.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: LD_PRELOAD will be honoured, as far as one can tell.
    Fine,
    /// The program runs, but never on our heap: the reason, to follow "cannot be preloaded: ".
    CannotPreload(String),
    /// The kernel will not run it: its interpreter or loader is missing.
    MissingInterpreter(String),
}

/// Looks at `program` and at the interpreters it asks for.
pub fn inspect(program: &Path) -> Verdict {
    let mut path = program.to_path_buf();
    for depth in 0..=MAX_INTERPRETERS {
        // Execute permission without read permission is legal: then nobody can tell.
        let Ok(mut file) = File::open(&path) else { return Verdict::Fine };
        let mut head = Vec::new();
        if file.by_ref().take(4096).read_to_end(&mut head).is_err() {
            return Verdict::Fine;
        }
        if head.starts_with(&elf::ELFMAG) {
            let prefix = if depth == 0 {
                "it ".to_owned()
            } else {
                format!("its interpreter {} ", path.display())
            };
            return match inspect_elf(&path, file, &head) {
                Verdict::CannotPreload(why) => Verdict::CannotPreload(prefix + &why),
                Verdict::MissingInterpreter(why) => Verdict::MissingInterpreter(prefix + &why),
                Verdict::Fine => Verdict::Fine,
            };
        }
        let interpreter = interpreter_of_script(&head);
        if !interpreter.exists() {
            return Verdict::MissingInterpreter(format!(
                "it asks for the interpreter {}, which does not exist",
                interpreter.display()
            ));
        }
        path = interpreter;
    }
    Verdict::Fine
}

fn interpreter_of_script(head: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let line = head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    let word = line
        .and_then(|line| line.split(|byte| b" \t".contains(byte)).find(|word| !word.is_empty()));
    match word {
        Some(word) => PathBuf::from(std::ffi::OsStr::from_bytes(word)),
        None => PathBuf::from("/bin/sh"),
    }
}

fn inspect_elf(path: &Path, file: File, head: &[u8]) -> Verdict {
    if head.get(4) == Some(&elf::ELFCLASS32) {
        let machine = ElfFile32::<Endianness, _>::parse(&ReadCache::new(file))
            .map(|elf| machine_name(elf.elf_header().e_machine(elf.endian())));
        return Verdict::CannotPreload(match machine {
            Ok(name) => format!("is a 32-bit program (for {name}), the library is 64-bit"),
            Err(_) => "is a 32-bit program, the library is 64-bit".into(),
        });
    }
    let cache = ReadCache::new(file);
    let Ok(elf) = ElfFile64::<Endianness, _>::parse(&cache) else { return Verdict::Fine };
    let endian = elf.endian();
    let machine = elf.elf_header().e_machine(endian);
    if machine != our_machine() {
        return Verdict::CannotPreload(format!(
            "is a program for {}, the library is for {}",
            machine_name(machine),
            std::env::consts::ARCH
        ));
    }
    let loader = elf
        .elf_program_headers()
        .iter()
        .find_map(|segment| segment.interpreter(endian, &cache).ok().flatten());
    let Some(loader) = loader else {
        return if is_loader(path) {
            Verdict::Fine
        } else {
            Verdict::CannotPreload(
                "is statically linked, so no dynamic loader runs that would load the library"
                    .into(),
            )
        };
    };
    let loader = String::from_utf8_lossy(loader).into_owned();
    if !Path::new(&loader).exists() {
        return Verdict::MissingInterpreter(format!(
            "it asks for the loader {loader}, which does not exist"
        ));
    }
    if loader.contains("ld-musl") {
        return Verdict::CannotPreload(format!(
            "is linked against musl ({loader}), the library needs glibc"
        ));
    }
    if loader.contains("/linker64") {
        return Verdict::CannotPreload(format!(
            "is linked against bionic ({loader}), the library needs glibc"
        ));
    }
    match raises_privileges(path) {
        Some(how) => Verdict::CannotPreload(format!(
            "{how}, and the dynamic loader ignores LD_PRELOAD in such programs"
        )),
        None => Verdict::Fine,
    }
}

/// `ld.so PROGRAM` has no loader of its own, yet honours LD_PRELOAD.
fn is_loader(path: &Path) -> bool {
    fs::canonicalize(path)
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .is_some_and(|name| {
            name.starts_with("ld-linux")
                || name.starts_with("ld.so")
                || name.starts_with("ld-2.")
                || name.starts_with("ld64")
        })
}

/// Whether the kernel would set AT_SECURE, and why; see `execve(2)` and `ld.so(8)`.
fn raises_privileges(path: &Path) -> Option<String> {
    if getuid() != geteuid() || getgid() != getegid() {
        return Some("would run with other effective than real user or group IDs".into());
    }
    let metadata = fs::metadata(path).ok()?;
    if statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID)) || no_new_privileges()
    {
        return None;
    }
    let mode = metadata.mode();
    if mode & libc::S_ISUID != 0 && Uid::from_raw(metadata.uid()) != getuid() {
        return Some(format!("is set-user-ID (user {})", metadata.uid()));
    }
    // Without group execute the bit means mandatory locking.
    let set_group = libc::S_ISGID | libc::S_IXGRP;
    if mode & set_group == set_group && Gid::from_raw(metadata.gid()) != getgid() {
        return Some(format!("is set-group-ID (group {})", metadata.gid()));
    }
    if !getuid().is_root() && has_file_capabilities(path) {
        return Some("has file capabilities".into());
    }
    None
}

fn no_new_privileges() -> bool {
    nix::sys::prctl::get_no_new_privs().unwrap_or(false)
}

fn has_file_capabilities(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings are NUL-terminated and outlive the call; a null buffer
    // of size 0 asks for the attribute's length only, so nothing is written.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0)
    };
    length > 0
}

const fn our_machine() -> u16 {
    if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_386 => "i386".into(),
        elf::EM_X86_64 => "x86_64".into(),
        elf::EM_ARM => "arm".into(),
        elf::EM_AARCH64 => "aarch64".into(),
        elf::EM_RISCV => "riscv".into(),
        elf::EM_PPC64 => "ppc64".into(),
        elf::EM_S390 => "s390x".into(),
        elf::EM_MIPS => "mips".into(),
        elf::EM_LOONGARCH => "loongarch".into(),
        other => format!("machine {other}"),
    }
}

/// The exec itself can still fail, for instance between this check and the call.
pub fn exec_failure(program: &Path, error: &std::io::Error) -> crate::failure::Failure {
    use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    Failure::new(code, format!("{}: {}", program.display(), plain(error)))
}
