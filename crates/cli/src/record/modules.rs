//! Modules of the recorded processes: lines of their maps, with the build ids of the files.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use heapwise_trace::{Definitions, Module};
use object::read::ReadCache;
use object::{Object, ReadRef};

/// What has been defined so far, and what is known of files.
#[derive(Default)]
pub struct Modules {
    defined: HashMap<u32, Vec<Module>>,
    build_ids: HashMap<String, Vec<u8>>,
}

impl Modules {
    /// Takes lines of `/proc/PID/maps` and defines what is new in them, which it returns.
    pub fn take_maps(
        &mut self,
        process: u32,
        lines: &[u8],
        definitions: &mut Definitions,
    ) -> Vec<Module> {
        let mut new = Vec::new();
        for line in String::from_utf8_lossy(lines).lines() {
            let Some(mut module) = module_of(line) else { continue };
            let defined = self.defined.entry(process).or_default();
            let same =
                |m: &Module| (m.start, m.end, &m.path) == (module.start, module.end, &module.path);
            if defined.iter().any(same) {
                continue;
            }
            let path = module.path.clone();
            module.build_id =
                self.build_ids.entry(path).or_insert_with_key(|path| build_id(path)).clone();
            definitions.module(process, &module);
            new.push(module.clone());
            defined.push(module);
        }
        new
    }
}

/// `7f…-7f… r-xp 00001000 fe:01 1234   /lib/libz.so`.
fn module_of(line: &str) -> Option<Module> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let offset = words.next()?;
    let path = words.nth(2)?.trim_start();
    if rights.as_bytes().get(2) != Some(&b'x') || !path.starts_with(['/', '[']) {
        return None;
    }
    Some(Module {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        build_id: Vec::new(),
        path: path.to_owned(),
    })
}

/// The build id of a file, empty if it has none or cannot be read.
fn build_id(path: &str) -> Vec<u8> {
    if !Path::new(path).is_file() {
        return Vec::new();
    }
    let Ok(file) = File::open(path) else { return Vec::new() };
    build_id_of(&ReadCache::new(file)).unwrap_or_default()
}

fn build_id_of<'a>(data: impl ReadRef<'a>) -> Option<Vec<u8>> {
    object::File::parse(data).ok()?.build_id().ok()?.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let module = module_of(
            "7f0000001000-7f0000003000 r-xp 00001000 fe:01 1234                       /lib/a b.so",
        )
        .expect("a module");
        assert_eq!((module.start, module.end), (0x7f00_0000_1000, 0x7f00_0000_3000));
        assert_eq!((module.offset, module.path.as_str()), (0x1000, "/lib/a b.so"));
        assert_eq!(module_of("7f0000001000-7f0000003000 r--p 00000000 fe:01 1234  /lib/a"), None);
        assert_eq!(module_of("7f0000001000-7f0000003000 r-xp 00000000 00:00 0 "), None);
        assert_eq!(module_of("nonsense"), None);
    }

    #[test]
    fn our_own_build_id_or_none() {
        let path = std::env::current_exe().expect("a path");
        let mut modules = Modules::default();
        let mut out = Definitions::new();
        let line = format!("1000-2000 r-xp 00000000 fe:01 1 {}", path.display());
        modules.take_maps(1, line.as_bytes(), &mut out);
        modules.take_maps(1, line.as_bytes(), &mut out);
        assert_eq!(modules.defined[&1].len(), 1);
        assert!(!out.is_empty());
    }
}
