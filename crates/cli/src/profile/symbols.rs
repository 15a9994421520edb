//! Names for return addresses: from the modules' files, if they are still the recorded ones.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use heapwise_trace::{Module, Process};
use object::Object;
use object::read::ReadCache;

use crate::record::elf::Loads;

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The functions there, innermost first: one, or more where some were inlined.
    pub functions: Vec<Function>,
    /// The module's path, empty if the address is in none.
    pub module: String,
    /// The address as the module's file counts.
    pub address: u64,
}

/// A function's name and place in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name, demangled.
    pub name: String,
    /// Its name as the linker knows it, empty if that is unknown.
    pub symbol: String,
    /// The source file, empty if unknown.
    pub file: String,
    /// The line, 0 if unknown.
    pub line: u32,
}

/// Resolves addresses; remembers files and addresses.
#[derive(Default)]
pub struct Symbols {
    files: HashMap<(String, Vec<u8>), Option<Source>>,
    places: HashMap<(u32, u64), Place>,
}

struct Source {
    loader: Loader,
    loads: Loads,
}

impl Symbols {
    /// What stands at a return address of a process.
    pub fn place(&mut self, process: &Process, return_address: u64) -> &Place {
        let key = (process.index, return_address);
        if !self.places.contains_key(&key) {
            let place = self.look(process, return_address);
            self.places.insert(key, place);
        }
        &self.places[&key]
    }

    fn look(&mut self, process: &Process, return_address: u64) -> Place {
        // The call is before where it returns to.
        let address = return_address.saturating_sub(1);
        let Some(module) = process.module_at(address) else {
            let name = format!("{return_address:#x}");
            let functions = vec![Function { name, ..Function::default() }];
            return Place { functions, module: String::new(), address: return_address };
        };
        let short = module.path.rsplit('/').next().unwrap_or_default();
        let in_file = address - module.start + module.offset;
        let source = self
            .files
            .entry((module.path.clone(), module.build_id.clone()))
            .or_insert_with(|| Source::open(module));
        let own = source.as_ref().and_then(|s| s.loads.address_of(in_file)).unwrap_or(in_file);
        let mut functions = source.as_ref().map(|s| s.functions(own)).unwrap_or_default();
        if functions.is_empty() {
            let name = format!("{short}+{:#x}", own + 1);
            functions.push(Function { name, ..Function::default() });
        }
        Place { functions, module: module.path.clone(), address: own + 1 }
    }
}

impl Source {
    /// The module's file, or the debug file of its build id; `None` if both are gone or others.
    fn open(module: &Module) -> Option<Self> {
        let own = Path::new(&module.path);
        let named = debug_file(&module.build_id);
        let is_it = |path: &Path| {
            module.build_id.is_empty() || build_id(path).is_none_or(|id| id == module.build_id)
        };
        let loads_of = |path: &Path| {
            File::open(path).map(|file| Loads::of(&ReadCache::new(file))).unwrap_or_default()
        };
        let path = named.as_deref().unwrap_or(own);
        if !path.is_file() || !is_it(path) {
            return None;
        }
        let loader = Loader::new(path).ok()?;
        // A debug file has no contents at its offsets: places are those of the file itself.
        let loads = loads_of(if own.is_file() && is_it(own) { own } else { path });
        Some(Self { loader, loads })
    }

    fn functions(&self, address: u64) -> Vec<Function> {
        let mut out = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let Some(function) = frame.function.as_ref() else { continue };
                let (Ok(name), Ok(symbol)) = (function.demangle(), function.raw_name()) else {
                    continue;
                };
                let location = frame.location.as_ref();
                out.push(Function {
                    name: plain(&name),
                    symbol: symbol.into_owned(),
                    file: location.and_then(|l| l.file).unwrap_or_default().to_owned(),
                    line: location.and_then(|l| l.line).unwrap_or(0),
                });
            }
        }
        if out.is_empty()
            && let Some(name) = self.loader.find_symbol(address)
        {
            let symbol = name.to_owned();
            let name = plain(&addr2line::demangle_auto(Cow::Borrowed(name), None));
            out.push(Function { name, symbol, ..Function::default() });
        }
        out
    }
}

/// A C++ name with its most common types as people write them.
fn plain(name: &str) -> String {
    const STRING: &str = "std::basic_string<char, std::char_traits<char>, std::allocator<char> >";
    name.replace("std::__cxx11::", "std::").replace(STRING, "std::string")
}

fn build_id(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    file.build_id().ok()?.map(<[u8]>::to_vec)
}

/// More folders to look for debug files in, separated by colons: each with a `.build-id` of its own.
pub const DEBUG_PATH_ENV: &str = "HEAPWISE_DEBUG_PATH";

/// The debug file of a build id, or the file itself under that name: in the folders of
/// [`DEBUG_PATH_ENV`], where distributions put it, or where debuginfod's clients do.
fn debug_file(build_id: &[u8]) -> Option<PathBuf> {
    let given = env::var_os(DEBUG_PATH_ENV).unwrap_or_default();
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let folders = env::split_paths(&given).filter(|folder| !folder.as_os_str().is_empty());
    debug_files(build_id, folders, cache.as_deref()).into_iter().find(|path| path.is_file())
}

fn debug_files(
    build_id: &[u8],
    folders: impl Iterator<Item = PathBuf>,
    cache: Option<&Path>,
) -> Vec<PathBuf> {
    let Some((first, rest)) = build_id.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Vec::new();
    };
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut files: Vec<PathBuf> = folders
        .chain([PathBuf::from("/usr/lib/debug")])
        .map(|folder| folder.join(format!(".build-id/{first:02x}/{rest}.debug")))
        .collect();
    files.extend(
        cache.map(|cache| cache.join(format!("debuginfod_client/{first:02x}{rest}/debuginfo"))),
    );
    files
}

#[cfg(test)]
mod tests {
    use super::{debug_files, plain};
    use std::path::{Path, PathBuf};

    #[test]
    fn debug_files_are_named_by_the_build_id() {
        let files =
            debug_files(&[0xab, 1], [PathBuf::from("/d")].into_iter(), Some(Path::new("/c")));
        let expected = [
            "/d/.build-id/ab/01.debug",
            "/usr/lib/debug/.build-id/ab/01.debug",
            "/c/debuginfod_client/ab01/debuginfo",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(debug_files(&[0xab], [].into_iter(), None).is_empty());
    }

    #[test]
    fn strings_are_called_so() {
        let name = "shop::add(std::__cxx11::basic_string<char, std::char_traits<char>, \
                    std::allocator<char> > const&)";
        assert_eq!(plain(name), "shop::add(std::string const&)");
        assert_eq!(plain("std::vector<int>::push_back(int)"), "std::vector<int>::push_back(int)");
    }
}
