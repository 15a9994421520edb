//! From a copied piece of stack to return addresses: by unwind tables, by frame pointers where a
//! place has none.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Unwinder};
use heapwise_trace::Module;
use object::{Object, ObjectSection};

use super::elf::Loads;

type Bytes = Arc<[u8]>;

/// The unwind tables of a file.
#[derive(Clone)]
struct Tables {
    loads: Loads,
    sections: Sections,
}

#[derive(Clone, Default)]
struct Sections {
    text: Option<std::ops::Range<u64>>,
    eh_frame: Option<(std::ops::Range<u64>, Bytes)>,
    eh_frame_hdr: Option<(std::ops::Range<u64>, Bytes)>,
}

/// Unwinds the stacks of all processes of a recording.
#[derive(Default)]
pub struct Stacks {
    files: HashMap<String, Option<Arc<Tables>>>,
    processes: HashMap<u32, Process>,
}

struct Process {
    unwinder: UnwinderX86_64<Bytes>,
    cache: CacheX86_64,
    known: Vec<(u64, u64)>,
    /// Whether a module is the allocator's own.
    ours: Vec<(u64, u64)>,
}

impl Stacks {
    /// A module of a process.
    pub fn add_module(&mut self, process: u32, module: &Module) {
        let process = self.processes.entry(process).or_insert_with(|| Process {
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            known: Vec::new(),
            ours: Vec::new(),
        });
        process.known.push((module.start, module.end));
        if is_ours(&module.path) {
            process.ours.push((module.start, module.end));
        }
        let tables =
            self.files.entry(module.path.clone()).or_insert_with_key(|path| tables(path)).clone();
        let Some(tables) = tables else { return };
        let Some(at) = tables.loads.address_of(module.offset) else { return };
        let base = tables.loads.base();
        let Some(base_there) = module.start.checked_sub(at.wrapping_sub(base)) else { return };
        let Sections { text, eh_frame, eh_frame_hdr } = tables.sections.clone();
        let (eh_frame_svma, eh_frame) = eh_frame.unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = eh_frame_hdr.unzip();
        process.unwinder.add_module(framehop::Module::new(
            module.path.clone(),
            module.start..module.end,
            base_there,
            ExplicitModuleSectionInfo {
                base_svma: base,
                text_svma: text,
                eh_frame_svma,
                eh_frame,
                eh_frame_hdr_svma,
                eh_frame_hdr,
                ..Default::default()
            },
        ));
    }

    /// Whether an address lies in a module of the process.
    pub fn knows(&self, process: u32, address: u64) -> bool {
        self.processes
            .get(&process)
            .is_some_and(|p| p.known.iter().any(|&(start, end)| (start..end).contains(&address)))
    }

    /// The return addresses of a snippet (see `blob::SNIPPET`), innermost first, at most `depth`;
    /// those of the allocator itself left out.
    pub fn unwind(&mut self, process: u32, snippet: &[u8], depth: usize) -> Vec<u64> {
        let Some((registers, stack)) = snippet.split_at_checked(24) else { return Vec::new() };
        let word = |bytes: &[u8], at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?))
        };
        let register = |index: usize| word(registers, 8 * index).unwrap_or(0);
        let (instruction, stack_pointer, frame_pointer) = (register(0), register(1), register(2));
        let Some(process) = self.processes.get_mut(&process) else { return Vec::new() };
        let mut read = |address: u64| {
            let at = usize::try_from(address.wrapping_sub(stack_pointer)).map_err(|_| ())?;
            word(stack, at).ok_or(())
        };
        let mut frames = process.unwinder.iter_frames(
            instruction,
            UnwindRegsX86_64::new(instruction, stack_pointer, frame_pointer),
            &mut process.cache,
            &mut read,
        );
        let mut out = Vec::new();
        // A stack of more frames than any is going round in circles.
        for _ in 0..4096 {
            let Ok(Some(frame)) = frames.next() else { break };
            let address = frame.address();
            let ours = process.ours.iter().any(|&(start, end)| (start..end).contains(&address));
            if out.is_empty() && ours {
                continue;
            }
            out.push(address);
            if out.len() == depth {
                break;
            }
        }
        out
    }
}

/// Whether a file is the allocator's library.
pub fn is_ours(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("libheapwise"))
}

fn tables(path: &str) -> Option<Arc<Tables>> {
    let data = fs::read(path).ok()?;
    let file = object::File::parse(&*data).ok()?;
    let range =
        |section: &object::Section<'_, '_>| section.address()..section.address() + section.size();
    let section = |name: &str| {
        let section = file.section_by_name(name)?;
        Some((range(&section), Bytes::from(section.uncompressed_data().ok()?.into_owned())))
    };
    let sections = Sections {
        text: file.section_by_name(".text").as_ref().map(range),
        eh_frame: section(".eh_frame"),
        eh_frame_hdr: section(".eh_frame_hdr"),
    };
    Some(Arc::new(Tables { loads: Loads::of(&*data), sections }))
}
