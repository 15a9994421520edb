//! An allocation site in one line: the function that wanted the memory, and who called it.

use heapwise_trace::Trace;

use super::symbols::{Function, Symbols};

/// So many frames tell a site.
const FRAMES: usize = 4;
/// Longer names, those of templates, are cut.
const LONGEST: usize = 80;

/// Functions of the C library that allocate, and those that everything is called from.
const CALLS: [&str; 6] = ["malloc", "calloc", "realloc", "aligned_alloc", "_start", "start_thread"];

/// Functions that allocate for others, or call them, as C++, Rust and Python have them, by how
/// their names begin, or their paths.
const PLUMBING: [&str; 13] = [
    "std::",
    "__gnu_cxx::",
    "alloc::",
    "core::",
    "hashbrown::",
    "operator new",
    "__rust",
    "__rdl_",
    "__libc_start_",
    "_PyMem_",
    "PyMem_",
    "_PyObject_",
    "PyObject_",
];

/// `insert (tree.c:40) ← main (tree.c:77)`, innermost first, without what only hands memory on.
pub fn site(trace: &Trace, process: u32, stack: &[u64], symbols: &mut Symbols) -> String {
    let Some(process) = trace.process(process).filter(|_| !stack.is_empty()) else {
        return "(no stack)".into();
    };
    let mut functions = Vec::new();
    for &address in stack {
        functions.extend_from_slice(&symbols.place(process, address).functions);
        if functions.iter().filter(|function| !is_plumbing(&function.name)).count() >= FRAMES {
            break;
        }
    }
    line(&functions)
}

fn line(functions: &[Function]) -> String {
    let own = functions.iter().filter(|function| !is_plumbing(&function.name)).take(FRAMES);
    let words: Vec<String> = own.map(word).collect();
    if words.is_empty() {
        return functions.first().map(word).unwrap_or_default();
    }
    words.join(" ← ")
}

fn word(function: &Function) -> String {
    let mut name: String = function.name.chars().take(LONGEST).collect();
    if name.len() < function.name.len() {
        name.push('…');
    }
    match function.line {
        0 => name,
        line => {
            let file = function.file.rsplit('/').next().unwrap_or_default();
            format!("{name} ({file}:{line})")
        }
    }
}

fn is_plumbing(name: &str) -> bool {
    // A C++ template's name begins with its return type, a Rust method's with <Type as Trait>.
    let path = name.split(['(', '[']).next().unwrap_or(name);
    let plain = path.trim_start_matches(['<', '&', '*']);
    let words = ["mut ", "const ", "dyn "];
    let plain = words.iter().find_map(|word| plain.strip_prefix(word)).unwrap_or(plain);
    // A trait's method for a type that is nobody's: <u8 as alloc::…>.
    let plain = match plain.split_once(" as ") {
        Some((of, of_trait)) if !of.contains("::") => of_trait,
        _ => plain,
    };
    let behind_type = path.split('<').next().unwrap_or(path).rsplit(' ').next().unwrap_or(path);
    CALLS.contains(&name)
        || PLUMBING.iter().any(|start| {
            plain.starts_with(start) || start.ends_with("::") && behind_type.starts_with(start)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, line: u32) -> Function {
        Function { name: name.into(), file: "/src/tree.cc".into(), line, ..Function::default() }
    }

    #[test]
    fn a_site_is_whose_it_is() {
        let functions = [
            function("operator new(unsigned long)", 0),
            function("std::__new_allocator<int>::allocate(unsigned long, void const*)", 0),
            function(
                "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(int&&)",
                3,
            ),
            function("Tree::insert(int)", 40),
            function("std::for_each", 1),
            function("main", 77),
        ];
        assert_eq!(line(&functions), "Tree::insert(int) (tree.cc:40) ← main (tree.cc:77)");
        assert_eq!(line(&functions[..1]), "operator new(unsigned long)");
        let long = "x".repeat(200);
        assert_eq!(line(&[function(&long, 0)]).chars().count(), LONGEST + 1);
    }

    #[test]
    fn what_only_hands_memory_on_is_known_in_each_language() {
        for name in [
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            "alloc::raw_vec::RawVecInner<A>::try_allocate_in",
            "<&mut alloc::string::String as core::fmt::Write>::write_fmt",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "<&dyn core::ops::function::Fn<(), Output = i32> + core::marker::Sync>::call_once",
            "__rust_alloc",
            "operator new[](unsigned long)",
            "_PyObject_Malloc",
        ] {
            assert!(is_plumbing(name), "{name}");
        }
        for name in [
            "main",
            "malloc_tree",
            "<app::Tree as core::ops::Drop>::drop",
            "int apply<std::vector<int> >(int)",
        ] {
            assert!(!is_plumbing(name), "{name}");
        }
    }
}
